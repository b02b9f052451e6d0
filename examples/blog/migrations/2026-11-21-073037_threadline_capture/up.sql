-- Capture: one compiled trigger function for each audited table, and the functions that compile it.
--
-- Row triggers, because single-row statements are the common case and PostgreSQL clones row triggers to partitions.
-- Everything that runs inside a host's write is SECURITY DEFINER with a pinned search_path, calls no function a table's
-- owner could replace, and reads the host's row only through OLD and NEW.

CREATE OR REPLACE FUNCTION threadline.schema_version() RETURNS integer
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT 1 $$;
COMMENT ON FUNCTION threadline.schema_version() IS 'Version of the audit schema; the library checks it against its own.';


-- ## Who and why: the context the application hands over

-- What is wrong with an actor, or NULL; an error of class 22 for bytes that are no text in the database's encoding, which
-- PostgreSQL does not check in settings that come with the connection. The shape is {"type": "user", "id": "42"}; anonymous has no id.
-- In plpgsql, as everything on the way of a transaction's first write: it keeps its plans for the session, where a SQL
-- function that is not inlined (one with a SET clause never is) is planned at each call.
CREATE OR REPLACE FUNCTION threadline.actor_problem(actor jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN CASE
        WHEN actor IS NULL THEN NULL
        WHEN jsonb_typeof(actor) <> 'object' THEN 'actor: not an object'
        WHEN actor - '{type,id}'::text[] <> '{}' THEN 'actor: has a key other than type and id'
        WHEN coalesce(actor ->> 'type', '') NOT IN ('user', 'admin', 'service_account', 'job', 'system', 'anonymous')
            THEN 'actor: type is not one of user, admin, service_account, job, system, anonymous'
        WHEN actor ->> 'type' = 'anonymous' AND actor ->> 'id' IS NOT NULL THEN 'actor: anonymous has no id'
        WHEN actor ->> 'type' = 'anonymous' THEN NULL
        WHEN jsonb_typeof(actor -> 'id') IS DISTINCT FROM 'string' OR actor ->> 'id' = '' THEN 'actor: id is not a text, or empty'
        WHEN octet_length(convert_from(convert_to(actor ->> 'id', getdatabaseencoding()), getdatabaseencoding())) > 256
            THEN 'actor: id is longer than 256 bytes'
    END;
END
$$;
COMMENT ON FUNCTION threadline.actor_problem(jsonb) IS 'What is wrong with an actor, or NULL.';

-- Every problem of a context, as "field: what is wrong", in the order of the fields; empty for a sound one. As actor_problem, an
-- error for bytes that are no text.
CREATE OR REPLACE FUNCTION threadline.context_problems(context jsonb) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF jsonb_typeof(context) <> 'object' THEN
        RETURN ARRAY['context: not an object'];
    END IF;
    RETURN array_remove(ARRAY[
        CASE WHEN context ->> 'action_id' !~ '^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$' THEN 'action_id: not a UUID' END,
        threadline.actor_problem(context -> 'actor'),
        CASE WHEN context - '{action_id,actor,correlation_id,job_id,meta,remote_addr,request_id}'::text[] <> '{}'
            THEN 'context: has an unknown key' END,
        CASE WHEN octet_length(convert_from(convert_to(context::text, getdatabaseencoding()), getdatabaseencoding())) > 32768
            THEN 'context: larger than 32768 bytes' END,
        CASE WHEN jsonb_typeof(context -> 'correlation_id') NOT IN ('string', 'null') THEN 'correlation_id: not a text'
            WHEN octet_length(context ->> 'correlation_id') > 256 THEN 'correlation_id: longer than 256 bytes' END,
        CASE WHEN jsonb_typeof(context -> 'job_id') NOT IN ('string', 'null') THEN 'job_id: not a text'
            WHEN octet_length(context ->> 'job_id') > 256 THEN 'job_id: longer than 256 bytes' END,
        CASE WHEN jsonb_typeof(context -> 'meta') NOT IN ('object', 'null') THEN 'meta: not an object' END,
        CASE WHEN jsonb_typeof(context -> 'remote_addr') NOT IN ('string', 'null') THEN 'remote_addr: not a text'
            WHEN octet_length(context ->> 'remote_addr') > 256 THEN 'remote_addr: longer than 256 bytes' END,
        CASE WHEN jsonb_typeof(context -> 'request_id') NOT IN ('string', 'null') THEN 'request_id: not a text'
            WHEN octet_length(context ->> 'request_id') > 256 THEN 'request_id: longer than 256 bytes' END
    ], NULL);
END
$$;
COMMENT ON FUNCTION threadline.context_problems(jsonb) IS 'Every problem of a context, as "field: what is wrong".';

-- Hands a context to the current transaction, once and before its first captured change: that is when the transaction's row
-- is written. It is bound to the transaction's number, so that a copy left behind in the session is not believed by a later
-- transaction.
CREATE OR REPLACE FUNCTION threadline.set_context(context jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    number CONSTANT text := pg_current_xact_id();
    problems CONSTANT text[] := CASE WHEN context IS NULL THEN ARRAY['context: NULL'] ELSE threadline.context_problems(context) END;
    ignored text;
BEGIN
    IF problems <> '{}' THEN
        RAISE EXCEPTION 'threadline: invalid context: %', array_to_string(problems, '; ') USING
            ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_invalid_context',
            HINT = 'The shape is {"actor": {"type": "user", "id": "42"}, "request_id": "…", "correlation_id": "…", "job_id": "…", "remote_addr": "…", "action_id": "…", "meta": {}}; every key may be left out.';
    ELSIF right(current_setting('threadline.begun', true), 12) = right('00000000000' || number, 12) THEN
        RAISE EXCEPTION 'threadline: the context of an audited transaction was set when it began' USING
            ERRCODE = 'invalid_transaction_state', CONSTRAINT = 'threadline_context_replaced',
            HINT = 'Leave out the call; what one database transaction changes has one actor.';
    ELSIF right(current_setting('threadline.transaction', true), 12) = right('00000000000' || number, 12) THEN
        RAISE EXCEPTION 'threadline: this transaction has captured changes already, without the context' USING
            ERRCODE = 'invalid_transaction_state', CONSTRAINT = 'threadline_context_too_late',
            HINT = 'Call threadline.set_context before the first write of the transaction.';
    END IF;
    ignored := set_config('threadline.context', (context || jsonb_build_object('xid', number))::text, true);
END
$$;
COMMENT ON FUNCTION threadline.set_context(jsonb) IS
    'Hands actor, request_id, correlation_id, job_id, remote_addr, action_id and meta to the current transaction; call it before the first write.';

-- Inserts the audit_transactions row of the current transaction from a context that has been checked, and returns its id,
-- which capture keeps in the local setting threadline.transaction. The last 12 digits of the id are those of the
-- transaction's number, so capture recognises its own state by comparing them, and a rolled back savepoint takes setting and
-- row back together.
CREATE OR REPLACE FUNCTION threadline.insert_transaction(id uuid, context jsonb, actor jsonb, context_error text) RETURNS uuid
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ignored text;
BEGIN
    INSERT INTO threadline.audit_transactions (id, occurred_at, xid, actor_type, actor_id, request_id, correlation_id,
        job_id, remote_addr, action_id, db_role, application_name, client_addr, meta, context_error)
    VALUES (id, now(), pg_current_xact_id(), actor ->> 'type', actor ->> 'id', context ->> 'request_id',
        context ->> 'correlation_id', context ->> 'job_id', context ->> 'remote_addr',
        (context ->> 'action_id')::uuid, session_user, NULLIF(current_setting('application_name'), ''),
        inet_client_addr(), NULLIF(context -> 'meta', 'null'), context_error);
    ignored := set_config('threadline.transaction', id::text, true);
    ignored := set_config('threadline.ordinal', '0', true);
    RETURN id;
END
$$;
COMMENT ON FUNCTION threadline.insert_transaction(uuid, jsonb, jsonb, text) IS 'Inserts the audit_transactions row of the current transaction.';

-- Opens the current transaction in the trail, with what its settings say of who and why.
--
-- Whatever is wrong with the context that was handed over ends up in context_error; it never fails. After a local
-- set_config has ended, a setting reads '' rather than NULL. An audited transaction (threadline.begin) has chosen the id
-- before, and its context is the one it was begun with: an actor that lingers in the session is none of its business, and a
-- context that was put in its place is not believed, nor will threadline.finish let it pass.
--
-- Few expressions: PostgreSQL sets each one up once a transaction, and this runs once a transaction.
CREATE OR REPLACE FUNCTION threadline.open_transaction() RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    raw CONSTANT text := current_setting('threadline.context', true);
    raw_actor CONSTANT text := current_setting('threadline.actor_ref', true);
    begun CONSTANT text := current_setting('threadline.begun', true);
    number CONSTANT text := right('00000000000' || pg_current_xact_id()::text, 12);
    id uuid := lpad(to_hex(floor(extract(epoch FROM now()) * 1000)::bigint), 12, '0')
        || '7' || substr(gen_random_uuid()::text, 16, 8) || number;
    is_begun CONSTANT boolean := coalesce(begun LIKE repeat('_', 32) || left(id::text, 14) || '7___-____-' || number, false);
    context jsonb;
    actor jsonb;
    problems text[];
    ignored text;
BEGIN
    IF is_begun THEN
        id := right(begun, 36);
    END IF;
    IF is_begun AND left(begun, 32) IS DISTINCT FROM md5(raw) THEN
        problems := ARRAY['context: replaced in an audited transaction'];
        ignored := set_config('threadline.begun', '', true);
    ELSIF octet_length(raw) > 65536 THEN
        problems := ARRAY['context: larger than 65536 bytes'];
    ELSIF raw <> '' THEN
        BEGIN
            context := raw;
            IF jsonb_typeof(context) = 'object' AND context ->> 'xid' <> pg_current_xact_id()::text THEN
                context := NULL;
                problems := ARRAY['context: left over from another transaction'];
            ELSE
                problems := threadline.context_problems(CASE jsonb_typeof(context) WHEN 'object' THEN context - 'xid' ELSE context END);
            END IF;
            IF context IS NOT NULL AND problems <> '{}' THEN
                context := CASE WHEN NOT problems && ARRAY['context: not an object', 'context: larger than 32768 bytes']
                    THEN context - (SELECT array_agg(split_part(problem, ':', 1)) FROM unnest(problems) problem) END;
            END IF;
        EXCEPTION WHEN data_exception OR program_limit_exceeded OR statement_too_complex THEN
            context := NULL;
            problems := ARRAY['context: not JSON'];
        END;
    END IF;
    actor := context -> 'actor';
    IF actor IS NULL AND NOT is_begun AND octet_length(raw_actor) > 4096 THEN
        problems := problems || 'actor_ref: larger than 4096 bytes'::text;
    ELSIF actor IS NULL AND NOT is_begun AND raw_actor <> '' THEN
        BEGIN
            actor := raw_actor;
            IF threadline.actor_problem(actor) IS NOT NULL THEN
                problems := problems || replace(threadline.actor_problem(actor), 'actor:', 'actor_ref:');
                actor := NULL;
            END IF;
        EXCEPTION WHEN data_exception OR program_limit_exceeded OR statement_too_complex THEN
            actor := NULL;
            problems := problems || 'actor_ref: not JSON'::text;
        END;
    END IF;
    RETURN threadline.insert_transaction(id, context, actor, NULLIF(array_to_string(problems, '; '), ''));
END
$$;
COMMENT ON FUNCTION threadline.open_transaction() IS 'Opens the current transaction in the trail, with what its settings say of who and why.';


-- Notes that the transaction captures a change so long after it began. now() is what the id was made of. Nothing is kept in
-- a setting: a client could set it, and have its late changes overlooked.
CREATE OR REPLACE FUNCTION threadline.note_long_transaction(id uuid, captured_at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO threadline.audit_long_transactions
    VALUES (floor(log(2, extract(epoch FROM captured_at - now()) / 2)) + 1, id) ON CONFLICT DO NOTHING;
END
$$;
COMMENT ON FUNCTION threadline.note_long_transaction(uuid, timestamptz) IS 'Notes that a transaction captures a change two seconds or more after it began.';


-- ## What a table looks like: layouts, types, keys
--
-- What is called at every reading is plpgsql where SQL would do: a function in SQL that has settings of its own is planned
-- at each call, which takes twenty times as long.

-- The table a capture function belongs to. Found through its trigger, so it holds after a rename and after a restore.
-- Marked IMMUTABLE (it is not) so that a capture function's guard is folded once: see capture_body.
CREATE OR REPLACE FUNCTION threadline.audited_relation(table_id integer) RETURNS regclass
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (
        SELECT t.tgrelid::regclass
        FROM pg_proc f JOIN pg_depend d ON d.refclassid = 'pg_proc'::regclass AND d.refobjid = f.oid AND d.classid = 'pg_trigger'::regclass
            JOIN pg_trigger t ON t.oid = d.objid JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
            LEFT JOIN threadline.audited_tables a ON a.id = audited_relation.table_id
            LEFT JOIN threadline.table_layouts l ON l.table_id = a.id AND l.layout = a.layout
        WHERE f.pronamespace = 'threadline'::regnamespace AND f.proname = 'capture_' || audited_relation.table_id
            AND t.tgname = '!threadline_capture' AND t.tgparentid = 0 AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        -- The owner of a partitioned table may execute its function, so could put it on another table as well.
        ORDER BY l.relation_oid = c.oid DESC NULLS LAST, (n.nspname, c.relname) = (a.schema_name, a.table_name) DESC NULLS LAST, c.oid LIMIT 1
    );
END
$$;
COMMENT ON FUNCTION threadline.audited_relation(integer) IS 'The table whose capture trigger calls capture_<table_id>, or NULL.';

-- The id of an audited table, or NULL: the one its trigger carries, else the one last known under its name.
CREATE OR REPLACE FUNCTION threadline.table_id(relation oid) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- By the trigger that attach makes; there may be others, made by hand.
    carried integer := (SELECT substring(f.proname, '^capture_([0-9]+)$')::integer FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid
        WHERE t.tgrelid = relation AND t.tgname = '!threadline_capture' AND f.pronamespace = 'threadline'::regnamespace);
BEGIN
    IF carried IS NULL OR threadline.audited_relation(carried) <> relation THEN
        carried := (SELECT min(c.id) FROM (SELECT substr(f.proname, 9)::integer AS id FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid
                WHERE t.tgrelid = relation AND f.pronamespace = 'threadline'::regnamespace AND f.proname ~ '^capture_[0-9]+$') c
            WHERE threadline.audited_relation(c.id) = relation);
    END IF;
    IF carried IS NULL THEN
        -- The names first: what the function asks of the catalogs for one table is too much to ask for all.
        carried := (SELECT min(named.id) FROM (SELECT a.id FROM threadline.audited_tables a JOIN pg_class c ON c.relname = a.table_name
                JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = a.schema_name WHERE c.oid = relation OFFSET 0) named
            WHERE threadline.audited_relation(named.id) IS NULL);
    END IF;
    RETURN carried;
END
$$;
COMMENT ON FUNCTION threadline.table_id(oid) IS 'The audited_tables id of a relation, or NULL.';

-- Names, types and order of a table's columns. Attribute numbers are left out: a restore changes them, and layout_differs
-- asks about them where there was none.
-- VOLATILE so that under READ COMMITTED it reads with a snapshot of its own: that of a COPY, say, is older than the lock
-- the COPY waited for.
CREATE OR REPLACE FUNCTION threadline.layout_digest(relation oid) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS $$
BEGIN
    RETURN (
        SELECT md5(string_agg(format('%I %s %s', attname, format_type(atttypid, atttypmod), attcollation::regcollation), ',' ORDER BY attnum))
        FROM pg_attribute WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped
    );
END
$$;
COMMENT ON FUNCTION threadline.layout_digest(oid) IS 'Digest over names, types and order of a table''s columns.';

-- Whether a relation looks unlike a recorded layout. In the relation it was recorded for, a column that took the name, the type
-- and the place of another one is another one.
CREATE OR REPLACE FUNCTION threadline.layout_differs(relation oid, of_table integer, of_layout integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (
        SELECT threadline.layout_digest(relation) <> l.digest OR (l.relation_oid = relation AND EXISTS (
            SELECT FROM jsonb_to_recordset(l.columns) c (attnum integer) WHERE NOT EXISTS (
                SELECT FROM pg_attribute a WHERE a.attrelid = relation AND a.attnum = c.attnum AND NOT a.attisdropped)))
        FROM threadline.table_layouts l WHERE l.table_id = of_table AND l.layout = of_layout
    );
END
$$;
COMMENT ON FUNCTION threadline.layout_differs(oid, integer, integer) IS 'Whether a relation looks unlike a recorded layout; NULL when there is none.';

-- The columns of a table by the names they have at this moment, whatever snapshot the transaction reads with: both
-- functions look into the catalog cache. Past the last column there is no name; a dropped one has a name and no privileges.
CREATE OR REPLACE FUNCTION threadline.present_columns(relation oid) RETURNS TABLE (attnum integer, name text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
    WITH RECURSIVE attribute (attnum, name) AS (
        SELECT 1, (pg_identify_object_as_address('pg_class'::regclass, relation, 1)).object_names[3]
        UNION ALL
        SELECT a.attnum + 1, (pg_identify_object_as_address('pg_class'::regclass, relation, a.attnum + 1)).object_names[3]
        FROM attribute a WHERE a.name IS NOT NULL
    )
    SELECT a.attnum, a.name FROM attribute a
    WHERE a.name IS NOT NULL AND has_column_privilege(relation, a.attnum::smallint, 'SELECT') IS NOT NULL;
END
$$;
COMMENT ON FUNCTION threadline.present_columns(oid) IS 'The columns of a table at this moment, whatever the snapshot.';

-- The columns of a table as they are at this moment, each with the name and id a recorded layout knows it by; NULL for one
-- it does not know. Columns are matched by attribute number.
--
-- When the relation is another one than the layout was recorded for, it is a restored copy, whose attributes were numbered by
-- their position; but where it has fewer than the layout, or others there, it was made anew or changed before the dump, and names
-- tell. They are not sure to when they stand in another order.
CREATE OR REPLACE FUNCTION threadline.known_columns(relation oid, known jsonb)
RETURNS TABLE (attnum integer, name text, known_name text, known_id integer, sure boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (known ->> 'relation')::oid = relation THEN
        RETURN QUERY SELECT p.attnum, p.name, k.name, k.id, true FROM threadline.present_columns(relation) p
            LEFT JOIN jsonb_to_recordset(known -> 'columns') k (id integer, attnum integer, name text) ON k.attnum = p.attnum;
        RETURN;
    END IF;
    RETURN QUERY
    WITH layout AS (
        SELECT k.id, k.name, k.type, row_number() OVER (ORDER BY k.attnum) AS place
        FROM jsonb_to_recordset(known -> 'columns') k (id integer, attnum integer, name text, type text)
    ), today AS (
        SELECT p.attnum, p.name, (SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a WHERE a.attrelid = relation AND a.attnum = p.attnum) AS type
        FROM threadline.present_columns(relation) p
    ), told AS (
        SELECT (SELECT c.relnatts FROM pg_class c WHERE c.oid = relation) >= (SELECT count(*) FROM layout)
                AND NOT EXISTS (SELECT FROM today t JOIN layout l ON l.place = t.attnum WHERE t.type IS DISTINCT FROM l.type)
                AND NOT EXISTS (SELECT FROM today t JOIN layout l ON l.name = t.name WHERE l.place <> t.attnum) AS by_position,
            (SELECT array_agg(t.name ORDER BY t.attnum) = array_agg(t.name ORDER BY l.place) FROM today t JOIN layout l ON l.name = t.name) AS in_order
    )
    SELECT t.attnum, t.name, l.name, l.id, told.by_position OR coalesce(told.in_order, false)
    FROM today t CROSS JOIN told LEFT JOIN layout l ON CASE WHEN told.by_position THEN l.place = t.attnum ELSE l.name = t.name END;
END
$$;
COMMENT ON FUNCTION threadline.known_columns(oid, jsonb) IS 'The columns of a table as they are at this moment, each with the name a layout knows it by.';

-- Names, types and order of a table's columns at this moment, whatever the snapshot: a query is parsed against the table
-- as it is. Type modifiers and collations do not show here. With their attribute numbers, which a restore changes, if asked for.
-- NULL when the owner of schema threadline may not name the table.
CREATE OR REPLACE FUNCTION threadline.shape_digest(relation regclass, numbered boolean) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS $$
DECLARE
    types text;
    digest text;
BEGIN
    -- With the type under a domain, whose name the owner could give to another type: what is compiled for one may run
    -- functions of the other's owner. A type the snapshot does not show is never the one compiled for.
    SELECT string_agg(format('%1$L, pg_typeof((r.r).%2$I)::text || coalesce(''/'' || format_type(threadline.base_type(pg_typeof((r.r).%2$I)), -1), gen_random_uuid()::text)',
            format('%I', c.name) || CASE WHEN numbered THEN ' ' || c.attnum ELSE '' END, c.name), ', ' ORDER BY c.attnum)
        INTO types FROM threadline.present_columns(relation) c;
    IF types IS NOT NULL THEN
        EXECUTE format('SELECT md5(array_to_string(ARRAY[%s], '','')) FROM (SELECT NULL::%s) AS r (r)', types, relation) INTO digest;
    END IF;
    RETURN digest;
EXCEPTION WHEN OTHERS THEN
    -- No privilege on its schema; or, after a restore, the number of some other relation. Then it is not as compiled.
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION threadline.shape_digest(regclass, boolean) IS 'Digest over names, types and order of a table''s columns at this moment, whatever the snapshot.';

-- Whether a table still looks as it did when its capture function was compiled.
-- Marked IMMUTABLE (it is not) so that a capture function's guard is folded once: see capture_body. Outside READ COMMITTED
-- the snapshot may be older than the table, and what only the catalogs tell (a type's modifier) is left unasked.
CREATE OR REPLACE FUNCTION threadline.is_as_compiled(relation regclass, shape text, numbered boolean, layout text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN threadline.shape_digest(relation, numbered) = shape
        AND (current_setting('transaction_isolation') <> 'read committed' OR threadline.layout_digest(relation) = layout);
END
$$;
COMMENT ON FUNCTION threadline.is_as_compiled(regclass, text, boolean, text) IS 'Whether a table still looks as it did when its capture function was compiled.';

-- The columns of a table now, each with the id it had in the last layout recorded for it: matched by attribute number
-- while the relation is the same, else (after a restore or re-creation) by name.
CREATE OR REPLACE FUNCTION threadline.layout_columns(relation oid, of_table integer) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH last AS (
        SELECT jsonb_build_object('relation', l.relation_oid::bigint, 'columns', l.columns) AS known FROM threadline.table_layouts l
        WHERE l.table_id = of_table AND l.layout = (SELECT max(m.layout) FROM threadline.table_layouts m WHERE m.table_id = of_table)
    ), now AS (
        SELECT a.attnum, a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS type, known.known_id AS id
        FROM pg_attribute a LEFT JOIN threadline.known_columns(relation, (SELECT last.known FROM last)) known ON known.attnum = a.attnum
        WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
    ), highest AS (
        SELECT coalesce(max(c.id), 0) AS id FROM threadline.table_layouts l, jsonb_to_recordset(l.columns) c (id integer)
        WHERE l.table_id = of_table
    )
    SELECT jsonb_agg(jsonb_build_object('id', coalesce(now.id, highest.id + now.fresh), 'attnum', now.attnum, 'name', now.name,
        'type', now.type) ORDER BY now.attnum)
    FROM (SELECT now.*, row_number() OVER (PARTITION BY now.id IS NULL ORDER BY now.attnum) AS fresh FROM now) now, highest
$$;
COMMENT ON FUNCTION threadline.layout_columns(oid, integer) IS 'The columns of a table now, with ids that stay through renames.';

-- A recorded layout as {"relation": oid, "columns": […]}, or NULL.
CREATE OR REPLACE FUNCTION threadline.recorded_layout(of_table integer, of_layout integer) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (
        SELECT jsonb_build_object('relation', l.relation_oid::bigint, 'columns', l.columns)
        FROM threadline.table_layouts l WHERE l.table_id = of_table AND l.layout = of_layout
    );
END
$$;
COMMENT ON FUNCTION threadline.recorded_layout(integer, integer) IS 'A recorded layout, or NULL.';

-- A type and every type it is made of: array elements, domain bases, composite fields, range bounds.
CREATE OR REPLACE FUNCTION threadline.component_types(type_oid oid) RETURNS SETOF oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH RECURSIVE component (id) AS (
        SELECT type_oid
        UNION
        SELECT part.id FROM component JOIN pg_type t ON t.oid = component.id, LATERAL (
            SELECT t.typbasetype WHERE t.typtype = 'd'
            UNION ALL SELECT t.typelem WHERE t.typcategory = 'A' AND t.typtype = 'b'
            UNION ALL SELECT a.atttypid FROM pg_attribute a
                WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
            UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
        ) part (id)
    )
    SELECT component.id FROM component
$$;
COMMENT ON FUNCTION threadline.component_types(oid) IS 'A type and every type it is made of.';

-- The type under any domains.
CREATE OR REPLACE FUNCTION threadline.base_type(type_oid oid) RETURNS oid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (
        WITH RECURSIVE base (id, typtype, typbasetype) AS (
            SELECT t.oid, t.typtype, t.typbasetype FROM pg_type t WHERE t.oid = type_oid
            UNION ALL
            SELECT t.oid, t.typtype, t.typbasetype FROM base JOIN pg_type t ON t.oid = base.typbasetype WHERE base.typtype = 'd'
        )
        SELECT base.id FROM base WHERE base.typtype <> 'd'
    );
END
$$;
COMMENT ON FUNCTION threadline.base_type(oid) IS 'The type under any domains.';

-- Whether to_jsonb may be given values of a type. Not those of a type that did not come with PostgreSQL (16384 is
-- FirstNormalObjectId): to_jsonb would look for a cast to json, which the type's owner can define, and run it with our
-- rights. Nor json, whose text jsonb does not keep, and refuses where it holds \u0000.
CREATE OR REPLACE FUNCTION threadline.goes_in_as_it_is(type_oid oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT threadline.base_type(type_oid) < 16384
        AND NOT EXISTS (SELECT FROM threadline.component_types(type_oid) part WHERE part = 'json'::regtype)
$$;
COMMENT ON FUNCTION threadline.goes_in_as_it_is(oid) IS 'Whether to_jsonb may be given values of a type.';

-- A value as its type's output function writes it, as a format() template with the value as its argument. A function that
-- does not come with PostgreSQL is reached through format(), by number: its name, or its type's, may change.
CREATE OR REPLACE FUNCTION threadline.output_form(type_oid oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN t.typtype <> 'd' AND f.pronamespace = 'pg_catalog'::regnamespace THEN format('textin(%s(%%1$s))', f.proname)
        ELSE 'CASE WHEN num_nulls(%1$s) = 0 THEN format(''%%s'', %1$s) END' END
    FROM pg_type t JOIN pg_proc f ON f.oid = t.typoutput WHERE t.oid = type_oid
$$;
COMMENT ON FUNCTION threadline.output_form(oid) IS 'A value as its type''s output function writes it.';

-- How a value is put into jsonb, as a format() template: as it is, or as the text of its type's output function.
CREATE OR REPLACE FUNCTION threadline.value_form(type_oid oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN threadline.goes_in_as_it_is(type_oid) THEN '%s' ELSE threadline.output_form(type_oid) END
$$;
COMMENT ON FUNCTION threadline.value_form(oid) IS 'How a value of a type is put into jsonb.';

-- As value_form, for a value whose type is known only when it is there.
CREATE OR REPLACE FUNCTION threadline.value_of(value anyelement) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF num_nulls(value) = 1 THEN
        RETURN 'null';
    ELSIF threadline.goes_in_as_it_is(pg_typeof(value)) THEN
        RETURN to_jsonb(value);
    END IF;
    RETURN to_jsonb(format('%s', value));
END
$$;
COMMENT ON FUNCTION threadline.value_of(anyelement) IS 'A value as capture puts it into jsonb.';

-- The SET clauses a function needs so that values of a table come out the same in every session.
CREATE OR REPLACE FUNCTION threadline.output_settings(relation oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH types AS (
        SELECT DISTINCT t.oid, t.typtype, t.typcategory FROM pg_attribute a, threadline.component_types(a.atttypid) part JOIN pg_type t ON t.oid = part
        WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
    ), wide AS (
        -- Ranges, composites and foreign base types may hold anything: pin everything for them.
        SELECT EXISTS (SELECT FROM types WHERE typtype IN ('r', 'm', 'c')
            OR (oid >= 16384 AND typtype = 'b' AND typcategory NOT IN ('S', 'A'))) AS needed
    )
    SELECT coalesce(string_agg(format(E'\nSET %s', setting.clause), '' ORDER BY setting.clause), '') FROM wide, (VALUES
        ('TimeZone = ''UTC''', ARRAY['timestamptz']::regtype[]),
        ('extra_float_digits = 1', ARRAY['float4', 'float8', 'point', 'line', 'lseg', 'box', 'path', 'polygon', 'circle']::regtype[]),
        ('IntervalStyle = ''postgres''', ARRAY['interval']::regtype[]),
        ('DateStyle = ''ISO, YMD''', ARRAY[]::regtype[]),
        ('bytea_output = ''hex''', ARRAY['bytea']::regtype[]),
        ('lc_monetary = ''C''', ARRAY['money']::regtype[])
    ) setting (clause, types)
    WHERE wide.needed OR EXISTS (SELECT FROM types WHERE types.oid = ANY (setting.types))
$$;
COMMENT ON FUNCTION threadline.output_settings(oid) IS 'The SET clauses a function needs so that values of a table come out the same in every session.';

-- An instant as the text it has in keys, whatever the session's time zone is.
CREATE OR REPLACE FUNCTION threadline.instant_key(instant timestamptz) RETURNS text
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' AS $$
BEGIN
    RETURN to_jsonb(instant) #>> '{}';
END
$$;
COMMENT ON FUNCTION threadline.instant_key(timestamptz) IS 'An instant as the text it has in keys.';

-- The expression that turns a key value into its canonical text, with %s for the value; NULL when the type has none.
CREATE OR REPLACE FUNCTION threadline.key_form(type_oid oid) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (
        SELECT CASE
            WHEN base.oid = 'numeric'::regtype THEN 'trim_scale(%s)::text'
            WHEN base.oid = 'timestamptz'::regtype THEN 'threadline.instant_key(%s)'
            WHEN base.oid IN ('date'::regtype, 'timestamp'::regtype) THEN '(to_jsonb(%s) #>> ''{}'')'
            WHEN base.oid = 'bytea'::regtype THEN '(chr(92) || ''x'' || encode(%s, ''hex''))'
            WHEN base.oid = ANY (ARRAY['bool', 'int2', 'int4', 'int8', 'oid', 'text', 'varchar', 'bpchar', 'name', '"char"', 'uuid', 'time',
                'inet', 'cidr', 'macaddr', 'macaddr8', 'bit', 'varbit']::regtype[]) THEN '%s::text'
            WHEN base.typtype = 'e' OR (base.typtype = 'b' AND base.typcategory = 'S') THEN threadline.output_form(type_oid)
        END
        FROM pg_type base WHERE base.oid = threadline.base_type(type_oid)
    );
END
$$;
COMMENT ON FUNCTION threadline.key_form(oid) IS 'How a key value of a type becomes text; NULL when it cannot.';

-- As key_form, for a value whose type is known only when it is there.
CREATE OR REPLACE FUNCTION threadline.key_of(value anyelement) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    key text;
BEGIN
    IF pg_typeof(value) = ANY ('{int2,int4,int8,text,varchar,uuid}'::regtype[]) THEN
        RETURN value;
    ELSIF num_nulls(value) = 0 THEN
        EXECUTE 'SELECT ' || format(coalesce(threadline.key_form(pg_typeof(value)), 'format(''%%s'', %s)'), '$1') INTO key USING value;
    END IF;
    RETURN key;
END
$$;
COMMENT ON FUNCTION threadline.key_of(anyelement) IS 'A key value as text.';

-- A key as it is stored: a very long one by its digest, because an index entry is limited to a third of a page.
CREATE OR REPLACE FUNCTION threadline.stored_key(key text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN octet_length(key) > 1024 THEN 'sha256:' || encode(sha256(convert_to(key, getdatabaseencoding())), 'hex') ELSE key END
$$;
COMMENT ON FUNCTION threadline.stored_key(text) IS 'A key as it is stored: over 1024 bytes by its SHA-256.';

-- The expression for the key text of a row; `row_reference` is OLD, NEW, ($1) or an alias. NULL without columns.
CREATE OR REPLACE FUNCTION threadline.key_expression(relation oid, columns text[], row_reference text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN may_be_long THEN format('CASE WHEN octet_length(%1$s) > 1024 THEN threadline.stored_key(%1$s) ELSE %1$s END', key) ELSE key END
    FROM (
        SELECT bool_or(base.typlen < 0) AS may_be_long,
            format(CASE count(*) WHEN 1 THEN '%s' ELSE 'jsonb_build_array(%s)::text' END,
                string_agg(format(threadline.key_form(a.atttypid), format('%s.%I', row_reference, c.name)), ', '
                    ORDER BY array_position(columns, c.name))) AS key
        FROM threadline.present_columns(relation) c JOIN pg_attribute a ON a.attrelid = relation AND a.attnum = c.attnum
            JOIN pg_type base ON base.oid = threadline.base_type(a.atttypid)
        WHERE c.name = ANY (columns)
        HAVING count(*) > 0
    ) expression
$$;
COMMENT ON FUNCTION threadline.key_expression(oid, text[], text) IS 'The expression for the key text of a row.';

-- The column of audit_departures that takes the first column of a key; NULL when it is of another type than those.
CREATE OR REPLACE FUNCTION threadline.departure_column(relation oid, columns text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE a.atttypid WHEN 'int4'::regtype THEN 'key_int4' WHEN 'int8'::regtype THEN 'key_int8' WHEN 'uuid'::regtype THEN 'key_uuid'
        WHEN 'text'::regtype THEN 'key_text' WHEN 'varchar'::regtype THEN 'key_text' END
    FROM threadline.present_columns(relation) c JOIN pg_attribute a ON a.attrelid = relation AND a.attnum = c.attnum
    WHERE c.name = columns[1]
$$;
COMMENT ON FUNCTION threadline.departure_column(oid, text[]) IS 'The column of audit_departures that takes the first column of a key.';

-- Why a column cannot be part of a key, or NULL.
CREATE OR REPLACE FUNCTION threadline.key_column_problem(relation oid, attribute smallint) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN threadline.key_form(a.atttypid) IS NULL
            THEN format('column "%s" is of type %s, which has no single text form', a.attname, format_type(a.atttypid, a.atttypmod))
        WHEN c.oid IS NOT NULL
            THEN format('column "%s" has the nondeterministic collation %s, under which different texts are one key', a.attname, c.oid::regcollation)
    END
    FROM pg_attribute a LEFT JOIN pg_collation c ON c.oid = a.attcollation AND NOT c.collisdeterministic
    WHERE a.attrelid = relation AND a.attnum = attribute
$$;
COMMENT ON FUNCTION threadline.key_column_problem(oid, smallint) IS 'Why a column cannot be part of a key, or NULL.';

-- Every unique index of a table with its columns, and why it cannot serve as a key (NULL when it can). A deferrable one
-- is accepted only as the primary key: nobody chose it to tell rows apart in the trail.
CREATE OR REPLACE FUNCTION threadline.candidate_keys(relation oid)
RETURNS TABLE (index_name text, is_primary boolean, columns text[], problem text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT x.relname::text, i.indisprimary, k.columns, CASE
            WHEN i.indexprs IS NOT NULL THEN 'it is over an expression'
            WHEN i.indpred IS NOT NULL THEN 'it is partial'
            WHEN NOT i.indisvalid OR NOT i.indisready THEN 'it is not valid'
            WHEN NOT i.indimmediate AND NOT i.indisprimary THEN 'it is deferrable'
            WHEN k.nullable IS NOT NULL THEN format('column "%s" may be NULL', k.nullable)
            ELSE k.problem
        END
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid, LATERAL (
        SELECT array_agg(a.attname::text ORDER BY u.position) AS columns, min(a.attname::text) FILTER (WHERE NOT a.attnotnull) AS nullable,
            min(threadline.key_column_problem(relation, a.attnum)) AS problem
        FROM unnest(i.indkey::smallint[]) WITH ORDINALITY u (attnum, position)
            JOIN pg_attribute a ON a.attrelid = relation AND a.attnum = u.attnum
        WHERE u.position <= i.indnkeyatts
    ) k
    WHERE i.indrelid = relation AND i.indisunique
$$;
COMMENT ON FUNCTION threadline.candidate_keys(oid) IS 'Every unique index of a table, and why it cannot serve as a key.';

-- The columns of the row key: the declared ones if a usable unique index is over exactly them, else the primary key.
CREATE OR REPLACE FUNCTION threadline.resolve_key(relation regclass, declared text[]) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_key record;
    reasons text;
    usable text;
BEGIN
    SELECT string_agg(format('unique index %I: %s', k.index_name, coalesce(k.problem, 'usable')), '; ' ORDER BY k.index_name),
            min(format('key => ARRAY[%s]', (SELECT string_agg(quote_literal(c), ', ') FROM unnest(k.columns) c))) FILTER (WHERE k.problem IS NULL)
        INTO reasons, usable FROM threadline.candidate_keys(relation) k WHERE NOT k.is_primary;
    IF declared <> '{}' THEN
        IF EXISTS (SELECT FROM threadline.candidate_keys(relation) k
                WHERE k.problem IS NULL AND k.columns @> declared AND declared @> k.columns) THEN
            RETURN declared;
        END IF;
        RAISE EXCEPTION 'threadline: key (%) of table % is not usable', array_to_string(declared, ', '), relation USING
            ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_no_key',
            DETAIL = coalesce((SELECT format('index %I over these columns: %s', k.index_name, k.problem)
                FROM threadline.candidate_keys(relation) k WHERE k.columns @> declared AND declared @> k.columns LIMIT 1),
                'No unique index is over exactly these columns.'),
            HINT = format('A key needs a valid, immediate unique index over NOT NULL columns; %s.', coalesce(reasons, 'the table has none but its primary key, if any'));
    END IF;
    SELECT * INTO found_key FROM threadline.candidate_keys(relation) k WHERE k.is_primary;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'threadline: table % has no primary key, so its rows could not be told apart', relation USING
            ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_no_key',
            DETAIL = coalesce(reasons, 'It has no unique index either.'),
            HINT = CASE WHEN usable IS NULL THEN 'Add a primary key, or a unique index over NOT NULL columns.' ELSE 'Declare ' || usable || ', or add a primary key.' END;
    ELSIF found_key.problem IS NOT NULL THEN
        RAISE EXCEPTION 'threadline: the primary key of table % is not usable: %', relation, found_key.problem USING
            ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_no_key', DETAIL = coalesce(reasons, 'It has no other unique index.'),
            HINT = CASE WHEN usable IS NULL THEN 'Add a unique index over NOT NULL columns of other types and declare it with key => ARRAY[…].' ELSE 'Declare ' || usable || '.' END;
    END IF;
    RETURN found_key.columns;
END
$$;
COMMENT ON FUNCTION threadline.resolve_key(regclass, text[]) IS 'The columns of the row key of a table; an error that says why when there is none.';


-- ## Compiling a capture function

-- What capture does with each column: its rule, the test that its stored bytes changed, and its old and new value.
--
-- IS DISTINCT FROM where equality is equality of bytes; elsewhere record_image_ne, which compares the bytes themselves
-- (IS DISTINCT FROM fails on json, xml and point, and on an enum that the host can cast to text implicitly; it does not see
-- the case of citext or the scale of numeric).
CREATE OR REPLACE FUNCTION threadline.captured_columns(relation oid, audited threadline.audited_tables)
RETURNS TABLE (attnum smallint, name text, rule text, changed text, old_value text, new_value text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT a.attnum, a.attname::text,
        CASE WHEN a.attname = ANY (audited.exclude) THEN 'exclude' WHEN a.attname = ANY (audited.mask) THEN 'mask'
            WHEN a.attname = ANY (audited.ignore) THEN 'ignore' ELSE 'plain' END,
        format(CASE
            WHEN base.oid = ANY (ARRAY['bool', 'int2', 'int4', 'int8', 'oid', 'text', 'varchar', 'name', '"char"', 'uuid',
                    'date', 'timestamp', 'timestamptz', 'time', 'bytea']::regtype[]) AND coalesce(c.collisdeterministic, true)
                THEN 'OLD.%1$I IS DISTINCT FROM NEW.%1$I'
            ELSE 'record_image_ne(ROW(OLD.%1$I), ROW(NEW.%1$I))' END, a.attname),
        format(threadline.value_form(a.atttypid), format('OLD.%I', a.attname)),
        format(threadline.value_form(a.atttypid), format('NEW.%I', a.attname))
    FROM pg_attribute a JOIN pg_type base ON base.oid = threadline.base_type(a.atttypid) LEFT JOIN pg_collation c ON c.oid = a.attcollation
    WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
$$;
COMMENT ON FUNCTION threadline.captured_columns(oid, threadline.audited_tables) IS 'What capture does with each column of a table.';

-- The expression for the whole row as json, redacted, from OLD or NEW. The columns are named one by one, so that one
-- this function was not compiled for is never stored; row_to_json(row) is faster and serves where no column is redacted,
-- of a foreign type, or called like the row itself. A call takes 100 arguments, hence the chunks.
CREATE OR REPLACE FUNCTION threadline.image_expression(relation oid, audited threadline.audited_tables, row_reference text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN bool_and(c.rule IN ('plain', 'ignore') AND c.old_value = format('OLD.%I', c.name) AND c.name NOT IN ('old', 'new')) THEN format('row_to_json(%s)', row_reference)
        ELSE coalesce((
            SELECT CASE count(*) WHEN 1 THEN format('json_build_object(%s)', min(chunk.arguments)) ELSE format('(''{'' || %s || ''}'')::json',
                string_agg(format('substr(left(json_build_object(%s)::text, -1), 2)', chunk.arguments), ' || '', '' || ' ORDER BY chunk.number)) END
            FROM (SELECT (k.position - 1) / 50 AS number, string_agg(format('%L, %s', k.name, k.value), ', ' ORDER BY k.position) AS arguments
                FROM (SELECT d.name, row_number() OVER (ORDER BY d.attnum) AS position,
                        CASE WHEN d.rule = 'mask' THEN format('%L::text', audited.mask_placeholder)
                            WHEN row_reference = 'OLD' THEN d.old_value ELSE d.new_value END AS value
                    FROM threadline.captured_columns(relation, audited) d WHERE d.rule <> 'exclude') k
                GROUP BY 1) chunk HAVING count(*) > 0), '''{}''::json')
    END
    FROM threadline.captured_columns(relation, audited) c
$$;
COMMENT ON FUNCTION threadline.image_expression(oid, threadline.audited_tables, text) IS 'The expression for the whole row as json, redacted.';

-- The query for the stored form of a key given as $1, {column: text}.
CREATE OR REPLACE FUNCTION threadline.key_query(relation oid, columns text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    -- Type modifier -1: character and bit without one would be of length 1.
    SELECT format('SELECT %s FROM (SELECT %s) AS r', threadline.key_expression(relation, columns, 'r'),
        string_agg(format('($1 ->> %L)::%s AS %I', c.name, format_type(threadline.base_type(a.atttypid), -1), c.name), ', ' ORDER BY c.place))
    FROM unnest(columns) WITH ORDINALITY c (name, place) JOIN pg_attribute a ON a.attrelid = relation AND a.attname = c.name
$$;
COMMENT ON FUNCTION threadline.key_query(oid, text[]) IS 'The query for the stored form of a key.';

-- The query for image and scope of the row with a key given as $1, under the names `given`; %s stands for the table.
CREATE OR REPLACE FUNCTION threadline.row_query(relation oid, audited threadline.audited_tables, columns text[], given text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('SELECT (%s)::jsonb, %s FROM %s%%s AS OLD WHERE %s',
        replace(threadline.image_expression(relation, audited, 'OLD'), '%', '%%'),
        replace(coalesce(threadline.key_expression(relation, ARRAY[audited.scope_column], 'OLD'), 'NULL'), '%', '%%'),
        (SELECT CASE r.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END FROM pg_class r WHERE r.oid = relation),
        replace((SELECT string_agg(format('OLD.%I = ($1 ->> %L)::%s', k.name, k.given, format_type(threadline.base_type(a.atttypid), -1)), ' AND ')
            FROM unnest(columns, given) k (name, given) JOIN pg_attribute a ON a.attrelid = relation AND a.attname = k.name), '%', '%%'))
$$;
COMMENT ON FUNCTION threadline.row_query(oid, threadline.audited_tables, text[], text[]) IS 'The query for image and scope of the row with a key.';

-- The statements that add the changed columns as pairs to the text `diff`, each after a comma, over the columns whose rule
-- is given.
--
-- One IF a column rather than one expression: PostgreSQL sets an expression up once a transaction, and this way only for
-- the columns that did change. Columns compared by record_image_ne, which costs more, are first compared all at once.
CREATE OR REPLACE FUNCTION threadline.diff_statements(relation oid, audited threadline.audited_tables, rules text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH compared AS (
        SELECT c.attnum, c.name, c.changed LIKE 'record_image_ne%' AS by_image, format(E'\n        IF %s THEN diff := diff || %s; END IF;', c.changed,
            CASE c.rule WHEN 'mask' THEN quote_literal(format(', %s: %s', to_json(c.name), json_build_array(audited.mask_placeholder, audited.mask_placeholder)))
                ELSE format('%L || json_build_array(%s, %s)', format(', %s: ', to_json(c.name)), c.old_value, c.new_value) END) AS statement
        FROM threadline.captured_columns(relation, audited) c WHERE c.rule = ANY (rules)
    )
    SELECT coalesce(string_agg(statement, '' ORDER BY attnum) FILTER (WHERE NOT by_image), '')
        || CASE WHEN count(*) FILTER (WHERE by_image) < 2 THEN coalesce(min(statement) FILTER (WHERE by_image), '')
            ELSE format(E'\n        IF record_image_ne(ROW(%s), ROW(%s)) THEN%s\n        END IF;',
                string_agg(format('OLD.%I', name), ', ' ORDER BY attnum) FILTER (WHERE by_image),
                string_agg(format('NEW.%I', name), ', ' ORDER BY attnum) FILTER (WHERE by_image),
                string_agg(statement, '' ORDER BY attnum) FILTER (WHERE by_image)) END
    FROM compared
$$;
COMMENT ON FUNCTION threadline.diff_statements(oid, threadline.audited_tables, text[]) IS 'The statements that add the changed columns as pairs.';

-- What capture_changed_table needs to know of a policy and its layout. It is written into the capture function, because a
-- transaction whose snapshot is older than the attach does not see the tables it comes from.
CREATE OR REPLACE FUNCTION threadline.compiled_policy(audited threadline.audited_tables) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_object('layout', threadline.recorded_layout(audited.id, audited.layout), 'policy', jsonb_build_object('id', audited.id,
        'key_columns', audited.key_columns, 'declared_key', audited.declared_key, 'exclude', audited.exclude, 'mask', audited.mask,
        'mask_placeholder', audited.mask_placeholder, 'ignore', audited.ignore, 'scope_column', audited.scope_column,
        'actor_policy', audited.actor_policy))
$$;
COMMENT ON FUNCTION threadline.compiled_policy(threadline.audited_tables) IS 'What is written of a policy into its capture function.';

-- The body of a table's capture function.
--
-- The guard at its top asks whether the table still looks as it did when this was compiled. What it calls is marked
-- IMMUTABLE and has constant arguments, so the planner folds it into a comparison of oids; the regclass constants that
-- remain make the plan depend on the table, and any ALTER TABLE has it folded anew. (A CASE, because AND with a folded
-- false would drop the constant and the dependency with it.) The first constant is the table's own number, which holds
-- for a snapshot older than the trigger; the second is found through the trigger, which holds after a restore. No answer
-- depends on the snapshot in a way that could miss a change: the folded guard outlives the transaction.
CREATE OR REPLACE FUNCTION threadline.capture_body(relation regclass, audited threadline.audited_tables) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $render$
DECLARE
    partitioned CONSTANT boolean := (SELECT relkind = 'p' FROM pg_class WHERE oid = relation);
    id CONSTANT text := audited.id;
    masked CONSTANT text[] := (SELECT array_agg(c.name ORDER BY c.name) FROM threadline.captured_columns(relation, audited) c WHERE c.rule = 'mask');
    diff CONSTANT text := threadline.diff_statements(relation, audited, '{plain,mask}');
    key_changed CONSTANT text := (SELECT string_agg(c.changed, ' OR ') FROM threadline.captured_columns(relation, audited) c WHERE c.name = ANY (audited.key_columns));
    ignored_diff CONSTANT text := threadline.diff_statements(relation, audited, '{ignore}');
    -- A key that has lost its constraint may be NULL; that must not fail a write.
    new_key CONSTANT text := format('coalesce(%s, '''')', threadline.key_expression(relation, audited.key_columns, 'NEW'));
    old_key CONSTANT text := format('coalesce(%s, '''')', threadline.key_expression(relation, audited.key_columns, 'OLD'));
    new_scope CONSTANT text := coalesce(threadline.key_expression(relation, ARRAY[audited.scope_column], 'NEW'), 'NULL');
    old_scope CONSTANT text := coalesce(threadline.key_expression(relation, ARRAY[audited.scope_column], 'OLD'), 'NULL');
    departure_column CONSTANT text := threadline.departure_column(relation, audited.key_columns);
    typed_key CONSTANT text := CASE WHEN departure_column IS NOT NULL THEN format('OLD.%I', audited.key_columns[1]) END;
    -- What only some tables need: columns of audit_changes, each with its variable, and the statements that set those.
    extra_columns text := '';
    extra_values text := '';
    on_update text := '';
    on_insert text := '';
    on_delete text := '';
    always text := '';
    guard CONSTANT text := format('is_as_compiled(%%s, %%L, %%s, %L)', threadline.layout_digest(relation));
BEGIN
    IF audited.scope_column IS NOT NULL THEN
        extra_columns := extra_columns || ', scope, previous_scope';
        extra_values := extra_values || ', scope, previous_scope';
        on_update := format(E'\n        scope := %s;\n        previous_scope := CASE WHEN %s THEN coalesce(%s, '''') END;', new_scope,
            (SELECT c.changed FROM threadline.captured_columns(relation, audited) c WHERE c.name = audited.scope_column), old_scope);
        on_insert := format(E'\n        scope := %s;', new_scope);
        on_delete := format(E'\n        scope := %s;', old_scope);
    END IF;
    IF masked IS NOT NULL THEN
        extra_columns := extra_columns || ', masked';
        extra_values := extra_values || ', masked';
        on_update := on_update || format(E'\n        masked := NULLIF(array_remove(ARRAY[%s], NULL), ''{}'');',
            (SELECT string_agg(format('CASE WHEN %s THEN %L::text END', c.changed, c.name), ', ' ORDER BY c.name)
                FROM threadline.captured_columns(relation, audited) c WHERE c.rule = 'mask'));
        on_insert := on_insert || format(E'\n        masked := %L;', masked);
        on_delete := on_delete || format(E'\n        masked := %L;', masked);
    END IF;
    IF partitioned THEN
        extra_columns := extra_columns || ', partition';
        extra_values := extra_values || ', leaf';
        always := E'\n    leaf := format(''%I.%I'', TG_TABLE_SCHEMA, TG_TABLE_NAME);';
    END IF;
    IF audited.actor_policy = 'require' THEN
        always := always || format(E'\n    PERFORM threadline.require_actor(%s, transaction_id);', id);
    END IF;

    RETURN $code$
-- Compiled by threadline.attach from threadline.audited_tables; threadline.refresh writes it anew.
DECLARE
    state text := current_setting('threadline.transaction', true);
    op "char";
    transaction_id uuid;
    place integer;
    captured_at timestamptz;
    assigned text;
    compiled jsonb;
    key text;
    previous_key text;
    scope text;
    previous_scope text;
    leaf text;
    masked text[];
    image json;
    diff text;
    pairs json;$code$ || CASE departure_column WHEN 'key_int4' THEN E'\n    typed_key integer;' WHEN 'key_int8' THEN E'\n    typed_key bigint;'
        WHEN 'key_uuid' THEN E'\n    typed_key uuid;' WHEN 'key_text' THEN E'\n    typed_key text;' ELSE '' END || $code$
BEGIN
    IF (CASE $code$ || CASE WHEN partitioned THEN 'pg_partition_root(TG_RELID)' ELSE 'TG_RELID' END || format($code$
            WHEN %1$L::regclass THEN threadline.%2$s
            WHEN threadline.audited_relation(%3$s) THEN threadline.%4$s END) IS NOT TRUE THEN
        compiled := %5$L;
        IF TG_OP = 'INSERT' THEN
            PERFORM threadline.capture_changed_table(compiled, TG_RELID, 'I', NULL, NEW);
        ELSIF TG_OP = 'DELETE' THEN
            PERFORM threadline.capture_changed_table(compiled, TG_RELID, 'D', OLD, NULL);
        ELSE
            PERFORM threadline.capture_changed_table(compiled, TG_RELID, 'U', OLD, NEW);
        END IF;
        RETURN NULL;
    END IF;$code$, relation::oid, format(guard, format('%L::regclass', relation::oid), threadline.shape_digest(relation, true), 'true'), id,
            format(guard, format('threadline.audited_relation(%s)', id), threadline.shape_digest(relation, false), 'false'), threadline.compiled_policy(audited)) || $code$

    IF TG_OP = 'UPDATE' THEN
        diff := '';$code$ || diff || $code$
        IF diff = '' THEN
            RETURN NULL;
        END IF;$code$ || ignored_diff || $code$
        pairs := '{' || substr(diff, 3) || '}';
        op := 'U';
        key := $code$ || new_key || $code$;
        IF $code$ || key_changed || $code$ THEN
            previous_key := NULLIF($code$ || old_key || $code$, key);
            image := $code$ || threadline.image_expression(relation, audited, 'OLD') || $code$;
        END IF;$code$ || on_update || $code$
    ELSIF TG_OP = 'INSERT' THEN
        op := 'I';
        key := $code$ || new_key || $code$;
        image := $code$ || threadline.image_expression(relation, audited, 'NEW') || ';' || on_insert || $code$
    ELSE
        op := 'D';
        key := $code$ || old_key || $code$;
        image := $code$ || threadline.image_expression(relation, audited, 'OLD') || ';' || on_delete || $code$
    END IF;

    IF right(state, 12) = right('00000000000' || pg_current_xact_id()::text, 12) THEN
        transaction_id := state;
    ELSE
        transaction_id := threadline.open_transaction();
    END IF;$code$ || always || $code$
    place := current_setting('threadline.ordinal')::integer + 1;
    assigned := set_config('threadline.ordinal', place::text, true);
    captured_at := clock_timestamp();
    IF captured_at >= now() + interval '2 seconds' THEN
        PERFORM threadline.note_long_transaction(transaction_id, captured_at);
    END IF;
    -- Variables and constants only: PostgreSQL sets an INSERT's expressions up anew for each row, but keeps those of
    -- assignments for the whole transaction.
    INSERT INTO threadline.audit_changes (captured_at, transaction_id, ordinal, table_id, layout, op, row_key, previous_row_key,
        row_data, diff$code$ || extra_columns || $code$)
    VALUES (captured_at, transaction_id, place, $code$ || id || ', ' || audited.layout || $code$, op, key, previous_key,
        image, pairs$code$ || extra_values || $code$);
    IF previous_key IS NOT NULL THEN
        INSERT INTO threadline.audit_key_changes VALUES (transaction_id, place, $code$ || id || $code$, previous_key);
    END IF;
    IF op = 'D' OR previous_key IS NOT NULL THEN
        $code$ || coalesce('typed_key := ' || typed_key || E';\n        ', '')
            || 'INSERT INTO threadline.audit_departures (captured_at, transaction_id, ordinal, table_id, row_key' || coalesce(', ' || departure_column, '') || $code$)
        VALUES (clock_timestamp(), transaction_id, place, $code$ || id || ', coalesce(previous_key, key)' || CASE WHEN departure_column IS NULL THEN '' ELSE ', typed_key' END || $code$);
    END IF;
    RETURN NULL;
END
$code$;
END
$render$;
COMMENT ON FUNCTION threadline.capture_body(regclass, threadline.audited_tables) IS 'The body of a table''s capture function.';

-- Fails a write to a table whose policy requires an actor when the transaction's own row names none. The row is asked, not
-- the setting, which whoever can run SQL can write.
CREATE OR REPLACE FUNCTION threadline.require_actor(of_table integer, of_transaction uuid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM threadline.audit_transactions t
            WHERE t.id = of_transaction AND t.xid = pg_current_xact_id() AND t.actor_type IS NOT NULL) THEN
        RETURN;
    END IF;
    RAISE EXCEPTION 'threadline: table % requires an actor, and this transaction has none', threadline.audited_relation(of_table) USING
        ERRCODE = 'check_violation', CONSTRAINT = 'threadline_actor_required',
        HINT = 'Before the first write of the transaction call threadline.set_context(''{"actor": {"type": "user", "id": "42"}}''), '
            'or set_config(''threadline.actor_ref'', ''{"type": "user", "id": "42"}'', true).';
END
$$;
COMMENT ON FUNCTION threadline.require_actor(integer, uuid) IS 'Fails a write to a table whose policy requires an actor.';


-- ## Capturing a table that has changed since its function was compiled

-- The policy of a table under the names its columns have now. A column that carries a redacted name, or that was redacted
-- under another name, is redacted, and is then neither key nor scope. On a table with redaction a column the layout does not
-- know is masked, until attach says what it is; with `mask_moved`, and in a restored copy, so is one that is known by another name.
CREATE OR REPLACE FUNCTION threadline.carried_policy(relation oid, audited threadline.audited_tables, known jsonb, mask_moved boolean)
RETURNS threadline.audited_tables
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    carried threadline.audited_tables := audited;
    present text[];
    redacted text[];
BEGIN
    SELECT array_agg(c.name),
        coalesce(array_agg(c.name) FILTER (WHERE excluded OR masked), '{}'),
        coalesce(array_agg(c.name ORDER BY c.attnum) FILTER (WHERE excluded), '{}'),
        coalesce(array_agg(c.name ORDER BY c.attnum) FILTER (WHERE (masked OR unknown) AND NOT excluded), '{}'),
        coalesce(array_agg(c.name ORDER BY c.attnum)
            FILTER (WHERE c.known_name = ANY (audited.ignore) AND NOT masked AND NOT unknown AND NOT excluded), '{}'),
        array_agg(c.name ORDER BY array_position(audited.key_columns, c.known_name)) FILTER (WHERE c.known_name = ANY (audited.key_columns)),
        min(c.name) FILTER (WHERE c.known_name = audited.scope_column AND NOT masked AND NOT excluded)
    INTO present, redacted, carried.exclude, carried.mask, carried.ignore, carried.key_columns, carried.scope_column
    FROM threadline.known_columns(relation, known) c, LATERAL (SELECT
        c.name = ANY (audited.exclude) OR coalesce(c.known_name = ANY (audited.exclude), false) AS excluded,
        c.name = ANY (audited.mask) OR coalesce(c.known_name = ANY (audited.mask), false) AS masked,
        audited.exclude || audited.mask <> '{}' AND (c.known_name IS NULL OR NOT c.sure
                OR (c.known_name <> c.name AND (mask_moved OR (known ->> 'relation')::oid <> relation)))
            AND (mask_moved OR c.known_name = ANY (audited.key_columns) IS NOT TRUE) AS unknown) redaction;
    IF cardinality(carried.key_columns) IS DISTINCT FROM cardinality(audited.key_columns) THEN
        carried.key_columns := (SELECT k.columns FROM threadline.candidate_keys(relation) k
            WHERE k.is_primary AND k.problem IS NULL AND k.columns <@ present);
    END IF;
    IF carried.key_columns && redacted THEN
        carried.key_columns := NULL;
    END IF;
    IF audited.declared_key <> '{}' THEN
        carried.declared_key := coalesce(carried.key_columns, '{}');
    END IF;
    carried.layout := NULL;
    RETURN carried;
END
$$;
COMMENT ON FUNCTION threadline.carried_policy(oid, threadline.audited_tables, jsonb, boolean) IS 'The policy of a table under the names its columns have now.';

-- As key_expression, for columns whose types are known only when the row is there.
CREATE OR REPLACE FUNCTION threadline.late_key_expression(columns text[], row_reference text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('threadline.stored_key(%s)', format(CASE count(*) WHEN 1 THEN '%s' ELSE 'jsonb_build_array(%s)::text' END,
        string_agg(format('threadline.key_of(%s.%I)', row_reference, c.name), ', ' ORDER BY c.place)))
    FROM unnest(columns) WITH ORDINALITY c (name, place) WHERE c.name IS NOT NULL HAVING count(*) > 0
$$;
COMMENT ON FUNCTION threadline.late_key_expression(text[], text) IS 'The expression for the key text of a row whose types are not known yet.';

-- As image_expression, for columns whose types are known only when the row is there.
CREATE OR REPLACE FUNCTION threadline.late_image_expression(relation oid, policy threadline.audited_tables, row_reference text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(format('(SELECT jsonb_object_agg(c.name, c.value) FROM (VALUES %s) c (name, value))', string_agg(
        CASE WHEN c.name = ANY (policy.mask) THEN format('(%L::text, %L::jsonb)', c.name, to_jsonb(policy.mask_placeholder))
            ELSE format('(%L::text, threadline.value_of(%s.%I))', c.name, row_reference, c.name) END, ', ')), '''{}''::jsonb')
    FROM threadline.present_columns(relation) c WHERE c.name <> ALL (policy.exclude)
$$;
COMMENT ON FUNCTION threadline.late_image_expression(oid, threadline.audited_tables, text) IS 'The expression for the redacted row whose types are not known yet.';

-- What explains a payload without a layout: attribute number and type of its columns (of all columns when `payload` is
-- NULL). A type the snapshot does not know is left out.
CREATE OR REPLACE FUNCTION threadline.late_attributes(relation oid, policy threadline.audited_tables, payload jsonb) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_object('relation', relation::bigint, 'columns', coalesce(jsonb_object_agg(c.name, jsonb_build_array(c.attnum,
        (SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a WHERE a.attrelid = relation AND a.attnum = c.attnum))), '{}'))
    FROM threadline.present_columns(relation) c WHERE c.name <> ALL (policy.exclude) AND (payload IS NULL OR payload ? c.name)
$$;
COMMENT ON FUNCTION threadline.late_attributes(oid, threadline.audited_tables, jsonb) IS 'Attribute numbers and types of the columns in a payload without a layout.';

-- Records the departures of a transaction's changes from `first` on, the key read from the image of the row. The snapshot may be
-- older than the column's type, and the text then no such value: it is looked at first, because a block that handled the
-- error would spend a transaction number a row.
CREATE OR REPLACE FUNCTION threadline.record_departures(relation oid, columns text[], of_transaction uuid, first integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO threadline.audit_departures (captured_at, transaction_id, ordinal, table_id, row_key, key_int4, key_int8, key_uuid, key_text)
    SELECT clock_timestamp(), c.transaction_id, c.ordinal, c.table_id, coalesce(c.previous_row_key, c.row_key),
        CASE WHEN k.kept_in = 'key_int4' AND k.text ~ '^-?[0-9]{1,10}$' THEN CASE WHEN k.text::bigint BETWEEN -2147483648 AND 2147483647 THEN k.text::integer END END,
        CASE WHEN k.kept_in = 'key_int8' AND k.text ~ '^-?[0-9]{1,19}$' THEN
            CASE WHEN k.text::numeric BETWEEN -9223372036854775808 AND 9223372036854775807 THEN k.text::bigint END END,
        CASE WHEN k.kept_in = 'key_uuid' AND k.text ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN k.text::uuid END,
        CASE WHEN k.kept_in = 'key_text' THEN k.text END
    FROM threadline.audit_changes c CROSS JOIN LATERAL (SELECT threadline.departure_column(relation, columns), c.row_data ->> columns[1]) k (kept_in, text)
    WHERE c.transaction_id = of_transaction AND c.ordinal >= first AND (c.op = 'D' OR c.previous_row_key IS NOT NULL);
END
$$;
COMMENT ON FUNCTION threadline.record_departures(oid, text[], uuid, integer) IS 'Records the departures of a transaction''s changes.';

-- Captures one row change without relying on the compiled layout, nor on a snapshot that shows the table as it is: slower,
-- and always right. `compiled` is compiled_policy as of when the capture function was written.
CREATE OR REPLACE FUNCTION threadline.capture_changed_table(compiled jsonb, written oid, op "char", old_row record, new_row record)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC'
SET extra_float_digits = 1
SET IntervalStyle = 'postgres'
SET DateStyle = 'ISO, YMD'
SET bytea_output = 'hex'
SET lc_monetary = 'C' AS $$
DECLARE
    policy threadline.audited_tables := jsonb_populate_record(NULL::threadline.audited_tables, compiled -> 'policy');
    of_table CONSTANT integer := policy.id;
    candidates CONSTANT oid[] := ARRAY[(compiled #>> '{layout,relation}')::oid, threadline.audited_relation(of_table)];
    relation oid := written;
    state text := current_setting('threadline.transaction', true);
    place integer;
    captured_at timestamptz;
    assigned text;
    pairs text;
    image jsonb;
    diff jsonb;
    old_key text;
    new_key text;
    previous_key text;
    old_scope text;
    new_scope text;
BEGIN
    IF written <> ALL (array_remove(candidates, NULL)) THEN
        relation := (SELECT tree.relid FROM pg_partition_ancestors(written) tree WHERE tree.relid = ANY (candidates) LIMIT 1);
        IF relation IS NULL THEN
            RAISE EXCEPTION 'threadline: function capture_% belongs to table %, not to %', of_table, candidates[2]::regclass, written::regclass USING
                ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Drop the trigger and call threadline.attach for the table.';
        END IF;
    END IF;
    policy := threadline.carried_policy(relation, policy, compiled -> 'layout', true);

    IF op = 'U' THEN
        SELECT string_agg(format('(%L::text, record_image_ne(ROW(($1).%I), ROW(($2).%I)), ', c.name, c.name, c.name)
                || CASE WHEN c.name = ANY (policy.mask) THEN format('%1$L::jsonb, %1$L::jsonb)', to_jsonb(policy.mask_placeholder))
                    ELSE format('threadline.value_of(($1).%1$I), threadline.value_of(($2).%1$I))', c.name) END, ', ')
            INTO pairs FROM threadline.present_columns(relation) c WHERE c.name <> ALL (policy.exclude);
        EXECUTE format('SELECT jsonb_object_agg(c.name, jsonb_build_array(c.old_value, c.new_value))
            FROM (VALUES %s) c (name, differs, old_value, new_value) WHERE c.differs', pairs) INTO diff USING old_row, new_row;
        IF diff IS NULL OR diff - policy.ignore = '{}' THEN
            RETURN;
        END IF;
    END IF;
    IF policy.key_columns IS NOT NULL AND op <> 'D' THEN
        EXECUTE 'SELECT ' || threadline.late_key_expression(policy.key_columns, '($1)') INTO new_key USING new_row;
    END IF;
    IF policy.key_columns IS NOT NULL AND op <> 'I' THEN
        EXECUTE 'SELECT ' || threadline.late_key_expression(policy.key_columns, '($1)') INTO old_key USING old_row;
    END IF;
    IF op = 'U' THEN
        previous_key := NULLIF(old_key, new_key);
    END IF;
    IF policy.scope_column IS NOT NULL AND op <> 'D' THEN
        EXECUTE 'SELECT ' || threadline.late_key_expression(ARRAY[policy.scope_column], '($1)') INTO new_scope USING new_row;
    END IF;
    IF policy.scope_column IS NOT NULL AND op <> 'I' THEN
        EXECUTE 'SELECT ' || threadline.late_key_expression(ARRAY[policy.scope_column], '($1)') INTO old_scope USING old_row;
    END IF;
    IF op = 'I' THEN
        EXECUTE 'SELECT ' || threadline.late_image_expression(relation, policy, '($1)') INTO image USING new_row;
    ELSIF op = 'D' OR previous_key IS NOT NULL THEN
        EXECUTE 'SELECT ' || threadline.late_image_expression(relation, policy, '($1)') INTO image USING old_row;
    END IF;

    IF (right(state, 12) = right('00000000000' || pg_current_xact_id()::text, 12)) IS NOT TRUE THEN
        state := threadline.open_transaction();
    END IF;
    IF policy.actor_policy = 'require' THEN
        PERFORM threadline.require_actor(of_table, state::uuid);
    END IF;
    place := current_setting('threadline.ordinal')::integer + 1;
    assigned := set_config('threadline.ordinal', place::text, true);
    captured_at := clock_timestamp();
    IF captured_at >= now() + interval '2 seconds' THEN
        PERFORM threadline.note_long_transaction(state::uuid, captured_at);
    END IF;
    INSERT INTO threadline.audit_changes (captured_at, transaction_id, ordinal, table_id, op, row_key, previous_row_key,
        scope, previous_scope, partition, masked, row_data, diff, attributes)
    VALUES (captured_at, state::uuid, place, of_table, op,
        coalesce(CASE op WHEN 'D' THEN old_key ELSE new_key END, ''),
        previous_key,
        CASE op WHEN 'D' THEN old_scope ELSE new_scope END,
        CASE WHEN op = 'U' AND old_scope IS DISTINCT FROM new_scope THEN coalesce(old_scope, '') END,
        CASE WHEN written <> relation THEN written::regclass::text END,
        (SELECT array_agg(m ORDER BY m) FROM unnest(policy.mask) m WHERE op <> 'U' OR diff ? m),
        image, diff, threadline.late_attributes(relation, policy, CASE WHEN image IS NULL THEN diff END));
    IF previous_key IS NOT NULL THEN
        INSERT INTO threadline.audit_key_changes VALUES (state::uuid, place, of_table, previous_key);
    END IF;
    IF op = 'D' OR previous_key IS NOT NULL THEN
        PERFORM threadline.record_departures(relation, policy.key_columns, state::uuid, place);
    END IF;
END
$$;
COMMENT ON FUNCTION threadline.capture_changed_table(jsonb, oid, "char", record, record) IS
    'Captures one row change of a table that has changed since its capture function was compiled.';


-- ## TRUNCATE

-- Runs before a TRUNCATE, while the rows are still there. Truncating a partitioned table fires this for the table and
-- then for each partition. Where rows are kept, each partition keeps its own, and the table's turn those of partitions that
-- lack the trigger. Where a marker is recorded, a partition adds none while the marker that covers it is the newest thing its
-- transaction has captured.
CREATE OR REPLACE FUNCTION threadline.capture_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- The policy functions of a table's owner would run with our rights; better the TRUNCATE fails.
SET row_security = off
SET TimeZone = 'UTC'
SET extra_float_digits = 1
SET IntervalStyle = 'postgres'
SET DateStyle = 'ISO, YMD'
SET bytea_output = 'hex'
SET lc_monetary = 'C' AS $$
DECLARE
    policy threadline.audited_tables := (SELECT a FROM threadline.audited_tables a WHERE a.id = TG_ARGV[0]::integer);
    of_table CONSTANT integer := TG_ARGV[0];
    relation CONSTANT regclass := coalesce(threadline.audited_relation(of_table), pg_partition_root(TG_RELID), TG_RELID);
    partitioned CONSTANT boolean := (SELECT relkind = 'p' FROM pg_class WHERE oid = relation);
    known CONSTANT jsonb := threadline.recorded_layout(policy.id, policy.layout);
    state text := current_setting('threadline.transaction', true);
    own_transaction uuid;
    place integer;
    captured bigint;
    member regclass;
    assigned text;
    key text;
    scope text;
    image text;
BEGIN
    -- A partition that was detached is no part of the table any more.
    IF TG_RELID <> relation AND NOT EXISTS (SELECT FROM pg_partition_ancestors(TG_RELID) ancestor WHERE ancestor.relid = relation) THEN
        RETURN NULL;
    END IF;
    IF policy.on_truncate = 'refuse' THEN
        RAISE EXCEPTION 'threadline: TRUNCATE of table % is refused (on_truncate = refuse)', TG_RELID::regclass USING
            ERRCODE = 'check_violation', CONSTRAINT = 'threadline_truncate_refused',
            HINT = 'Use DELETE, which is captured row by row, or attach the table with on_truncate => ''record'' or ''keep''.';
    END IF;
    IF right(state, 12) = right('00000000000' || pg_current_xact_id()::text, 12) THEN
        own_transaction := state;
    END IF;
    IF policy.on_truncate = 'record' AND TG_RELID <> relation AND EXISTS (
            SELECT FROM threadline.audit_changes c WHERE c.transaction_id = own_transaction AND c.table_id = of_table AND c.op = 'T'
                AND (c.partition IS NULL OR c.partition = format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME))
                AND NOT EXISTS (SELECT FROM threadline.audit_changes later
                    WHERE later.transaction_id = c.transaction_id AND later.ordinal > c.ordinal AND later.op <> 'T')) THEN
        RETURN NULL;
    END IF;
    IF (right(state, 12) = right('00000000000' || pg_current_xact_id()::text, 12)) IS NOT TRUE THEN
        state := threadline.open_transaction();
    END IF;
    IF policy.actor_policy = 'require' THEN
        PERFORM threadline.require_actor(of_table, state::uuid);
    END IF;
    place := current_setting('threadline.ordinal')::integer;
    IF policy.on_truncate = 'keep' THEN
        key := threadline.key_expression(relation, policy.key_columns, 'OLD');
        scope := threadline.key_expression(relation, ARRAY[policy.scope_column], 'OLD');
        image := threadline.image_expression(relation, policy, 'OLD');
        -- Outside READ COMMITTED the catalogs may be older than the table.
        IF current_setting('transaction_isolation') <> 'read committed' OR threadline.layout_differs(relation, policy.id, policy.layout) THEN
            policy := threadline.carried_policy(relation, policy, known, true);
            key := threadline.late_key_expression(policy.key_columns, 'OLD');
            scope := threadline.late_key_expression(ARRAY[policy.scope_column], 'OLD');
            image := threadline.late_image_expression(relation, policy, 'OLD');
        END IF;
        FOR member IN
            SELECT tree.relid FROM pg_partition_tree(TG_RELID) tree WHERE tree.isleaf AND tree.relid <> TG_RELID AND NOT EXISTS (
                SELECT FROM pg_trigger t WHERE t.tgrelid = tree.relid AND t.tgfoid = 'threadline.capture_truncate'::regproc AND t.tgenabled IN ('O', 'A'))
            UNION ALL SELECT c.oid FROM pg_class c WHERE c.oid = TG_RELID AND c.relkind = 'r'
        LOOP
            EXECUTE format(
                'INSERT INTO threadline.audit_changes (captured_at, transaction_id, ordinal, table_id, layout, op, row_key, scope, partition, masked, row_data, attributes)
                SELECT clock_timestamp(), $1, $2 + row_number() OVER (), %s, %s, ''D'', coalesce(%s, ''''), %s, %s, %L, %s, $3 FROM ONLY %s AS OLD',
                of_table, coalesce(policy.layout::text, 'NULL'), coalesce(key, 'NULL'), coalesce(scope, 'NULL'),
                CASE WHEN partitioned
                    THEN '(SELECT format(''%I.%I'', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = OLD.tableoid)'
                    ELSE 'NULL' END,
                NULLIF(policy.mask, '{}'), image, member)
                USING state::uuid, place, CASE WHEN policy.layout IS NULL THEN threadline.late_attributes(relation, policy, NULL) END;
            GET DIAGNOSTICS captured = ROW_COUNT;
            PERFORM threadline.record_departures(relation, policy.key_columns, state::uuid, place + 1);
            place := place + captured;
        END LOOP;
    ELSE
        -- One marker; for a partition that has partitions, one for each of those that hold rows.
        INSERT INTO threadline.audit_changes (captured_at, transaction_id, ordinal, table_id, layout, op, row_key, partition)
        SELECT clock_timestamp(), state::uuid, place + row_number() OVER (), of_table, policy.layout, 'T', '', leaf.name
        FROM (SELECT NULL WHERE TG_RELID = relation
            UNION ALL SELECT format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME) WHERE TG_RELID <> relation AND NOT partitioned
            UNION ALL SELECT tree.relid::text FROM pg_partition_tree(TG_RELID) tree WHERE TG_RELID <> relation AND tree.isleaf) leaf (name);
        GET DIAGNOSTICS captured = ROW_COUNT;
        place := place + captured;
    END IF;
    assigned := set_config('threadline.ordinal', place::text, true);
    IF clock_timestamp() >= now() + interval '2 seconds' THEN
        PERFORM threadline.note_long_transaction(state::uuid, clock_timestamp());
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION threadline.capture_truncate() IS 'Records, keeps or refuses a TRUNCATE, as the table''s policy says.';


-- Everything is closed to PUBLIC but the one call an application makes.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline FROM PUBLIC;
GRANT EXECUTE ON FUNCTION threadline.set_context(jsonb) TO PUBLIC;
