-- Detaches every table, then takes the functions away.
DO $$
DECLARE
    of_table integer;
BEGIN
    FOR of_table IN SELECT id FROM threadline.audited_tables LOOP
        PERFORM threadline.detach(threadline.audited_relation(of_table));
        -- That of a table that was dropped.
        EXECUTE format('DROP FUNCTION IF EXISTS threadline.capture_%s()', of_table);
    END LOOP;
END
$$;
SELECT threadline.disable_ddl_refresh();
DROP FUNCTION threadline.disable_ddl_refresh();
DROP FUNCTION threadline.enable_ddl_refresh();
DROP FUNCTION threadline.refresh_after_ddl();
DROP FUNCTION threadline.refresh_all();
DROP FUNCTION threadline.refresh(regclass);
DROP FUNCTION threadline.detach(regclass);
DROP FUNCTION threadline.attach(regclass, text[], text[], text, text[], text[], text, text, text);
DROP FUNCTION threadline.capture_is_current(regclass, threadline.audited_tables);
DROP FUNCTION threadline.function_digest(integer);
DROP FUNCTION threadline.install_capture(regclass, threadline.audited_tables);
DROP FUNCTION threadline.keep_rules(oid, threadline.audited_tables, jsonb, oid, jsonb);
DROP FUNCTION threadline.check_target(regclass);
DROP FUNCTION threadline.check_policy(regclass, threadline.audited_tables);
