-- Everything the transactions $1 left in the trail, in one snapshot and in the order they are named: first the tables that
-- were changed, then each transaction by what is not a change and by its changes in order, those after ordinal $2 up to and
-- including $3. $4 and $5 are the lowest and the highest id: they let the planner leave out all other partitions.
-- A transaction's actions have the milliseconds of its own id in theirs, so they lie between two ids. OFFSET 0 has the changes
-- fetched transaction by transaction, however many there are.
WITH asked AS MATERIALIZED (
    SELECT a.* FROM unnest($1::uuid[], $2::integer[], $3::integer[]) WITH ORDINALITY a (id, after_ordinal, upto_ordinal, place)
), changed AS MATERIALIZED (
    SELECT asked.place, c.* FROM asked CROSS JOIN LATERAL (SELECT * FROM threadline.audit_changes c WHERE c.transaction_id = asked.id
        AND c.ordinal > asked.after_ordinal AND c.ordinal <= asked.upto_ordinal AND c.transaction_id BETWEEN $4 AND $5 OFFSET 0) c
)
SELECT bundle.entry FROM (
    SELECT 0 AS place, NULL::integer AS ordinal, (SELECT coalesce(jsonb_object_agg(t.id, jsonb_build_object('schema', t.schema_name, 'name', t.table_name, 'present', p,
            'layouts', (SELECT jsonb_object_agg(l.layout, s) FROM threadline.table_layouts l, threadline.since_layout(l.table_id, l.layout) s
                WHERE l.table_id = t.id AND l.layout IN (SELECT c.layout FROM changed c WHERE c.table_id = t.id)),
            'attributes', CASE WHEN EXISTS (SELECT FROM changed c WHERE c.table_id = t.id AND c.attributes IS NOT NULL)
                THEN threadline.since_attributes(t.id) END)), '{}')
        -- The policy alone is wanted: no row has this key.
        FROM threadline.audited_tables t CROSS JOIN LATERAL threadline.present_row(t.id, NULL) p
        WHERE t.id IN (SELECT c.table_id FROM changed c))::text AS entry
    UNION ALL
    SELECT asked.place, NULL, jsonb_build_object('changes', (SELECT count(*) FROM changed c WHERE c.place = asked.place),
        'transaction', (SELECT to_jsonb(t) FROM threadline.audit_transactions t WHERE t.id = asked.id AND t.id BETWEEN $4 AND $5),
        'actions', (SELECT coalesce(jsonb_agg(a ORDER BY a.occurred_at, a.id), '[]') FROM threadline.audit_actions a
            WHERE a.transaction_id = asked.id AND a.id BETWEEN (left(asked.id::text, 14) || '0000-0000-000000000000')::uuid
                AND (left(asked.id::text, 14) || 'ffff-ffff-ffffffffffff')::uuid))::text
    FROM asked
    UNION ALL
    SELECT c.place, c.ordinal, (to_jsonb(c) - 'place')::text FROM changed c
) bundle ORDER BY bundle.place, bundle.ordinal NULLS FIRST
