-- What is in the audit schema. A function's text is compared by its digest, and with it the two things it relies on.
SELECT 'function' AS kind, f.proname::text AS name, encode(sha256(convert_to(f.prosrc, 'UTF8')), 'hex') AS digest, f.prosecdef AS is_definer,
    coalesce('search_path=pg_catalog, pg_temp' = ANY (f.proconfig), false) AND f.proowner = n.nspowner AS is_sound
FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace WHERE n.nspname = 'threadline'
UNION ALL
SELECT CASE WHEN c.relkind = 'c' THEN 'type' WHEN c.relkind IN ('i', 'I') THEN 'index' ELSE 'table' END, c.relname::text, NULL, false,
    coalesce(i.indisvalid AND i.indisready, true)
FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
WHERE c.relnamespace = 'threadline'::regnamespace AND c.relkind IN ('r', 'p', 'c', 'i', 'I')
