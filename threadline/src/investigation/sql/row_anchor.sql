-- A row as it is now, and what it takes to read its changes. {table} and {key} are written in from Rust.
WITH asked AS MATERIALIZED (
    SELECT threadline.find_table({table}, to_regclass({table})) AS table_id, {key} AS key
)
SELECT jsonb_build_object('table_id', a.table_id, 'row_key', p.row_key, 'present', p,
    'began_at', period.began_at, 'ended_at', period.ended_at, 'purged_until', threadline.purged_until(a.table_id),
    'baselines', threadline.baselines_of_row(a.table_id, p.row_key),
    'layouts', (SELECT jsonb_object_agg(l.layout, s) FROM threadline.table_layouts l, threadline.since_layout(l.table_id, l.layout) s
        WHERE l.table_id = a.table_id AND (l.layout <> p.layout OR p.stale)))::text AS entry
FROM asked a CROSS JOIN LATERAL threadline.present_row(a.table_id, a.key) p
    LEFT JOIN LATERAL (SELECT c.began_at, c.ended_at FROM threadline.capture_periods c WHERE c.table_id = a.table_id
        ORDER BY c.began_at DESC LIMIT 1) period ON true
