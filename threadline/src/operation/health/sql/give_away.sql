ALTER SCHEMA threadline OWNER TO threadline_owner;
DO $$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT format('ALTER TABLE %s OWNER TO threadline_owner', c.oid::regclass) FROM pg_class c
            WHERE c.relnamespace = 'threadline'::regnamespace AND c.relkind IN ('r', 'p')
        UNION ALL SELECT format('ALTER FUNCTION %s OWNER TO threadline_owner', f.oid::regprocedure) FROM pg_proc f
            WHERE f.pronamespace = 'threadline'::regnamespace
        UNION ALL SELECT format('ALTER TYPE %s OWNER TO threadline_owner', t.oid::regtype) FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid
            WHERE t.typnamespace = 'threadline'::regnamespace AND c.relkind = 'c'
    LOOP
        EXECUTE statement;
    END LOOP;
END $$;
