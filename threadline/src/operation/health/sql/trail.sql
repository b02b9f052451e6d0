-- What is on the tables of the trail, its partitions wherever they lie, and in its schema, beyond their definitions: each row
-- is something that must not be there, but for triggers, some of which are shipped.
WITH RECURSIVE schema AS (
    SELECT n.oid, n.nspowner FROM pg_namespace n WHERE n.nspname = 'threadline'
), trail (oid) AS (
    SELECT c.oid FROM pg_class c JOIN schema s ON s.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'f')
    UNION
    SELECT i.inhrelid FROM pg_inherits i JOIN trail t ON t.oid = i.inhparent JOIN pg_class c ON c.oid = i.inhrelid WHERE c.relispartition
), relation AS (
    SELECT c.oid, n.nspname::text AS schema_name, c.relname::text AS table_name, c.relkind, c.relispartition, c.relrowsecurity, c.relforcerowsecurity,
        c.relpersistence, c.relnamespace, c.relowner
    FROM trail t JOIN pg_class c ON c.oid = t.oid JOIN pg_namespace n ON n.oid = c.relnamespace
), owned (kind, name, owner) AS (
    SELECT 'TABLE', r.oid::regclass::text, r.relowner FROM relation r
    UNION ALL
    SELECT 'TYPE', c.reltype::regtype::text, c.relowner FROM pg_class c JOIN schema s ON s.oid = c.relnamespace WHERE c.relkind = 'c'
    UNION ALL
    SELECT 'TYPE', t.oid::regtype::text, t.typowner FROM pg_type t JOIN schema s ON s.oid = t.typnamespace WHERE t.typtype IN ('e', 'd', 'r')
), found (kind, schema_name, table_name, name, info) AS (
    SELECT 'trigger', r.schema_name, r.table_name, t.tgname::text, ARRAY[f.pronamespace::regnamespace::text || '.' || f.proname, t.tgenabled::text, t.tgtype::text,
        (t.tgqual IS NULL AND t.tgattr::text = '' AND NOT t.tgdeferrable AND t.tgoldtable IS NULL AND t.tgnewtable IS NULL AND t.tgnargs = 0)::text]
    FROM relation r JOIN pg_trigger t ON t.tgrelid = r.oid JOIN pg_proc f ON f.oid = t.tgfoid WHERE NOT t.tgisinternal AND t.tgparentid = 0
    UNION ALL
    SELECT 'rule', r.schema_name, r.table_name, w.rulename::text, '{}' FROM relation r JOIN pg_rewrite w ON w.ev_class = r.oid
    UNION ALL
    SELECT 'row_security', r.schema_name, r.table_name, '', ARRAY(SELECT p.polname::text FROM pg_policy p WHERE p.polrelid = r.oid ORDER BY p.polname)
    FROM relation r WHERE r.relrowsecurity OR r.relforcerowsecurity OR EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = r.oid)
    UNION ALL
    SELECT 'unlogged', r.schema_name, r.table_name, '', '{}' FROM relation r WHERE r.relpersistence = 'u' AND r.relkind = 'r'
    UNION ALL
    -- A unique index may be the constraint's own. What a partition has of its table's is not told of again.
    SELECT 'unique', r.schema_name, r.table_name, c.relname::text, ARRAY(SELECT k.conname::text FROM pg_constraint k WHERE k.conindid = c.oid AND k.contype IN ('u', 'x') LIMIT 1)
    FROM relation r JOIN pg_index i ON i.indrelid = r.oid AND (i.indisunique OR i.indisexclusion) AND NOT i.indisprimary
        JOIN pg_class c ON c.oid = i.indexrelid AND NOT c.relispartition
    UNION ALL
    SELECT 'foreign_key', r.schema_name, r.table_name, k.conname::text, '{}' FROM relation r JOIN pg_constraint k ON k.conrelid = r.oid AND k.contype = 'f' AND k.conparentid = 0
    UNION ALL
    SELECT CASE WHEN NOT c.relispartition THEN 'child' WHEN c.relkind = 'f' THEN 'foreign' ELSE 'moved' END, n.nspname::text, c.relname::text, '',
        ARRAY[p.schema_name, p.table_name]
    FROM relation p JOIN pg_inherits i ON i.inhparent = p.oid JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT c.relispartition OR c.relkind = 'f' OR c.relnamespace <> p.relnamespace
    UNION ALL
    -- It inherits from none of the trail's own: whether it is one of them the names tell.
    SELECT 'table', r.schema_name, r.table_name, '', ARRAY(SELECT pn.nspname || '.' || p.relname FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
        JOIN pg_namespace pn ON pn.oid = p.relnamespace WHERE i.inhrelid = r.oid ORDER BY 1)
    FROM relation r JOIN schema s ON s.oid = r.relnamespace WHERE NOT r.relispartition
    UNION ALL
    SELECT 'owner', NULL, NULL, o.rolname::text, array_prepend(quote_ident(n.rolname), array_prepend((o.rolsuper OR pg_has_role(o.oid, n.oid, 'MEMBER'))::text,
        array_agg(w.kind || ' ' || w.name ORDER BY w.kind, w.name)))
    FROM schema s JOIN pg_roles n ON n.oid = s.nspowner JOIN owned w ON w.owner <> s.nspowner JOIN pg_roles o ON o.oid = w.owner
    GROUP BY n.rolname, n.oid, o.oid, o.rolname, o.rolsuper
)
SELECT f.kind, f.schema_name, f.table_name, f.name, f.info FROM found f ORDER BY f.kind, f.schema_name, f.table_name, f.name
