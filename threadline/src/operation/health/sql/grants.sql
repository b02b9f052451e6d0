-- Who may write the trail, by grants on its tables, their columns, its schema, or its functions that run with the owner's
-- rights. Superusers may anyway. `callable` are the functions that everybody may call.
WITH schema AS (
    SELECT n.oid, n.nspowner, n.nspacl FROM pg_namespace n WHERE n.nspname = 'threadline'
), trail AS (
    SELECT c.oid, c.relname, c.relacl, c.relowner FROM pg_class c JOIN schema s ON s.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND coalesce((SELECT r.relname FROM pg_class r WHERE r.oid = pg_partition_root(c.oid)), c.relname) = ANY (
        ARRAY['audit_transactions', 'audit_actions', 'audit_changes', 'audit_key_changes', 'audit_departures', 'audit_long_transactions',
            'audited_tables', 'table_layouts', 'redacted_columns', 'capture_periods', 'trail_clusters', 'known_gaps', 'legal_holds', 'retention_purges', 'retention_numbers',
            'retention_months', 'retention_archives', 'retention_runs', 'evidence_records', 'audit_baselines', 'audit_baseline_rows'])
), grant_of (kind, object, grantee, privilege) AS (
    SELECT 'table', format('threadline.%I', t.relname), a.grantee, a.privilege_type FROM trail t, aclexplode(t.relacl) a
    WHERE a.grantee <> t.relowner AND a.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER')
    UNION
    SELECT 'table', format('threadline.%I', t.relname), a.grantee, a.privilege_type FROM trail t JOIN pg_attribute c ON c.attrelid = t.oid, aclexplode(c.attacl) a
    WHERE a.grantee <> t.relowner AND a.privilege_type IN ('INSERT', 'UPDATE')
    UNION
    SELECT 'schema', 'threadline', a.grantee, a.privilege_type FROM schema s, aclexplode(s.nspacl) a
    WHERE a.grantee <> s.nspowner AND a.privilege_type = 'CREATE'
    UNION
    SELECT 'function', f.oid::regprocedure::text, a.grantee, a.privilege_type FROM pg_proc f JOIN schema s ON s.oid = f.pronamespace,
        aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a
    WHERE f.prosecdef AND a.grantee <> f.proowner AND f.proname <> ALL (callable_names)
        -- Whoever owns a partitioned table creates its partitions, and their triggers with them.
        AND NOT EXISTS (SELECT FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE t.tgfoid = f.oid AND c.relkind = 'p' AND c.relowner = a.grantee)
)
SELECT g.kind, coalesce(r.rolname::text, 'PUBLIC') AS grantee, coalesce(quote_ident(r.rolname), 'PUBLIC') AS quoted,
    array_agg(DISTINCT g.privilege ORDER BY g.privilege) AS privileges, array_agg(DISTINCT g.object ORDER BY g.object) AS objects
FROM grant_of g LEFT JOIN pg_roles r ON r.oid = g.grantee
WHERE r.oid IS NULL OR NOT r.rolsuper
GROUP BY g.kind, r.rolname ORDER BY g.kind, r.rolname
