-- The host's tables and partitions. The digest is asked only of those that carry a trigger of ours: it takes a call each.
SELECT c.oid::bigint AS oid, n.nspname::text AS schema_name, c.relname::text AS table_name, c.relispartition AS is_partition,
    coalesce(pg_partition_root(c.oid)::oid, c.oid)::bigint AS root, e.extname::text AS extension, has_table_privilege(c.oid, 'SELECT') AS is_readable,
    CASE WHEN captured.oid IS NOT NULL THEN threadline.layout_digest(c.oid) END AS digest,
    (SELECT array_agg(a.attnum::integer ORDER BY a.attnum) FROM pg_attribute a
        WHERE captured.oid IS NOT NULL AND a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS numbers
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0 AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    LEFT JOIN pg_extension e ON e.oid = d.refobjid
    LEFT JOIN (SELECT DISTINCT t.tgrelid AS oid FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid
        WHERE f.pronamespace = 'threadline'::regnamespace AND f.proname ~ '^capture_[0-9]+$') captured ON captured.oid = c.oid
WHERE (c.relkind IN ('r', 'p') OR c.relkind = 'f' AND c.relispartition) AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('information_schema', 'threadline') AND NOT starts_with(n.nspname::text, 'pg_')
ORDER BY n.nspname::text COLLATE "C", c.relname::text COLLATE "C"
