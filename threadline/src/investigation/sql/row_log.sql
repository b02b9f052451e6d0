-- One row of the trail in one snapshot: first the row as it is now with its policy, then its changes, newest first.
-- {table} and {key} are written in from Rust, {changes} is the choice of changes. The two values of `keyed` are taken by
-- scalar subqueries, not by a join, so that the planner reads the index backwards and stops at the limit.
WITH asked AS MATERIALIZED (
    SELECT threadline.find_table({table}, to_regclass({table})) AS table_id, {key} AS key
), keyed AS MATERIALIZED (
    SELECT asked.table_id, asked.key, threadline.row_key(asked.table_id, asked.key) AS row_key FROM asked
), touched AS NOT MATERIALIZED (
    SELECT c.* FROM threadline.audit_changes c
    WHERE c.table_id = (SELECT k.table_id FROM keyed k) AND c.row_key = (SELECT k.row_key FROM keyed k)
    UNION ALL
    SELECT c.* FROM threadline.audit_key_changes m JOIN threadline.audit_changes c USING (transaction_id, ordinal)
    WHERE m.table_id = (SELECT k.table_id FROM keyed k) AND m.previous_row_key = (SELECT k.row_key FROM keyed k)
    UNION ALL
    SELECT c.* FROM threadline.audit_changes c
    WHERE c.table_id = (SELECT k.table_id FROM keyed k) AND c.row_key = '' AND c.op = 'T' AND (SELECT k.row_key FROM keyed k) <> ''
){changes}
SELECT log.entry FROM (
    SELECT 0 AS place, jsonb_build_object('table_id', k.table_id, 'row_key', k.row_key, 'present', p, 'began_at', period.began_at, 'ended_at', period.ended_at,
        'layouts', (SELECT jsonb_object_agg(l.layout, s) FROM threadline.table_layouts l, threadline.since_layout(l.table_id, l.layout) s
            WHERE l.table_id = k.table_id AND (l.layout <> p.layout OR p.stale)),
        'attributes', CASE WHEN EXISTS (SELECT FROM chosen c WHERE c.attributes IS NOT NULL) THEN threadline.since_attributes(k.table_id) END)::text AS entry
    FROM keyed k CROSS JOIN LATERAL threadline.present_row(k.table_id, k.key) p
        LEFT JOIN LATERAL (SELECT c.began_at, c.ended_at FROM threadline.capture_periods c WHERE c.table_id = k.table_id
            ORDER BY c.began_at DESC LIMIT 1) period ON true
    UNION ALL
    SELECT row_number() OVER (ORDER BY c.captured_at DESC, c.transaction_id DESC, c.ordinal DESC), to_jsonb(c)::text FROM chosen c
) log ORDER BY log.place
