-- The owner of the audit schema, and who can act as it, where that role can log in and owns tables of the host's. A superuser
-- can do anything, and is not told of.
SELECT r.rolname::text AS role, quote_ident(r.rolname) AS quoted, o.rolname::text AS owner, quote_ident(o.rolname) AS quoted_owner, r.oid = o.oid AS is_owner,
    pg_has_role(r.oid, 'pg_write_all_data', 'MEMBER') AS writes_all_data,
    (SELECT coalesce(array_agg(DISTINCT quote_ident(h.nspname) ORDER BY quote_ident(h.nspname)), '{}') FROM pg_class c JOIN pg_namespace h ON h.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND c.relowner = r.oid AND c.relpersistence <> 't' AND h.nspname NOT IN ('information_schema', 'threadline')
            AND NOT starts_with(h.nspname::text, 'pg_')) AS host_schemas,
    (SELECT coalesce(array_agg(DISTINCT quote_ident(h.nspname) ORDER BY quote_ident(h.nspname)), '{}')
        FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace h ON h.oid = c.relnamespace
        WHERE f.pronamespace = n.oid AND h.oid <> n.oid) AS audited_schemas
FROM pg_namespace n JOIN pg_roles o ON o.oid = n.nspowner JOIN pg_roles r ON r.rolcanlogin AND NOT r.rolsuper
WHERE n.nspname = 'threadline' AND (pg_has_role(r.oid, o.oid, 'MEMBER') OR pg_has_role(r.oid, 'pg_write_all_data', 'MEMBER'))
ORDER BY r.rolname
