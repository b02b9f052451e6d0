-- How the tables of the audit schema are defined: their columns, and their CHECK constraints. Those of partitions are the tables'.
SELECT c.relname::text AS table_name, 'column' AS kind, a.attname::text AS name, c.relkind = 'p' AS is_partitioned, a.attnotnull AS holds,
    format_type(a.atttypid, a.atttypmod) AS data_type, CASE WHEN a.attcollation <> t.typcollation THEN quote_ident(l.collname) END AS collation,
    a.attidentity::text AS identity, a.attgenerated::text AS generated, pg_get_expr(d.adbin, d.adrelid) AS expression
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_collation l ON l.oid = a.attcollation LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'threadline'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
UNION ALL
SELECT c.relname::text, 'check', k.conname::text, c.relkind = 'p', k.convalidated, '', NULL, '', '', pg_get_expr(k.conbin, k.conrelid)
FROM pg_class c JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'c'
WHERE c.relnamespace = 'threadline'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
ORDER BY 1, 2, 3
