-- What is in the audit schema. A function's text is compared by its digest, and with it what it is declared to be: volatility,
-- parallel safety, STRICT and SECURITY DEFINER in `flags`. `is_sound`: a function belongs to the schema's owner, an index is valid.
SELECT 'function' AS kind, f.proname::text AS name, f.oid::regprocedure::text AS signature, encode(sha256(convert_to(f.prosrc, 'UTF8')), 'hex') AS digest,
    l.lanname::text AS language, f.provolatile::text || f.proparallel::text || left(f.proisstrict::text, 1) || left(f.prosecdef::text, 1) AS flags,
    coalesce(f.proconfig, '{}') AS settings, f.proowner = n.nspowner AS is_sound
FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace JOIN pg_language l ON l.oid = f.prolang WHERE n.nspname = 'threadline'
UNION ALL
SELECT CASE WHEN c.relkind = 'c' THEN 'type' WHEN c.relkind IN ('i', 'I') THEN 'index' ELSE 'table' END, c.relname::text, '', NULL, '', '', '{}',
    coalesce(i.indisvalid AND i.indisready, true)
FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
WHERE c.relnamespace = 'threadline'::regnamespace AND c.relkind IN ('r', 'p', 'c', 'i', 'I')
