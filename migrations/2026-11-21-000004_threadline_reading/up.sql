-- What reading a row back needs of the database: which table, which key, the row as it is now, and how older payloads
-- relate to today's columns. The folding itself is the library's. These run with the rights of the caller, who needs
-- SELECT on the audit tables, and on the audited table for its present row. Row-level security that would hide rows
-- makes them fail rather than answer with less (row_security = off).

-- The id of an audited table by name; `relation` is what the name means on the caller's search path, NULL if nothing.
-- A table that is gone is found under its last name.
CREATE OR REPLACE FUNCTION threadline.find_table(name text, relation regclass) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parts CONSTANT text[] := parse_ident(name);
    found_id integer := threadline.table_id(relation);
    candidates integer[];
    renamed_to text;
    alike text;
BEGIN
    IF found_id IS NULL AND relation IS NULL THEN
        candidates := (SELECT array_agg(a.id) FROM threadline.audited_tables a WHERE threadline.audited_relation(a.id) IS NULL
            AND a.table_name = parts[cardinality(parts)] AND (cardinality(parts) = 1 OR a.schema_name = parts[cardinality(parts) - 1]));
        IF cardinality(candidates) > 1 THEN
            RAISE EXCEPTION 'threadline: table name % is ambiguous', name USING ERRCODE = 'ambiguous_alias',
                CONSTRAINT = 'threadline_ambiguous_table', HINT = 'Name its schema too.';
        END IF;
        found_id := candidates[1];
    END IF;
    IF found_id IS NULL AND relation IS NULL THEN
        SELECT format('%I.%I', n.nspname, c.relname) INTO renamed_to FROM threadline.audited_tables a
            JOIN pg_class c ON c.oid = threadline.audited_relation(a.id)::oid JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE a.table_name = parts[cardinality(parts)] AND (cardinality(parts) = 1 OR a.schema_name = parts[cardinality(parts) - 1])
                AND (n.nspname, c.relname) <> (a.schema_name, a.table_name)
            ORDER BY a.id LIMIT 1;
        IF renamed_to IS NOT NULL THEN
            RAISE EXCEPTION 'threadline: table % was renamed to %', name, renamed_to USING ERRCODE = 'undefined_object',
                CONSTRAINT = 'threadline_not_audited', TABLE = renamed_to, HINT = 'Ask for it by that name.';
        END IF;
        -- Those that may be meant: which is nearest the library finds out.
        SELECT string_agg(a.name, ', ') INTO alike FROM (SELECT format('%I.%I', a.schema_name, a.table_name) AS name FROM threadline.audited_tables a
            WHERE abs(length(a.table_name) - length(parts[cardinality(parts)])) <= 4
                AND (left(a.table_name, 1) = left(parts[cardinality(parts)], 1) OR right(a.table_name, 2) = right(parts[cardinality(parts)], 2))
            ORDER BY abs(length(a.table_name) - length(parts[cardinality(parts)])), a.schema_name, a.table_name LIMIT 50) a;
        IF alike IS NOT NULL THEN
            RAISE EXCEPTION 'threadline: table % has never been audited', name USING ERRCODE = 'undefined_object',
                CONSTRAINT = 'threadline_not_audited', DETAIL = alike, HINT = 'The detail names audited tables of a similar name.';
        END IF;
    END IF;
    IF found_id IS NULL THEN
        RAISE EXCEPTION 'threadline: table % has never been audited', name USING ERRCODE = 'undefined_object',
            CONSTRAINT = 'threadline_not_audited', HINT = format('Audit it with threadline.attach(%L) in a migration.', name);
    END IF;
    RETURN found_id;
END
$$;
COMMENT ON FUNCTION threadline.find_table(text, regclass) IS 'The id of an audited table by name.';

-- The key columns of a table under the names they have now, in the order of the key; NULL when one is gone.
CREATE OR REPLACE FUNCTION threadline.key_now(audited threadline.audited_tables) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT array_agg(c.name ORDER BY array_position(audited.key_columns, c.known_name))
    FROM threadline.known_columns(threadline.audited_relation(audited.id), threadline.recorded_layout(audited.id, audited.layout)) c
    WHERE c.known_name = ANY (audited.key_columns) HAVING count(*) = cardinality(audited.key_columns)
$$;
COMMENT ON FUNCTION threadline.key_now(threadline.audited_tables) IS 'The key columns of a table under the names they have now.';

-- Whether a table, if it is there, has changed since its capture was compiled.
CREATE OR REPLACE FUNCTION threadline.is_stale(stored threadline.audited_tables, relation regclass) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN relation IS NOT NULL AND threadline.layout_differs(relation, stored.id, stored.layout);
END
$$;
COMMENT ON FUNCTION threadline.is_stale(threadline.audited_tables, regclass) IS 'Whether a table has changed since its capture was compiled.';

-- How a table is redacted now, whether or not its capture has been compiled since it changed.
CREATE OR REPLACE FUNCTION threadline.present_policy(stored threadline.audited_tables, relation regclass,
    OUT policy threadline.audited_tables, OUT stale boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    policy := stored;
    stale := threadline.is_stale(stored, relation);
    IF stale THEN
        policy := threadline.carried_policy(relation, stored, threadline.recorded_layout(stored.id, stored.layout), true);
    END IF;
END
$$;
COMMENT ON FUNCTION threadline.present_policy(threadline.audited_tables, regclass) IS 'How a table is redacted now.';

-- The stored form of a key given as {column: text}, the columns named as capture knows them or as they are called now. The
-- texts are read as values of the key columns' types, so any spelling PostgreSQL accepts finds the row.
CREATE OR REPLACE FUNCTION threadline.key_in(audited threadline.audited_tables, relation regclass, stale boolean, key jsonb) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC'
SET DateStyle = 'ISO, YMD' AS $$
DECLARE
    given CONSTANT text[] := ARRAY(SELECT k FROM jsonb_object_keys(key) k ORDER BY k);
    known CONSTANT boolean := given = ARRAY(SELECT c FROM unnest(audited.key_columns) c ORDER BY c);
    now text[];
    names text[];
    result text;
BEGIN
    IF known AND relation IS NOT NULL AND NOT stale AND jsonb_strip_nulls(key) = key THEN
        EXECUTE audited.read_key INTO result USING key;
        RETURN result;
    END IF;
    now := threadline.key_now(audited);
    names := CASE WHEN known THEN audited.key_columns WHEN given = ARRAY(SELECT c FROM unnest(now) c ORDER BY c) THEN now END;
    IF names IS NULL OR jsonb_strip_nulls(key) <> key THEN
        RAISE EXCEPTION 'threadline: table %.% is audited by the key (%), not by (%)', audited.schema_name, audited.table_name,
                array_to_string(audited.key_columns, ', '), array_to_string(given, ', ') USING
            ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_wrong_key',
            HINT = 'Give a value, not NULL, for each key column; in a model, declare them with #[threadline(key(…))].';
    ELSIF now IS NULL THEN
        RETURN threadline.stored_key((SELECT CASE cardinality(names) WHEN 1 THEN min(key ->> n.name) ELSE jsonb_agg(key ->> n.name ORDER BY n.place)::text END
            FROM unnest(names) WITH ORDINALITY n (name, place)));
    END IF;
    EXECUTE threadline.key_query(relation, now) INTO result
        USING (SELECT jsonb_object_agg(n.now, key ->> n.given) FROM unnest(now, names) n (now, given));
    RETURN result;
END
$$;
COMMENT ON FUNCTION threadline.key_in(threadline.audited_tables, regclass, boolean, jsonb) IS 'The stored form of a key given as {column: text}, for who knows the table already.';

-- As key_in, by the table's id.
CREATE OR REPLACE FUNCTION threadline.row_key(of_table integer, key jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    audited CONSTANT threadline.audited_tables := (SELECT a FROM threadline.audited_tables a WHERE a.id = of_table);
    relation CONSTANT regclass := threadline.audited_relation(of_table);
BEGIN
    RETURN threadline.key_in(audited, relation, threadline.is_stale(audited, relation), key);
END
$$;
COMMENT ON FUNCTION threadline.row_key(integer, jsonb) IS 'The stored form of a key given as {column: text}.';

-- The row as it is now in the form capture gives it, redacted, with the policy that redacted it. `state` is present,
-- absent, or unknown: when the table is gone, no longer audited, or not the caller's to read. `scope` is the tenant it belongs to.
CREATE OR REPLACE FUNCTION threadline.present_row(of_table integer, key jsonb,
    OUT state text, OUT row_key text, OUT image jsonb, OUT layout integer, OUT stale boolean, OUT exclude text[], OUT mask text[],
    OUT mask_placeholder text, OUT ignore text[], OUT scope text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET row_security = off
SET TimeZone = 'UTC'
SET extra_float_digits = 1
SET IntervalStyle = 'postgres'
SET DateStyle = 'ISO, YMD'
SET bytea_output = 'hex'
SET lc_monetary = 'C' AS $$
DECLARE
    stored CONSTANT threadline.audited_tables := (SELECT a FROM threadline.audited_tables a WHERE a.id = of_table);
    relation CONSTANT regclass := threadline.audited_relation(of_table);
    redacted CONSTANT record := threadline.present_policy(stored, relation);
    policy CONSTANT threadline.audited_tables := redacted.policy;
    now text[];
    query text := stored.read_row;
BEGIN
    state := 'unknown';
    stale := redacted.stale;
    row_key := threadline.key_in(stored, relation, stale, key);
    layout := stored.layout;
    exclude := policy.exclude;
    mask := policy.mask;
    mask_placeholder := policy.mask_placeholder;
    ignore := policy.ignore;
    IF relation IS NULL OR NOT has_table_privilege(relation, 'SELECT') THEN
        RETURN;
    ELSIF stale OR NOT key ?& stored.key_columns THEN
        now := threadline.key_now(stored);
        IF now IS NULL THEN
            RETURN;
        END IF;
        query := threadline.row_query(relation, policy, now, CASE WHEN key ?& stored.key_columns THEN stored.key_columns ELSE now END);
    END IF;
    EXECUTE format(query, relation) INTO image, scope USING key;
    state := CASE WHEN image IS NULL THEN 'absent' ELSE 'present' END;
END
$$;
COMMENT ON FUNCTION threadline.present_row(integer, jsonb) IS 'The row as it is now in the form capture gives it, redacted.';

-- Changes of a row, the newest first: those by which it came to the key or stayed at it, those by which it left the key, and
-- the TRUNCATEs of its table; captured after `after` and until `until`, `newest` of them; NULL for no bound.
--
-- Planned once a session, whatever the values: planning for them takes longer than reading. Each of the three is read in
-- order from its index, a partition beside the other, as far as is wanted.
CREATE OR REPLACE FUNCTION threadline.changes_of_row(of_table integer, key text, after timestamptz, until timestamptz, newest integer)
RETURNS SETOF threadline.audit_changes
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_bitmapscan = off
SET enable_seqscan = off
-- What is switched off has a cost that would have the plan compiled.
SET jit = off AS $$
DECLARE
    since CONSTANT timestamptz := coalesce(after, '-infinity');
    upto CONSTANT timestamptz := coalesce(until, 'infinity');
BEGIN
    -- Most rows have never had another key, most tables were never truncated: to see that takes a third of what it takes to
    -- make ready for the whole rows of all three.
    IF NOT EXISTS (SELECT FROM threadline.audit_key_changes m WHERE m.table_id = of_table AND m.previous_row_key = key)
        AND NOT EXISTS (SELECT FROM threadline.audit_changes c
            WHERE c.table_id = of_table AND c.row_key = '' AND c.op = 'T' AND c.captured_at > since AND c.captured_at <= upto)
    THEN
        RETURN QUERY SELECT c.* FROM threadline.audit_changes c
            WHERE c.table_id = of_table AND c.row_key = key AND c.captured_at > since AND c.captured_at <= upto
            ORDER BY c.captured_at DESC, c.transaction_id DESC, c.ordinal DESC LIMIT newest;
        RETURN;
    END IF;
    RETURN QUERY SELECT found.* FROM (
        (SELECT c.* FROM threadline.audit_changes c
            WHERE c.table_id = of_table AND c.row_key = key AND c.captured_at > since AND c.captured_at <= upto
            ORDER BY c.captured_at DESC, c.transaction_id DESC, c.ordinal DESC LIMIT newest)
        UNION ALL
        -- Each by its own key: joined, the planner may read all changes first.
        (SELECT c.* FROM threadline.audit_key_changes m CROSS JOIN LATERAL (SELECT c.* FROM threadline.audit_changes c
                WHERE c.transaction_id = m.transaction_id AND c.ordinal = m.ordinal LIMIT 1) c
            WHERE m.table_id = of_table AND m.previous_row_key = key AND c.captured_at > since AND c.captured_at <= upto)
        UNION ALL
        (SELECT c.* FROM threadline.audit_changes c
            WHERE c.table_id = of_table AND c.row_key = '' AND c.op = 'T' AND key <> '' AND c.captured_at > since AND c.captured_at <= upto
            ORDER BY c.captured_at DESC, c.transaction_id DESC, c.ordinal DESC LIMIT newest)
    ) found ORDER BY found.captured_at DESC, found.transaction_id DESC, found.ordinal DESC LIMIT newest;
END
$$;
COMMENT ON FUNCTION threadline.changes_of_row(integer, text, timestamptz, timestamptz, integer) IS 'Changes of a row, the newest first.';

-- The columns of a table today, with the id the latest layout knows them by; those of that layout when the table is gone.
CREATE OR REPLACE FUNCTION threadline.todays_columns(of_table integer)
RETURNS TABLE (relation oid, id integer, attnum integer, name text, type text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH audited AS (
        SELECT threadline.audited_relation(a.id)::oid AS relation, threadline.recorded_layout(a.id, a.layout) AS known
        FROM threadline.audited_tables a WHERE a.id = of_table
    )
    SELECT audited.relation, k.known_id, k.attnum, k.name, format_type(a.atttypid, a.atttypmod)
    FROM audited CROSS JOIN LATERAL threadline.known_columns(audited.relation, audited.known) k
        LEFT JOIN pg_attribute a ON a.attrelid = audited.relation AND a.attnum = k.attnum
    UNION ALL
    SELECT (audited.known ->> 'relation')::oid, c.id, c.attnum, c.name, c.type
    FROM audited, jsonb_to_recordset(audited.known -> 'columns') c (id integer, attnum integer, name text, type text)
    WHERE audited.relation IS NULL
$$;
COMMENT ON FUNCTION threadline.todays_columns(integer) IS 'The columns of a table today, with their ids in the trail.';

-- The rule that redacts what was captured of each column once it is gone, mask or exclude; `unsure` of one that is to be taken for
-- gone in what was captured of another relation, because nobody can say which it is today and something of the table is redacted.
CREATE OR REPLACE FUNCTION threadline.rules_of(of_table integer) RETURNS TABLE (column_id integer, rule text, unsure boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT r.column_id, coalesce(r.rule, CASE WHEN bool_or(r.rule IS NOT NULL) OVER () THEN 'mask' END), r.unsure AND bool_or(r.rule IS NOT NULL) OVER ()
    FROM threadline.redacted_columns r WHERE r.table_id = of_table
$$;
COMMENT ON FUNCTION threadline.rules_of(integer) IS 'The rule that redacts what was captured of each column.';

-- How the columns of an older layout relate to those of today: new names, NULL for a name that now means another column, the
-- columns whose type has changed since, and by name those that are gone, each with what tells it from others of its name and
-- the rule that redacts it.
CREATE OR REPLACE FUNCTION threadline.since_layout(of_table integer, older integer, OUT renamed jsonb, OUT retyped text[], OUT gone jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH today AS MATERIALIZED (SELECT t.relation, t.id, t.name, t.type FROM threadline.todays_columns(of_table) t)
    SELECT coalesce(jsonb_object_agg(was.name, today.name) FILTER (WHERE today.name <> was.name OR (today.name IS NULL AND was.is_taken)), '{}'),
        coalesce(array_agg(today.name) FILTER (WHERE today.type IS DISTINCT FROM was.type AND today.name IS NOT NULL), '{}'),
        coalesce(jsonb_object_agg(was.name, jsonb_build_array(was.relation, was.attnum, was.rule)) FILTER (WHERE today.name IS NULL AND NOT was.is_taken), '{}')
    FROM (SELECT c.id, c.attnum, c.name, c.type, r.rule, r.unsure, l.relation_oid::bigint AS relation, c.name IN (SELECT t.name FROM today t) AS is_taken
            FROM threadline.table_layouts l CROSS JOIN jsonb_to_recordset(l.columns) c (id integer, attnum integer, name text, type text)
                LEFT JOIN threadline.rules_of(of_table) r ON r.column_id = c.id
            WHERE l.table_id = of_table AND l.layout = older) was
        LEFT JOIN today ON today.id = was.id AND (was.relation = today.relation OR was.unsure IS NOT TRUE)
$$;
COMMENT ON FUNCTION threadline.since_layout(integer, integer) IS 'How the columns of an older layout relate to those of today.';

-- As since_layout, for payloads without a layout, which carry attribute numbers: for every relation the table has been (a
-- restore makes it another one), attribute number to today's name and type, and to the rule of a column that is gone, {"today":
-- {"16384": {"3": ["views", "integer"]}}, "gone": {"16384": {"4": "mask", "5": null}}, "untraced": null}. Of a column in neither
-- nobody knows what it was: it is masked where anything is or was.
CREATE OR REPLACE FUNCTION threadline.since_attributes(of_table integer) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH today AS MATERIALIZED (SELECT * FROM threadline.todays_columns(of_table)),
    attribute AS (
        SELECT t.relation, t.attnum, t.name, t.type FROM today t
        UNION
        SELECT l.relation_oid, c.attnum, t.name, t.type
        FROM threadline.table_layouts l, jsonb_to_recordset(l.columns) c (id integer, attnum integer) JOIN today t ON t.id = c.id
        WHERE l.table_id = of_table AND l.relation_oid NOT IN (SELECT t.relation FROM today t)
            AND c.id NOT IN (SELECT r.column_id FROM threadline.rules_of(of_table) r WHERE r.unsure)
    ),
    gone AS (
        SELECT l.relation_oid AS relation, c.attnum, r.rule
        FROM threadline.table_layouts l CROSS JOIN jsonb_to_recordset(l.columns) c (id integer, attnum integer)
            LEFT JOIN threadline.rules_of(of_table) r ON r.column_id = c.id
        WHERE l.table_id = of_table AND NOT EXISTS (SELECT FROM today t WHERE t.id = c.id AND (t.relation = l.relation_oid OR r.unsure IS NOT TRUE))
    )
    SELECT jsonb_build_object(
        'today', (SELECT jsonb_object_agg(r.relation, r.columns) FROM (
            SELECT a.relation, jsonb_object_agg(a.attnum, jsonb_build_array(a.name, a.type)) AS columns FROM attribute a GROUP BY a.relation) r),
        'gone', coalesce((SELECT jsonb_object_agg(r.relation, r.columns) FROM (
            SELECT g.relation, jsonb_object_agg(g.attnum, g.rule) AS columns FROM gone g GROUP BY g.relation) r), '{}'),
        'untraced', CASE WHEN EXISTS (SELECT FROM threadline.rules_of(of_table) r WHERE r.rule IS NOT NULL) THEN 'mask' END)
$$;
COMMENT ON FUNCTION threadline.since_attributes(integer) IS 'Today''s names and types by relation and attribute number.';

-- What it takes to show changes of a table: its name, how it is redacted, and how the columns of older payloads relate to
-- today's. `with_attributes`: also for payloads without a layout.
CREATE OR REPLACE FUNCTION threadline.table_reading(of_table integer, with_attributes boolean) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    stored CONSTANT threadline.audited_tables := (SELECT a FROM threadline.audited_tables a WHERE a.id = of_table);
    redacted CONSTANT record := threadline.present_policy(stored, threadline.audited_relation(of_table));
    policy CONSTANT threadline.audited_tables := redacted.policy;
BEGIN
    RETURN jsonb_build_object('schema', stored.schema_name, 'name', stored.table_name, 'key', policy.key_columns,
        'present', jsonb_build_object('state', 'unknown', 'exclude', policy.exclude, 'mask', policy.mask,
            'mask_placeholder', policy.mask_placeholder, 'ignore', policy.ignore),
        'layouts', (SELECT jsonb_object_agg(l.layout, s) FROM threadline.table_layouts l, threadline.since_layout(l.table_id, l.layout) s
            WHERE l.table_id = of_table AND (l.layout <> stored.layout OR redacted.stale)),
        'attributes', CASE WHEN with_attributes THEN threadline.since_attributes(of_table) END);
END
$$;
COMMENT ON FUNCTION threadline.table_reading(integer, boolean) IS 'What it takes to show changes of a table.';

-- A table's row type from an image, and why not when it does not fit: then the row is NULL. A masked value stays where the
-- column holds text, and is NULL elsewhere.
CREATE OR REPLACE FUNCTION threadline.decode_image(base anyelement, image jsonb, masked text[], OUT decoded anyelement, OUT problem text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF masked <> '{}' THEN
        image := image - ARRAY(SELECT a.attname::text FROM pg_type r JOIN pg_attribute a ON a.attrelid = r.typrelid
            JOIN pg_type t ON t.oid = threadline.base_type(a.atttypid)
            WHERE r.oid = pg_typeof(base) AND a.attname = ANY (masked) AND t.typcategory <> 'S');
    END IF;
    -- A json value is stored as its text.
    image := image || coalesce((SELECT jsonb_object_agg(a.attname, (image ->> a.attname)::jsonb) FROM pg_type r
        JOIN pg_attribute a ON a.attrelid = r.typrelid WHERE r.oid = pg_typeof(base) AND threadline.base_type(a.atttypid) = 'json'::regtype
            AND jsonb_typeof(image -> a.attname::text) = 'string'), '{}');
    decoded := jsonb_populate_record(base, image);
EXCEPTION WHEN data_exception OR integrity_constraint_violation OR datatype_mismatch THEN
    decoded := NULL;
    problem := SQLERRM;
END
$$;
COMMENT ON FUNCTION threadline.decode_image(anyelement, jsonb, text[]) IS 'A table''s row type from an image, or why it does not fit.';


REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline FROM PUBLIC;
GRANT EXECUTE ON FUNCTION threadline.set_context(jsonb) TO PUBLIC;
-- Reading takes SELECT on the tables; these by themselves show nothing but catalogs.
GRANT EXECUTE ON FUNCTION threadline.schema_version(), threadline.find_table(text, regclass), threadline.row_key(integer, jsonb),
    threadline.present_row(integer, jsonb), threadline.present_policy(threadline.audited_tables, regclass), threadline.key_in(threadline.audited_tables, regclass, boolean, jsonb),
    threadline.changes_of_row(integer, text, timestamptz, timestamptz, integer), threadline.is_stale(threadline.audited_tables, regclass),
    threadline.key_query(oid, text[]), threadline.row_query(oid, threadline.audited_tables, text[], text[]),
    threadline.table_reading(integer, boolean), threadline.since_layout(integer, integer), threadline.rules_of(integer),
    threadline.decode_image(anyelement, jsonb, text[]), threadline.table_id(oid), threadline.audited_relation(integer),
    threadline.present_columns(oid), threadline.layout_digest(oid), threadline.layout_differs(oid, integer, integer), threadline.base_type(oid),
    threadline.component_types(oid), threadline.goes_in_as_it_is(oid), threadline.output_form(oid), threadline.value_form(oid), threadline.key_form(oid), threadline.instant_key(timestamptz), threadline.stored_key(text),
    threadline.key_expression(oid, text[], text), threadline.key_column_problem(oid, smallint), threadline.candidate_keys(oid),
    threadline.present_columns(oid), threadline.known_columns(oid, jsonb), threadline.recorded_layout(integer, integer),
    threadline.key_now(threadline.audited_tables), threadline.todays_columns(integer), threadline.since_attributes(integer),
    threadline.carried_policy(oid, threadline.audited_tables, jsonb, boolean),
    threadline.captured_columns(oid, threadline.audited_tables), threadline.image_expression(oid, threadline.audited_tables, text),
    threadline.first_id_at(timestamptz), threadline.instant_of(uuid) TO PUBLIC;
