-- Attaching, detaching and refreshing capture of a table. These run with the rights of the caller, who has to own the
-- threadline schema (so that every capture function has one owner) and be allowed to create triggers on the table.

-- Fails with what is wrong with a policy for a table: one message names every offender.
CREATE OR REPLACE FUNCTION threadline.check_policy(relation regclass, policy threadline.audited_tables) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    problems text;
BEGIN
    WITH named (option, name) AS (
        SELECT 'exclude', unnest(policy.exclude) UNION ALL SELECT 'mask', unnest(policy.mask) UNION ALL SELECT 'ignore', unnest(policy.ignore)
        UNION ALL SELECT 'key', unnest(policy.declared_key) UNION ALL SELECT 'scope', policy.scope_column WHERE policy.scope_column IS NOT NULL
    ), present (name, type_oid) AS (
        SELECT a.attname::text, a.atttypid FROM pg_attribute a WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
    ), problem (text) AS (
        SELECT format('%s names no column (NULL)', n.option) FROM named n WHERE n.name IS NULL
        UNION ALL
        SELECT format('%s names column "%s", which the table does not have (it has %s)', n.option, n.name,
                (SELECT string_agg(format('"%s"', p.name), ', ') FROM present p))
            FROM named n WHERE n.name IS NOT NULL AND n.name NOT IN (SELECT p.name FROM present p)
        UNION ALL
        SELECT format('%s names column "%s" %s times', n.option, n.name, count(*)) FROM named n WHERE n.name IS NOT NULL
            GROUP BY n.option, n.name HAVING count(*) > 1
        UNION ALL
        SELECT format('column "%s" is in both %s and %s', a.name, a.option, b.option) FROM named a JOIN named b
            ON a.name = b.name AND a.option < b.option WHERE NOT (a.option, b.option) = ('key', 'scope')
        UNION ALL
        SELECT format('column "%s" is part of the key and cannot be in %s', n.name, n.option) FROM named n
            WHERE n.name = ANY (policy.key_columns) AND n.option IN ('exclude', 'mask', 'ignore') AND policy.declared_key = '{}'
        UNION ALL
        SELECT format('scope column "%s" is of type %s, which has no single text form', p.name, format_type(p.type_oid, NULL))
            FROM present p WHERE p.name = policy.scope_column AND threadline.key_form(p.type_oid) IS NULL
        UNION ALL
        SELECT format('column "%s" is generated from column "%s", so it has to be excluded or masked as well', g.attname, b.attname)
            FROM pg_attribute g JOIN pg_attrdef f ON f.adrelid = g.attrelid AND f.adnum = g.attnum
                JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = g.attrelid
                JOIN pg_attribute b ON b.attrelid = g.attrelid AND b.attnum = d.refobjsubid
            WHERE g.attrelid = relation AND g.attgenerated <> '' AND b.attnum <> g.attnum AND b.attname = ANY (policy.exclude || policy.mask)
                AND g.attname <> ALL (policy.exclude || policy.mask)
        UNION ALL
        SELECT 'mask_placeholder has to be 1 to 200 characters without control characters'
            WHERE policy.mask_placeholder IS NULL OR length(policy.mask_placeholder) NOT BETWEEN 1 AND 200 OR policy.mask_placeholder ~ '[[:cntrl:]]'
        UNION ALL
        SELECT format('on_truncate is %L; it can be record, keep or refuse', policy.on_truncate)
            WHERE coalesce(policy.on_truncate, '') NOT IN ('record', 'keep', 'refuse')
        UNION ALL
        SELECT format('actor_policy is %L; it can be allow or require', policy.actor_policy) WHERE coalesce(policy.actor_policy, '') NOT IN ('allow', 'require')
    )
    SELECT string_agg(DISTINCT problem.text, '; ') INTO problems FROM problem;
    IF problems IS NOT NULL THEN
        RAISE EXCEPTION 'threadline: cannot audit table %: %', relation, problems USING
            ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_invalid_policy';
    END IF;
END
$$;
COMMENT ON FUNCTION threadline.check_policy(regclass, threadline.audited_tables) IS 'Fails with what is wrong with a policy for a table.';

-- Fails when a relation cannot be audited at all, or the caller may not do it.
CREATE OR REPLACE FUNCTION threadline.check_target(target regclass) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    owner CONSTANT oid := (SELECT nspowner FROM pg_namespace WHERE nspname = 'threadline');
    found_class record;
    reason text;
BEGIN
    IF NOT pg_has_role(current_user, owner, 'USAGE') THEN
        RAISE EXCEPTION 'threadline: role % may not attach tables', current_user USING ERRCODE = 'insufficient_privilege',
            CONSTRAINT = 'threadline_not_owner', HINT = format('Run it as %s, who owns schema threadline.', pg_get_userbyid(owner));
    END IF;
    SELECT c.relkind, c.relispartition, c.relpersistence, n.nspname INTO found_class
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = target;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'threadline: no such table: %', coalesce(target::text, 'NULL') USING ERRCODE = 'undefined_table', CONSTRAINT = 'threadline_no_table';
    END IF;
    reason := CASE
        WHEN found_class.nspname = 'threadline' THEN 'it is part of the audit trail itself'
        WHEN found_class.nspname IN ('pg_catalog', 'information_schema') THEN 'it is a system catalog'
        WHEN found_class.relkind = 'v' THEN 'it is a view; audit the tables under it'
        WHEN found_class.relkind = 'm' THEN 'it is a materialized view; audit the tables under it'
        WHEN found_class.relkind = 'f' THEN 'it is a foreign table; audit it where its rows live'
        WHEN found_class.relkind NOT IN ('r', 'p') THEN 'it is not a table'
        WHEN found_class.relpersistence = 't' THEN 'it is temporary'
        WHEN found_class.relispartition THEN format('it is a partition; audit %s, which covers all its partitions', pg_partition_root(target))
        WHEN NOT has_schema_privilege(owner, found_class.nspname, 'USAGE')
            THEN format('%s, who owns schema threadline, lacks USAGE on schema %I', owner::regrole, found_class.nspname)
        WHEN found_class.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = target AND threadline.table_id(i.inhrelid) IS NULL)
            THEN format('rows of %s, which inherits from it, would go unseen; audit that table first',
                (SELECT min(i.inhrelid::regclass::text) FROM pg_inherits i WHERE i.inhparent = target AND threadline.table_id(i.inhrelid) IS NULL))
        WHEN NOT has_table_privilege(current_user, target, 'TRIGGER') THEN format('role %s lacks the TRIGGER privilege on it', current_user)
    END;
    IF reason IS NOT NULL THEN
        RAISE EXCEPTION 'threadline: cannot audit %: %', target, reason USING ERRCODE = 'wrong_object_type', CONSTRAINT = 'threadline_not_auditable';
    END IF;
END
$$;
COMMENT ON FUNCTION threadline.check_target(regclass) IS 'Fails when a relation cannot be audited, or the caller may not do it.';

-- Keeps how each column of a table is redacted, by its id: of those that are gone the last rule stays. `last_columns` are those of
-- the layout before this one. In a restored copy a column may have been taken for another one: where more than one has another
-- name or none, nobody can be sure of any of them; and a column that took the name and the place of one that was dropped looks just
-- like it. So a rule that was in force before the restore stays for what was captured before it, whatever is declared since.
CREATE OR REPLACE FUNCTION threadline.keep_rules(target oid, policy threadline.audited_tables, layout_now jsonb, last_relation oid, last_columns jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    doubtful integer[];
    renamed bigint;
    lost bigint;
    added bigint;
BEGIN
    UPDATE threadline.redacted_columns r SET restored = true WHERE last_relation <> target AND r.table_id = policy.id AND r.rule IS NOT NULL;
    UPDATE threadline.redacted_columns r SET rule = CASE WHEN r.restored THEN r.rule END, unsure = r.unsure OR r.restored
        FROM jsonb_to_recordset(layout_now) c (id integer, name text)
        WHERE r.table_id = policy.id AND r.column_id = c.id AND c.name <> ALL (policy.exclude || policy.mask);
    INSERT INTO threadline.redacted_columns (table_id, column_id, rule)
        SELECT policy.id, c.id, CASE WHEN c.name = ANY (policy.exclude) THEN 'exclude' ELSE 'mask' END
        FROM jsonb_to_recordset(layout_now) c (id integer, name text) WHERE c.name = ANY (policy.exclude || policy.mask)
        ON CONFLICT (table_id, column_id) DO UPDATE SET rule = EXCLUDED.rule;
    IF last_relation <> target THEN
        SELECT count(*) FILTER (WHERE now.name <> was.name), count(*) FILTER (WHERE now.id IS NULL), count(*) FILTER (WHERE was.id IS NULL),
                array_agg(was.id) FILTER (WHERE (now.name = was.name AND now.name IS NOT NULL) IS NOT TRUE AND was.id IS NOT NULL
                    AND now.name = ANY (policy.key_columns) IS NOT TRUE)
            INTO renamed, lost, added, doubtful
            FROM jsonb_to_recordset(layout_now) now (id integer, name text) FULL JOIN jsonb_to_recordset(last_columns) was (id integer, name text) ON was.id = now.id;
        IF renamed + added > 0 AND renamed + lost > 0 AND NOT (renamed = 1 AND lost = 0) THEN
            INSERT INTO threadline.redacted_columns (table_id, column_id, unsure) SELECT policy.id, d, true FROM unnest(doubtful) d
                ON CONFLICT (table_id, column_id) DO UPDATE SET unsure = true;
        END IF;
    END IF;
    DELETE FROM threadline.redacted_columns r WHERE r.table_id = policy.id AND r.rule IS NULL AND NOT r.unsure;
END
$$;
COMMENT ON FUNCTION threadline.keep_rules(oid, threadline.audited_tables, jsonb, oid, jsonb) IS 'Keeps how each column of a table is redacted.';

-- Writes the capture function and the triggers of a table for its policy and its present columns.
CREATE OR REPLACE FUNCTION threadline.install_capture(target regclass, policy threadline.audited_tables) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    schema_owner CONSTANT name := (SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'threadline');
    table_owner CONSTANT oid := (SELECT relowner FROM pg_class WHERE oid = target);
    function_name CONSTANT text := format('threadline.capture_%s()', policy.id);
    layout_now CONSTANT jsonb := threadline.layout_columns(target, policy.id);
    last record;
    member regclass;
BEGIN
    SELECT l.layout, l.columns, l.relation_oid INTO last FROM threadline.table_layouts l WHERE l.table_id = policy.id ORDER BY l.layout DESC LIMIT 1;
    policy.layout := coalesce(last.layout, 0);
    IF last.columns IS DISTINCT FROM layout_now OR last.relation_oid IS DISTINCT FROM target::oid THEN
        policy.layout := policy.layout + 1;
        INSERT INTO threadline.table_layouts (table_id, layout, recorded_at, relation_oid, format, digest, columns)
        VALUES (policy.id, policy.layout, clock_timestamp(), target, 1, threadline.layout_digest(target), layout_now);
    END IF;
    PERFORM threadline.keep_rules(target, policy, layout_now, last.relation_oid, last.columns);

    EXECUTE format(E'CREATE OR REPLACE FUNCTION %s RETURNS trigger\nLANGUAGE plpgsql SECURITY DEFINER\nSET search_path = pg_catalog, pg_temp%s\nAS %L',
        function_name, threadline.output_settings(target), threadline.capture_body(target, policy));
    EXECUTE format('ALTER FUNCTION %s OWNER TO %s', function_name, schema_owner);
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', function_name);
    -- Creating a partition clones the trigger with the rights of whoever owns the table.
    IF EXISTS (SELECT FROM pg_class WHERE oid = target AND relkind = 'p') THEN
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', function_name, table_owner::regrole);
    END IF;
    EXECUTE format('COMMENT ON FUNCTION %s IS %L', function_name, format('Captures changes of %s; written by threadline.attach.', target));
    -- AFTER ROW triggers fire in the order of their names: this one before the host's own, so that what those write
    -- to the same row is captured after the change that caused it.
    EXECUTE format('CREATE OR REPLACE TRIGGER "!threadline_capture" AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION %s',
        target, function_name);
    -- TRUNCATE triggers are not cloned to partitions.
    FOR member IN SELECT tree.relid FROM pg_partition_tree(target) tree UNION SELECT target LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER "!threadline_truncate" BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION threadline.capture_truncate(%s)',
            member, policy.id);
    END LOOP;

    -- The first scope on a long trail scans it once, and holds off writers meanwhile.
    IF policy.scope_column IS NOT NULL AND to_regclass('threadline.audit_changes_scope_idx') IS NULL THEN
        CREATE INDEX audit_changes_scope_idx ON threadline.audit_changes (scope, captured_at) WHERE scope IS NOT NULL;
    END IF;

    policy.function_digest := threadline.function_digest(policy.id);
    policy.read_key := threadline.key_query(target, policy.key_columns);
    policy.read_row := threadline.row_query(target, policy, policy.key_columns, policy.key_columns);
    policy.attached := true;
    policy.changed_at := clock_timestamp();
    DELETE FROM threadline.audited_tables a WHERE a.id = policy.id;
    INSERT INTO threadline.audited_tables SELECT policy.*;
    IF NOT EXISTS (SELECT FROM threadline.capture_periods p WHERE p.table_id = policy.id AND p.ended_at IS NULL) THEN
        INSERT INTO threadline.capture_periods (table_id, began_at) VALUES (policy.id, clock_timestamp());
    END IF;
END
$$;
COMMENT ON FUNCTION threadline.install_capture(regclass, threadline.audited_tables) IS 'Writes the capture function and the triggers of a table.';

-- Digest of a capture function's body and settings as they are in the catalog; NULL when there is none.
CREATE OR REPLACE FUNCTION threadline.function_digest(of_table integer) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT md5(f.prosrc || f.prosecdef || coalesce(f.proconfig::text, '')) FROM pg_proc f
    WHERE f.pronamespace = 'threadline'::regnamespace AND f.proname = 'capture_' || of_table
$$;
COMMENT ON FUNCTION threadline.function_digest(integer) IS 'Digest of a capture function''s body and settings.';

-- Whether a table is captured by exactly this policy, as this version of Threadline would compile it.
CREATE OR REPLACE FUNCTION threadline.capture_is_current(target regclass, policy threadline.audited_tables) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    stored CONSTANT threadline.audited_tables := (SELECT a FROM threadline.audited_tables a WHERE a.id = threadline.table_id(target) AND a.attached);
BEGIN
    policy.id := stored.id;
    policy.layout := stored.layout;
    policy.function_digest := threadline.function_digest(stored.id);
    policy.read_key := threadline.key_query(target, policy.key_columns);
    policy.read_row := threadline.row_query(target, policy, policy.key_columns, policy.key_columns);
    policy.attached := true;
    policy.changed_at := stored.changed_at;
    RETURN stored.id IS NOT NULL AND policy IS NOT DISTINCT FROM stored
        -- Whoever owns a partitioned table creates its partitions, and their triggers with them.
        AND (SELECT c.relkind <> 'p' OR has_function_privilege(c.relowner, format('threadline.capture_%s()', stored.id), 'EXECUTE') FROM pg_class c WHERE c.oid = target)
        AND (SELECT f.prosrc = threadline.capture_body(target, policy) FROM pg_proc f
            WHERE f.pronamespace = 'threadline'::regnamespace AND f.proname = 'capture_' || stored.id)
        AND (SELECT l.relation_oid = target AND l.columns = threadline.layout_columns(target, stored.id)
            FROM threadline.table_layouts l WHERE l.table_id = stored.id AND l.layout = stored.layout)
        -- The table and every partition have a live TRUNCATE trigger; the row trigger is on the table and cloned.
        AND NOT EXISTS (SELECT FROM (SELECT tree.relid FROM pg_partition_tree(target) tree UNION SELECT target) member
            WHERE NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = member.relid AND t.tgname = '!threadline_truncate' AND t.tgenabled = 'O')
                OR NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = member.relid AND t.tgname = '!threadline_capture' AND t.tgenabled = 'O'));
END
$$;
COMMENT ON FUNCTION threadline.capture_is_current(regclass, threadline.audited_tables) IS 'Whether a table is captured by exactly this policy.';

-- Starts, or changes, the audit of a table. The arguments are the whole policy: what is left out is the default, also
-- when the table is attached already. Returns the table's id in the trail.
--
-- Waits for writers of the table to finish and holds them off until the transaction ends (SHARE ROW EXCLUSIVE); when the
-- table is captured just so already, it takes no lock and does nothing.
CREATE OR REPLACE FUNCTION threadline.attach(
    target regclass,
    exclude text[] DEFAULT '{}',
    mask text[] DEFAULT '{}',
    mask_placeholder text DEFAULT '[REDACTED]',
    ignore text[] DEFAULT '{}',
    key text[] DEFAULT '{}',
    scope text DEFAULT NULL,
    on_truncate text DEFAULT 'record',
    actor_policy text DEFAULT 'allow'
) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    policy threadline.audited_tables;
    loosened text;
BEGIN
    PERFORM threadline.check_target(target);
    policy.exclude := coalesce(exclude, '{}');
    policy.mask := coalesce(mask, '{}');
    policy.mask_placeholder := mask_placeholder;
    policy.ignore := coalesce(ignore, '{}');
    policy.declared_key := coalesce(key, '{}');
    policy.scope_column := scope;
    policy.on_truncate := on_truncate;
    policy.actor_policy := actor_policy;
    policy.key_columns := policy.declared_key;
    PERFORM threadline.check_policy(target, policy);
    policy.key_columns := threadline.resolve_key(target, policy.declared_key);
    PERFORM threadline.check_policy(target, policy);
    IF on_truncate = 'keep' AND NOT has_table_privilege((SELECT nspowner FROM pg_namespace WHERE nspname = 'threadline'), target, 'SELECT') THEN
        RAISE EXCEPTION 'threadline: cannot audit table %: on_truncate = keep reads its rows', target USING
            ERRCODE = 'insufficient_privilege', CONSTRAINT = 'threadline_invalid_policy',
            HINT = format('GRANT SELECT ON %s TO %s.', target, (SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'threadline'));
    END IF;
    SELECT n.nspname, c.relname INTO policy.schema_name, policy.table_name
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = target;
    IF threadline.capture_is_current(target, policy) THEN
        RETURN threadline.table_id(target);
    END IF;
    EXECUTE format('LOCK TABLE ONLY %s IN SHARE ROW EXCLUSIVE MODE', target);
    -- Ids are given out one transaction at a time; a sequence would be left behind by a data-only dump.
    LOCK TABLE threadline.audited_tables IN SHARE ROW EXCLUSIVE MODE;
    policy.id := coalesce(threadline.table_id(target), (SELECT coalesce(max(a.id), 0) + 1 FROM threadline.audited_tables a));
    -- Also of a table that was detached: its policy is still there.
    SELECT string_agg(format('"%s"', c.name), ', ' ORDER BY c.name) INTO loosened
        FROM (SELECT DISTINCT unnest(a.exclude || a.mask) AS name FROM threadline.audited_tables a WHERE a.id = policy.id) c
            JOIN pg_attribute t ON t.attrelid = target AND t.attname = c.name AND NOT t.attisdropped
        WHERE c.name <> ALL (policy.exclude || policy.mask);
    IF loosened IS NOT NULL THEN
        RAISE WARNING 'threadline: table % was audited without the values of %, and is with them from now on', target, loosened
            USING HINT = 'The arguments are the whole policy: name in exclude or mask what the trail is not to have.';
    END IF;
    PERFORM threadline.install_capture(target, policy);
    RETURN policy.id;
END
$$;
COMMENT ON FUNCTION threadline.attach(regclass, text[], text[], text, text[], text[], text, text, text) IS
    'Starts, or changes, the audit of a table. The arguments are the whole policy. Returns the table''s id in the trail.';

-- Ends the audit of a table; its history stays. NULL, and a table that is not audited, are nothing to do.
CREATE OR REPLACE FUNCTION threadline.detach(target regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_table CONSTANT integer := threadline.table_id(target);
    member regclass;
    stray record;
BEGIN
    IF of_table IS NULL THEN
        RETURN;
    END IF;
    PERFORM threadline.check_target(target);
    EXECUTE format('DROP TRIGGER IF EXISTS "!threadline_capture" ON %s', target);
    FOR member IN SELECT tree.relid FROM pg_partition_tree(target) tree UNION SELECT target LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS "!threadline_truncate" ON %s', member);
    END LOOP;
    -- Whoever owns a partitioned table may have put its function on another one.
    FOR stray IN SELECT t.tgname, t.tgrelid::regclass AS relation FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid
        WHERE f.pronamespace = 'threadline'::regnamespace AND f.proname = 'capture_' || of_table AND t.tgparentid = 0
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', stray.tgname, stray.relation);
    END LOOP;
    EXECUTE format('DROP FUNCTION IF EXISTS threadline.capture_%s()', of_table);
    UPDATE threadline.audited_tables a SET attached = false, changed_at = clock_timestamp() WHERE a.id = of_table;
    UPDATE threadline.capture_periods p SET ended_at = clock_timestamp() WHERE p.table_id = of_table AND p.ended_at IS NULL;
END
$$;
COMMENT ON FUNCTION threadline.detach(regclass) IS 'Ends the audit of a table; its history stays.';

-- Compiles the capture function of a table anew for the columns it has now. The policy follows renamed columns, and no
-- longer names dropped ones; what was captured of those stays redacted. Returns whether anything was out of date.
CREATE OR REPLACE FUNCTION threadline.refresh(target regclass) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_table CONSTANT integer := threadline.table_id(target);
    before threadline.audited_tables;
    policy threadline.audited_tables;
BEGIN
    SELECT * INTO before FROM threadline.audited_tables a WHERE a.id = of_table AND a.attached;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'threadline: table % is not audited', target USING ERRCODE = 'undefined_object',
            CONSTRAINT = 'threadline_not_audited', HINT = format('Call threadline.attach(%L) first.', target);
    END IF;
    PERFORM threadline.check_target(target);
    policy := threadline.carried_policy(target, before, threadline.recorded_layout(of_table, before.layout), false);
    SELECT n.nspname, c.relname INTO policy.schema_name, policy.table_name
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = target;
    policy.key_columns := threadline.resolve_key(target, policy.declared_key);
    PERFORM threadline.check_policy(target, policy);
    IF threadline.capture_is_current(target, policy) THEN
        RETURN false;
    END IF;
    EXECUTE format('LOCK TABLE ONLY %s IN SHARE ROW EXCLUSIVE MODE', target);
    PERFORM threadline.install_capture(target, policy);
    RETURN true;
END
$$;
COMMENT ON FUNCTION threadline.refresh(regclass) IS 'Compiles the capture function of a table anew for the columns it has now.';

-- Refreshes every attached table. A table that cannot be refreshed does not stop the others: its row says why, and it
-- goes on being captured by the slower path.
CREATE OR REPLACE FUNCTION threadline.refresh_all() RETURNS TABLE (audited_table text, outcome text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    audited threadline.audited_tables;
    target regclass;
BEGIN
    FOR audited IN SELECT a.* FROM threadline.audited_tables a WHERE a.attached ORDER BY a.schema_name, a.table_name LOOP
        target := threadline.audited_relation(audited.id);
        audited_table := coalesce(target::text, format('%I.%I', audited.schema_name, audited.table_name));
        BEGIN
            outcome := CASE WHEN target IS NULL THEN 'gone: no table carries its trigger' WHEN threadline.refresh(target) THEN 'refreshed' ELSE 'up to date' END;
        EXCEPTION WHEN OTHERS THEN
            outcome := 'failed: ' || SQLERRM;
        END;
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION threadline.refresh_all() IS 'Refreshes every attached table; one row for each, with what happened.';


-- ## Optional: refresh at once, by an event trigger

-- Refreshes audited tables a command has altered, and covers partitions it has created. Never fails the command: what
-- cannot be refreshed is captured by the slower path, and a warning says so.
CREATE OR REPLACE FUNCTION threadline.refresh_after_ddl() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target regclass;
    changed boolean;
BEGIN
    FOR target IN
        SELECT DISTINCT coalesce(pg_partition_root(command.objid)::oid, command.objid) FROM pg_event_trigger_ddl_commands() command
        WHERE command.classid = 'pg_class'::regclass AND command.object_type IN ('table', 'table column')
    LOOP
        BEGIN
            IF EXISTS (SELECT FROM threadline.audited_tables a WHERE a.attached AND threadline.audited_relation(a.id) = target) THEN
                changed := threadline.refresh(target);
            END IF;
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'threadline: capture of % was not refreshed: %', target, SQLERRM
                USING HINT = format('It goes on by the slower path. Call threadline.refresh(%L) once the cause is gone.', target);
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION threadline.refresh_after_ddl() IS 'Event trigger: refreshes audited tables that a command has altered.';

-- Has capture refreshed at once after ALTER TABLE and CREATE TABLE. Creating an event trigger takes a superuser, or the
-- equivalent role of a managed service.
CREATE OR REPLACE FUNCTION threadline.enable_ddl_refresh() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_event_trigger WHERE evtname = 'threadline_refresh') THEN
        CREATE EVENT TRIGGER threadline_refresh ON ddl_command_end WHEN TAG IN ('ALTER TABLE', 'CREATE TABLE')
            EXECUTE FUNCTION threadline.refresh_after_ddl();
    END IF;
END
$$;
COMMENT ON FUNCTION threadline.enable_ddl_refresh() IS 'Has capture refreshed at once after ALTER TABLE; takes a superuser.';

CREATE OR REPLACE FUNCTION threadline.disable_ddl_refresh() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DROP EVENT TRIGGER IF EXISTS threadline_refresh;
END
$$;
COMMENT ON FUNCTION threadline.disable_ddl_refresh() IS 'Undoes enable_ddl_refresh.';


REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline FROM PUBLIC;
GRANT EXECUTE ON FUNCTION threadline.set_context(jsonb) TO PUBLIC;
