-- Everything one transaction ($1) left in the trail, in one snapshot: first what is not a change, then its changes in order.
-- Its actions have the milliseconds of its own id in theirs, so they lie between two ids.
WITH changed AS MATERIALIZED (
    SELECT c.* FROM threadline.audit_changes c WHERE c.transaction_id = $1
)
SELECT bundle.entry FROM (
    SELECT 0 AS place, jsonb_build_object(
        'transaction', (SELECT to_jsonb(t) FROM threadline.audit_transactions t WHERE t.id = $1),
        'actions', (SELECT coalesce(jsonb_agg(a ORDER BY a.occurred_at, a.id), '[]') FROM threadline.audit_actions a
            WHERE a.transaction_id = $1 AND a.id BETWEEN (left($1::text, 14) || '0000-0000-000000000000')::uuid
                AND (left($1::text, 14) || 'ffff-ffff-ffffffffffff')::uuid),
        'tables', (SELECT coalesce(jsonb_object_agg(t.id, jsonb_build_object('schema', t.schema_name, 'name', t.table_name, 'present', p,
                'layouts', (SELECT jsonb_object_agg(l.layout, s) FROM threadline.table_layouts l, threadline.since_layout(l.table_id, l.layout) s
                    WHERE l.table_id = t.id AND l.layout IN (SELECT c.layout FROM changed c WHERE c.table_id = t.id)),
                'attributes', CASE WHEN EXISTS (SELECT FROM changed c WHERE c.table_id = t.id AND c.attributes IS NOT NULL)
                    THEN threadline.since_attributes(t.id) END)), '{}')
            -- The policy alone is wanted: no row has this key.
            FROM threadline.audited_tables t CROSS JOIN LATERAL threadline.present_row(t.id, NULL) p
            WHERE t.id IN (SELECT c.table_id FROM changed c)))::text AS entry
    UNION ALL
    SELECT c.ordinal, to_jsonb(c)::text FROM changed c
) bundle ORDER BY bundle.place
