-- The owner of the audit schema, who can act as it, and who may write everything, where that role can log in. A superuser can do
-- anything, and is not told of. `through`: the roles it was granted that make it so.
WITH writer AS (
    -- Whoever was granted writing on an audited table, by name: the application, and not who owns or migrates.
    SELECT DISTINCT a.grantee FROM pg_class c, aclexplode(c.relacl) a
    WHERE a.grantee <> c.relowner AND a.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE') AND c.relnamespace <> 'threadline'::regnamespace
        AND EXISTS (SELECT FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid WHERE t.tgrelid = c.oid AND f.pronamespace = 'threadline'::regnamespace)
)
SELECT r.rolname::text AS role, quote_ident(r.rolname) AS quoted, o.rolname::text AS owner, r.oid = o.oid AS is_owner, r.rolname = session_user AS is_asking,
    pg_has_role(r.oid, o.oid, 'MEMBER') AS can_be_owner, pg_has_role(r.oid, 'pg_write_all_data', 'MEMBER') AS writes_all_data,
    EXISTS (SELECT FROM writer w WHERE w.grantee = r.oid) AS writes_audited,
    ARRAY(SELECT quote_ident(g.rolname) FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid AND pg_has_role(g.oid, o.oid, 'MEMBER')
        ORDER BY 1) AS through,
    ARRAY(SELECT quote_ident(g.rolname) FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
        WHERE m.member = r.oid AND pg_has_role(g.oid, 'pg_write_all_data', 'MEMBER') ORDER BY 1) AS through_all_data,
    (SELECT coalesce(array_agg(DISTINCT quote_ident(h.nspname) ORDER BY quote_ident(h.nspname)), '{}') FROM pg_class c JOIN pg_namespace h ON h.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND c.relowner = r.oid AND c.relpersistence <> 't' AND h.nspname NOT IN ('information_schema', 'threadline')
            AND NOT starts_with(h.nspname::text, 'pg_')) AS host_schemas,
    (SELECT coalesce(array_agg(DISTINCT quote_ident(h.nspname) ORDER BY quote_ident(h.nspname)), '{}')
        FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace h ON h.oid = c.relnamespace
        WHERE f.pronamespace = n.oid AND h.oid <> n.oid) AS audited_schemas
FROM pg_namespace n JOIN pg_roles o ON o.oid = n.nspowner JOIN pg_roles r ON r.rolcanlogin AND NOT r.rolsuper
WHERE n.nspname = 'threadline' AND (pg_has_role(r.oid, o.oid, 'MEMBER') OR pg_has_role(r.oid, 'pg_write_all_data', 'MEMBER'))
ORDER BY r.rolname
