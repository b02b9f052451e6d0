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
    IF found_id IS NULL THEN
        RAISE EXCEPTION 'threadline: table % has never been audited', name USING ERRCODE = 'undefined_object',
            CONSTRAINT = 'threadline_not_audited', HINT = format('Audit it with threadline.attach(%L) in a migration.', name);
    END IF;
    RETURN found_id;
END
$$;
COMMENT ON FUNCTION threadline.find_table(text, regclass) IS 'The id of an audited table by name.';

-- The stored form of a key given as {column: text}. The texts are read as values of the key columns' types, so any
-- spelling PostgreSQL accepts finds the row.
CREATE OR REPLACE FUNCTION threadline.row_key(of_table integer, key jsonb) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC'
SET DateStyle = 'ISO, YMD' AS $$
DECLARE
    audited CONSTANT threadline.audited_tables := (SELECT a FROM threadline.audited_tables a WHERE a.id = of_table);
    relation CONSTANT regclass := threadline.audited_relation(of_table);
    result text;
BEGIN
    IF (SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(key) k) IS DISTINCT FROM (SELECT array_agg(c ORDER BY c) FROM unnest(audited.key_columns) c)
        OR EXISTS (SELECT FROM jsonb_each(key) k WHERE k.value = 'null') THEN
        RAISE EXCEPTION 'threadline: table %.% is audited by the key (%), not by (%)', audited.schema_name, audited.table_name,
                array_to_string(audited.key_columns, ', '), (SELECT string_agg(k, ', ' ORDER BY k) FROM jsonb_object_keys(key) k) USING
            ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_wrong_key',
            HINT = 'Give a value, not NULL, for each key column; in a model, declare them with #[threadline(key(…))].';
    END IF;
    IF relation IS NULL OR threadline.key_expression(relation, audited.key_columns, 'r') IS NULL THEN
        RETURN threadline.stored_key(CASE cardinality(audited.key_columns) WHEN 1 THEN key ->> audited.key_columns[1]
            ELSE (SELECT jsonb_agg(key ->> c.name ORDER BY c.place)::text FROM unnest(audited.key_columns) WITH ORDINALITY c (name, place)) END);
    END IF;
    EXECUTE format('SELECT %s FROM (SELECT %s) AS r', threadline.key_expression(relation, audited.key_columns, 'r'),
        (SELECT string_agg(format('($1 ->> %L)::%s AS %I', c, format_type(a.atttypid, NULL), c), ', ')
            FROM unnest(audited.key_columns) c JOIN pg_attribute a ON a.attrelid = relation AND a.attname = c))
        INTO result USING key;
    RETURN result;
END
$$;
COMMENT ON FUNCTION threadline.row_key(integer, jsonb) IS 'The stored form of a key given as {column: text}.';

-- The row as it is now in the form capture gives it, redacted, with the policy that redacted it. `state` is present,
-- absent, or unknown: when the table is gone, no longer audited, or not the caller's to read.
CREATE OR REPLACE FUNCTION threadline.present_row(of_table integer, key jsonb,
    OUT state text, OUT image jsonb, OUT layout integer, OUT stale boolean, OUT exclude text[], OUT mask text[], OUT mask_placeholder text, OUT ignore text[])
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
    policy threadline.audited_tables := stored;
BEGIN
    state := 'unknown';
    stale := relation IS NOT NULL AND threadline.layout_digest(relation)
        <> (SELECT l.digest FROM threadline.table_layouts l WHERE l.table_id = of_table AND l.layout = stored.layout);
    IF stale THEN
        policy := threadline.carried_policy(relation, stored, true);
    END IF;
    layout := stored.layout;
    exclude := policy.exclude;
    mask := policy.mask;
    mask_placeholder := policy.mask_placeholder;
    ignore := policy.ignore;
    IF relation IS NOT NULL AND policy.key_columns IS NOT NULL AND has_table_privilege(relation, 'SELECT') THEN
        EXECUTE format('SELECT %s FROM %s %s AS OLD WHERE %s', threadline.image_expression(relation, policy, 'OLD'),
            (SELECT CASE c.relkind WHEN 'p' THEN '' ELSE 'ONLY' END FROM pg_class c WHERE c.oid = relation), relation,
            (SELECT string_agg(format('OLD.%I = ($1 ->> %L)::%s', k.now, k.stored, format_type(a.atttypid, NULL)), ' AND ')
                FROM unnest(policy.key_columns, stored.key_columns) k (now, stored) JOIN pg_attribute a ON a.attrelid = relation AND a.attname = k.now))
            INTO image USING key;
        state := CASE WHEN image IS NULL THEN 'absent' ELSE 'present' END;
    END IF;
END
$$;
COMMENT ON FUNCTION threadline.present_row(integer, jsonb) IS 'The row as it is now in the form capture gives it, redacted.';

-- How the columns of an older layout relate to those of today: new names, NULL for a name that now means another column,
-- and the columns whose type has changed since.
CREATE OR REPLACE FUNCTION threadline.since_layout(of_table integer, older integer, OUT renamed jsonb, OUT retyped text[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH audited AS (SELECT a FROM threadline.audited_tables a WHERE a.id = of_table),
    today AS (SELECT k.name, k.known_name FROM audited, threadline.known_columns(threadline.audited_relation(of_table), audited.a) k),
    was AS (SELECT c.id, c.name, c.type FROM threadline.table_layouts l, jsonb_to_recordset(l.columns) c (id integer, name text, type text)
        WHERE l.table_id = of_table AND l.layout = older),
    latest AS (SELECT c.id, coalesce(today.name, c.name) AS name, c.type
        FROM audited, threadline.table_layouts l, jsonb_to_recordset(l.columns) c (id integer, name text, type text) LEFT JOIN today ON today.known_name = c.name
        WHERE l.table_id = of_table AND l.layout = (audited.a).layout)
    SELECT coalesce(jsonb_object_agg(was.name, latest.name) FILTER (WHERE latest.name <> was.name
            OR (latest.name IS NULL AND was.name IN (SELECT now.name FROM latest now))), '{}'),
        coalesce(array_agg(latest.name) FILTER (WHERE latest.type <> was.type), '{}')
    FROM was LEFT JOIN latest ON latest.id = was.id
$$;
COMMENT ON FUNCTION threadline.since_layout(integer, integer) IS 'How the columns of an older layout relate to those of today.';

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
    threadline.present_row(integer, jsonb), threadline.since_layout(integer, integer),
    threadline.decode_image(anyelement, jsonb, text[]), threadline.table_id(oid), threadline.audited_relation(integer),
    threadline.present_columns(oid), threadline.layout_digest(oid), threadline.base_type(oid),
    threadline.component_types(oid), threadline.goes_in_as_it_is(oid), threadline.output_form(oid), threadline.value_form(oid), threadline.key_form(oid), threadline.stored_key(text),
    threadline.key_expression(oid, text[], text), threadline.key_column_problem(oid, smallint), threadline.candidate_keys(oid),
    threadline.known_columns(oid, threadline.audited_tables), threadline.carried_policy(oid, threadline.audited_tables, boolean),
    threadline.captured_columns(oid, threadline.audited_tables), threadline.image_expression(oid, threadline.audited_tables, text),
    threadline.first_id_at(timestamptz), threadline.instant_of(uuid) TO PUBLIC;
