-- Reading whole tables as they were: what an instant means for all rows alike, the fold of one row's changes, and the queries
-- that put both together. They run with the rights of the caller, who needs SELECT on the audit tables and on the audited ones.
--
-- A past row is one of two: a row the table has now, with what has happened to it since undone; or one that has left its key
-- since, found through audit_departures. Both are plain scans under one UNION ALL, so that PostgreSQL hands filters and joins
-- on key columns on to an index of either; the undoing is a function called beside them, for rows that were touched only.

-- An instant, resolved: every change that does not count at it was captured after `since`, by a transaction whose id is not
-- less than `lowest`; and captured after `at` or by one of the transactions `straddling`.
DO $$ BEGIN
    IF to_regtype('threadline.past_instant') IS NULL THEN
        CREATE TYPE threadline.past_instant AS (at timestamptz, since timestamptz, lowest uuid, straddling uuid[]);
    END IF;
END $$;
COMMENT ON TYPE threadline.past_instant IS 'An instant, with what tells the changes that do not count at it.';

-- A row as it is now, NULL for none, and its changes since an instant, newest first.
DO $$ BEGIN
    IF to_regtype('threadline.undoing') IS NULL THEN
        CREATE TYPE threadline.undoing AS (live jsonb, changes threadline.audit_changes[]);
    END IF;
END $$;
COMMENT ON TYPE threadline.undoing IS 'A row as it is now and its changes since an instant, newest first.';

-- Resolves an instant: a transaction counts at it when all it captured was captured by then. Those that had begun by then and
-- went on capturing afterwards are told one by one. They are looked for among the transactions that began within two seconds
-- before, and among those that are known to have gone on for longer.
CREATE OR REPLACE FUNCTION threadline.resolve_instant(at timestamptz) RETURNS threadline.past_instant
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- Ids are exact to the millisecond.
    next_millisecond CONSTANT uuid := threadline.first_id_at(at + interval '1 millisecond');
    short CONSTANT uuid := threadline.first_id_at(at - interval '2.001 seconds');
    instant threadline.past_instant := ROW(at, at, threadline.first_id_at(at), '{}');
BEGIN
    instant.straddling := ARRAY(
        SELECT began.id FROM (
            SELECT t.id FROM threadline.audit_transactions t WHERE t.id >= short AND t.id < next_millisecond
            UNION
            SELECT l.transaction_id FROM generate_series(1, 40) lasting (doublings) CROSS JOIN LATERAL (
                SELECT l.transaction_id FROM threadline.audit_long_transactions l
                WHERE l.doublings = lasting.doublings AND l.transaction_id < next_millisecond AND l.transaction_id >=
                    threadline.first_id_at(to_timestamp(greatest(extract(epoch FROM instant.at)::double precision - 2 * 2 ^ lasting.doublings - 0.001, 0)))) l
        ) began
        WHERE greatest((SELECT c.captured_at FROM threadline.audit_changes c WHERE c.transaction_id = began.id ORDER BY c.ordinal DESC LIMIT 1),
            -- Its last changes may have gone.
            (SELECT t.purged_until FROM threadline.audit_transactions t WHERE t.id = began.id)) > instant.at
        ORDER BY 1);
    IF instant.straddling <> '{}' THEN
        instant.lowest := least(instant.lowest, instant.straddling[1]);
        instant.since := least(instant.at, (SELECT min(first.captured_at) FROM unnest(instant.straddling) s (id) CROSS JOIN LATERAL (
            SELECT c.captured_at FROM threadline.audit_changes c WHERE c.transaction_id = s.id ORDER BY c.ordinal LIMIT 1) first) - interval '1 microsecond');
    END IF;
    RETURN instant;
END
$$;
COMMENT ON FUNCTION threadline.resolve_instant(timestamptz) IS 'What tells the changes that do not count at an instant.';

-- The condition that a change, by its alias, does not count at an instant.
CREATE OR REPLACE FUNCTION threadline.undone_condition(alias text, instant threadline.past_instant) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' AS $$
    SELECT format('%1$I.captured_at > %2$L::timestamptz AND %1$I.transaction_id >= %3$L::uuid', alias, instant.since, instant.lowest)
        || CASE WHEN instant.straddling = '{}' THEN ''
            ELSE format(' AND (%1$I.captured_at > %2$L::timestamptz OR %1$I.transaction_id = ANY (%3$L::uuid[]))', alias, instant.at, instant.straddling) END
$$;
COMMENT ON FUNCTION threadline.undone_condition(text, threadline.past_instant) IS 'The condition that a change does not count at an instant.';

-- Fails when what a table held at an instant is not known. Part of each query over the past, so that only tables that are
-- read are asked.
CREATE OR REPLACE FUNCTION threadline.check_past(of_table integer, instant threadline.past_instant) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' AS $$
DECLARE
    name CONSTANT text := (SELECT format('%I.%I', a.schema_name, a.table_name) FROM threadline.audited_tables a WHERE a.id = of_table);
    period record;
    truncated timestamptz;
BEGIN
    SELECT p.began_at, p.ended_at INTO period FROM threadline.capture_periods p WHERE p.table_id = of_table ORDER BY p.began_at DESC LIMIT 1;
    IF instant.at < period.began_at THEN
        RAISE EXCEPTION 'threadline: table % is known from % on, not at %', name, period.began_at, instant.at USING
            ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_before_horizon', HINT = 'Ask about a later instant.';
    END IF;
    PERFORM threadline.check_kept(of_table, instant.at);
    IF period.ended_at IS NOT NULL THEN
        RAISE EXCEPTION 'threadline: capture of table % ended at %', name, period.ended_at USING
            ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_capture_ended', HINT = 'Its rows are told one by one, from their history.';
    END IF;
    SELECT min(c.captured_at) INTO truncated FROM threadline.audit_changes c
        WHERE c.table_id = of_table AND c.row_key = '' AND c.op = 'T' AND c.captured_at > instant.since AND c.transaction_id >= instant.lowest
            AND (c.captured_at > instant.at OR c.transaction_id = ANY (instant.straddling));
    IF truncated IS NOT NULL THEN
        RAISE EXCEPTION 'threadline: table % was truncated at %, so what it held at % is not known', name, truncated, instant.at USING
            ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_crossed_truncate',
            HINT = 'Ask about a later instant; attached with on_truncate => ''keep'', TRUNCATE keeps the rows.';
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION threadline.check_past(integer, threadline.past_instant) IS 'Fails when what a table held at an instant is not known.';

-- What reading a table's changes takes: its policy under today's names, how older layouts relate to today's columns, and which
-- columns take more than their JSON. No lock is taken on the table.
CREATE OR REPLACE FUNCTION threadline.reading_of(of_table integer, OUT policy threadline.audited_tables, OUT reading jsonb)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    stored CONSTANT threadline.audited_tables := (SELECT a FROM threadline.audited_tables a WHERE a.id = of_table);
    relation CONSTANT regclass := threadline.audited_relation(of_table);
    stale CONSTANT boolean := threadline.layout_differs(relation, of_table, stored.layout) IS NOT FALSE;
BEGIN
    policy := stored;
    IF stale THEN
        policy := threadline.carried_policy(relation, stored, threadline.recorded_layout(of_table, stored.layout), true);
    END IF;
    reading := jsonb_build_object(
        'table', (SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation),
        'exclude', policy.exclude, 'mask', policy.mask, 'placeholder', policy.mask_placeholder, 'ignore', policy.ignore,
        'layouts', (SELECT coalesce(jsonb_object_agg(l.layout, s), '{}') FROM threadline.table_layouts l, threadline.since_layout(l.table_id, l.layout) s
            WHERE l.table_id = of_table AND (l.layout <> stored.layout OR stale)),
        'attributes', threadline.since_attributes(of_table),
        'not_text', (SELECT coalesce(jsonb_agg(a.attname), '[]') FROM pg_attribute a JOIN pg_type t ON t.oid = threadline.base_type(a.atttypid)
            WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND t.typcategory <> 'S'),
        'json', (SELECT coalesce(jsonb_agg(a.attname), '[]') FROM pg_attribute a
            WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND threadline.base_type(a.atttypid) = 'json'::regtype));
END
$$;
COMMENT ON FUNCTION threadline.reading_of(integer) IS 'What reading a table''s changes takes.';

-- As since_layout, for the columns of a change without a layout.
CREATE OR REPLACE FUNCTION threadline.since_change(reading jsonb, change threadline.audit_changes, OUT renamed jsonb, OUT retyped text[], OUT gone jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(jsonb_object_agg(was.name, was.today) FILTER (WHERE was.today <> was.name OR (was.today IS NULL AND was.is_taken AND was.is_known)), '{}'),
        coalesce(array_agg(was.today) FILTER (WHERE was.today IS NOT NULL AND was.type_today IS DISTINCT FROM was.type), '{}'),
        coalesce(jsonb_object_agg(was.name, jsonb_build_array(change.attributes -> 'relation', was.attnum,
            CASE WHEN was.gone ? (was.attnum #>> '{}') THEN was.gone -> (was.attnum #>> '{}') ELSE reading #> '{attributes,untraced}' END)) FILTER (WHERE was.today IS NULL AND NOT was.is_taken), '{}')
    FROM (SELECT c.key AS name, c.value -> 0 AS attnum, c.value ->> 1 AS type, known.columns -> (c.value ->> 0) ->> 0 AS today,
                known.columns -> (c.value ->> 0) ->> 1 AS type_today,
                known.columns IS NOT NULL AS is_known, known.gone,
                EXISTS (SELECT FROM jsonb_each(reading #> '{attributes,today}') relation, jsonb_each(relation.value) other
                    WHERE other.value ->> 0 = c.key) AS is_taken
            FROM (SELECT reading #> ARRAY['attributes', 'today', change.attributes ->> 'relation'],
                    coalesce(reading #> ARRAY['attributes', 'gone', change.attributes ->> 'relation'], '{}')) known (columns, gone),
                jsonb_each(change.attributes -> 'columns') c) was
$$;
COMMENT ON FUNCTION threadline.since_change(jsonb, threadline.audit_changes) IS 'How the columns of a change without a layout relate to today''s.';

-- Fails without naming a row when rows may be another tenant's, whom the reader is not to know of.
CREATE OR REPLACE FUNCTION threadline.stay_discreet(reading jsonb, problem text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF reading -> 'discreet' = 'true' THEN
        RAISE EXCEPTION 'threadline: the past of a row of table % is not known for sure', reading ->> 'table' USING
            ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = problem, HINT = 'Ask somebody who may see the whole trail.';
    END IF;
END
$$;
COMMENT ON FUNCTION threadline.stay_discreet(jsonb, text) IS 'Fails without naming a row when rows may be another tenant''s.';

-- The row with a key before its changes: `image` as it was, redacted, and `decoded` as the table's row type; not found when
-- there was none. `by_transaction` and `by_ordinal` name the change that removed the row seen; NULL when it is still there.
--
-- The same fold as the library's for one row: back from the present, each change checked against what it should have left.
-- Within a transaction the newest change that fits is taken, since triggers of the host may have had theirs captured first.
CREATE OR REPLACE FUNCTION threadline.undo(base anyarray, reading jsonb, key text, work threadline.undoing, decode boolean,
    OUT touched boolean, OUT present boolean, OUT by_transaction uuid, OUT by_ordinal integer, OUT image jsonb, OUT masked text[], OUT decoded anyelement)
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    queue threadline.audit_changes[] := coalesce(work.changes, '{}');
    mask text[] := ARRAY(SELECT jsonb_array_elements_text(reading -> 'mask'));
    ignored CONSTANT text[] := ARRAY(SELECT jsonb_array_elements_text(reading -> 'ignore'));
    hidden text[] := mask;
    change threadline.audit_changes;
    newer threadline.audit_changes;
    since jsonb;
    renamed jsonb;
    retyped text[];
    -- Columns that are gone, by the name they had: of those with one name the newest keeps it. The last of each is its rule.
    lost jsonb;
    gone jsonb := '{}';
    redacted text[];
    olds jsonb;
    news jsonb;
    whole jsonb;
    leaves boolean;
    place integer;
    fits boolean;
    name text;
BEGIN
    touched := true;
    image := work.live;
    WHILE cardinality(queue) > 0 LOOP
        place := 1;
        LOOP
            change := queue[place];
            renamed := NULL;
            retyped := '{}';
            lost := NULL;
            olds := NULL;
            news := NULL;
            IF change.attributes IS NOT NULL THEN
                SELECT s.renamed, s.retyped, s.gone INTO renamed, retyped, lost FROM threadline.since_change(reading, change) s;
            ELSIF reading -> 'layouts' ? change.layout::text THEN
                since := reading -> 'layouts' -> change.layout::text;
                renamed := since -> 'renamed';
                retyped := ARRAY(SELECT jsonb_array_elements_text(since -> 'retyped'));
                lost := since -> 'gone';
            END IF;
            IF lost <> '{}' THEN
                renamed := renamed || (SELECT coalesce(jsonb_object_agg(l.key, NULL), '{}') FROM jsonb_each(lost) l WHERE gone -> l.key <> l.value);
                gone := lost || gone;
            END IF;
            redacted := coalesce(change.masked, '{}');
            whole := change.row_data;
            IF renamed <> '{}' THEN
                redacted := ARRAY(SELECT CASE WHEN renamed ? m THEN renamed ->> m ELSE m END FROM unnest(redacted) m WHERE renamed -> m IS DISTINCT FROM 'null');
                whole := (SELECT jsonb_object_agg(CASE WHEN renamed ? c.key THEN renamed ->> c.key ELSE c.key END, c.value)
                    FROM jsonb_each(whole) c WHERE renamed -> c.key IS DISTINCT FROM 'null');
                SELECT jsonb_object_agg(c.name, c.value -> 0), jsonb_object_agg(c.name, c.value -> 1) INTO olds, news
                    FROM (SELECT CASE WHEN renamed ? d.key THEN renamed ->> d.key ELSE d.key END, d.value
                        FROM jsonb_each(change.diff::jsonb) d WHERE renamed -> d.key IS DISTINCT FROM 'null') c (name, value);
            ELSIF change.op = 'U' THEN
                SELECT jsonb_object_agg(d.key, d.value -> 0), jsonb_object_agg(d.key, d.value -> 1) INTO olds, news FROM jsonb_each(change.diff::jsonb) d;
            END IF;
            IF change.op = 'I' THEN
                news := whole;
            END IF;
            leaves := change.op = 'D' OR coalesce(change.previous_row_key = key, false);
            fits := CASE WHEN image IS NULL THEN leaves ELSE NOT leaves AND NOT EXISTS (
                SELECT FROM jsonb_each(news) n WHERE image ? n.key AND (image -> n.key)::text <> n.value::text
                    AND n.key <> ALL (hidden || redacted || retyped || ignored)) END;
            EXIT WHEN fits OR place >= cardinality(queue) OR queue[place + 1].transaction_id <> change.transaction_id;
            place := place + 1;
        END LOOP;
        IF NOT fits THEN
            PERFORM threadline.stay_discreet(reading, 'threadline_gap');
            RAISE EXCEPTION 'threadline: a write to the row of table % with the key % escaped capture between % and %', reading ->> 'table', key,
                    (queue[1]).captured_at, coalesce(newer.captured_at::text, 'now') USING
                ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_gap', HINT = 'Its history says what was captured.';
        END IF;
        IF leaves THEN
            image := whole;
            hidden := redacted || CASE WHEN change.op = 'U' THEN mask ELSE '{}' END;
            by_transaction := change.transaction_id;
            by_ordinal := change.ordinal;
        ELSIF change.op = 'I' OR change.previous_row_key IS NOT NULL THEN
            image := NULL;
            by_transaction := NULL;
            by_ordinal := NULL;
        ELSE
            hidden := ARRAY(SELECT h FROM unnest(hidden || redacted) h WHERE h = ANY (redacted) OR NOT coalesce(olds ? h, false));
            image := image || coalesce(olds, '{}');
        END IF;
        newer := change;
        queue := queue[:place - 1] || queue[place + 1:];
    END LOOP;

    present := image IS NOT NULL;
    IF present THEN
        image := image - ARRAY(SELECT jsonb_array_elements_text(reading -> 'exclude'));
        image := image - ARRAY(SELECT g.key FROM jsonb_each(gone) g WHERE g.value ->> 2 = 'exclude');
        mask := mask || ARRAY(SELECT g.key FROM jsonb_each(gone) g WHERE g.value ->> 2 = 'mask');
        FOREACH name IN ARRAY mask LOOP
            IF image ? name THEN
                image := jsonb_set(image, ARRAY[name], reading -> 'placeholder');
            END IF;
        END LOOP;
        masked := ARRAY(SELECT DISTINCT h FROM unnest(hidden || mask) h WHERE image ? h ORDER BY h);
        IF decode THEN
            decoded := threadline.decode_past(decoded, reading, key, image, masked);
        END IF;
    END IF;
END
$$;
COMMENT ON FUNCTION threadline.undo(anyarray, jsonb, text, threadline.undoing, boolean) IS 'The row with a key before its changes.';

-- A past image as the table's row type. A masked value stays where the column holds text, and is NULL elsewhere; a value that
-- no longer fits its column fails, and says which.
CREATE OR REPLACE FUNCTION threadline.decode_past(base anyelement, reading jsonb, key text, image jsonb, masked text[]) RETURNS anyelement
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text;
BEGIN
    IF masked <> '{}' THEN
        image := image - ARRAY(SELECT m FROM unnest(masked) m WHERE reading -> 'not_text' ? m);
    END IF;
    FOR name IN SELECT jsonb_array_elements_text(reading -> 'json') LOOP
        -- A json value is stored as its text.
        IF jsonb_typeof(image -> name) = 'string' THEN
            image := jsonb_set(image, ARRAY[name], (image ->> name)::jsonb);
        END IF;
    END LOOP;
    RETURN jsonb_populate_record(base, image);
EXCEPTION WHEN data_exception OR integrity_constraint_violation OR datatype_mismatch THEN
    PERFORM threadline.stay_discreet(reading, 'threadline_unfit');
    FOR name IN SELECT jsonb_object_keys(image) LOOP
        BEGIN
            PERFORM jsonb_populate_record(base, jsonb_build_object(name, image -> name));
        EXCEPTION WHEN data_exception OR integrity_constraint_violation OR datatype_mismatch THEN
            RAISE EXCEPTION 'threadline: column "%" of the row of table % with the key % held a value that does not fit the column today',
                    name, reading ->> 'table', key USING
                ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_unfit', HINT = 'Its history says what the value was.';
        END;
    END LOOP;
    RAISE EXCEPTION 'threadline: the row of table % with the key % does not fit the table today', reading ->> 'table', key USING
        ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_unfit', HINT = 'Its history says what it was.';
END
$$;
COMMENT ON FUNCTION threadline.decode_past(anyelement, jsonb, text, jsonb, text[]) IS 'A past image as the table''s row type.';

-- Part of a stored key as a value of its column, by its place in a composite one (NULL: all of it); NULL when it is none, as for
-- a key that is kept by its digest, or after the table was given another key.
CREATE OR REPLACE FUNCTION threadline.key_value(base anyelement, row_key text, place integer) RETURNS anyelement
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    base := CASE WHEN place IS NULL THEN row_key ELSE row_key::jsonb ->> (place - 1) END;
    RETURN base;
EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION threadline.key_value(anyelement, text, integer) IS 'Part of a stored key as a value of its column; NULL when it is none.';

-- The query for a table at an instant that is yet to be filled in (fill_past). As 'view': the table's own columns. As 'images':
-- row_key, image and masked of each row, for which the session's output settings have to be those of capture. `live_image` is the
-- expression for the image of a row called `n`. With scopes filled in, rows whose scope was another then are absent.
CREATE OR REPLACE FUNCTION threadline.past_query(of_table integer, form text, live_image text)
RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    relation CONSTANT regclass := threadline.audited_relation(of_table);
    known CONSTANT record := threadline.reading_of(of_table);
    policy CONSTANT threadline.audited_tables := known.policy;
    key_columns CONSTANT text[] := threadline.key_now((SELECT a FROM threadline.audited_tables a WHERE a.id = of_table));
    departure_column CONSTANT text := threadline.departure_column(relation, key_columns);
    -- Whether all departures are by a key that begins with a column of today's type.
    steady CONSTANT boolean := (SELECT bool_and(c.type = (SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
            WHERE a.attrelid = relation AND a.attname = key_columns[1])) FROM threadline.table_layouts l, jsonb_to_recordset(l.columns) c (id integer, type text)
        WHERE l.table_id = of_table AND c.id = (SELECT k.known_id FROM threadline.known_columns(relation, threadline.recorded_layout(of_table,
            (SELECT a.layout FROM threadline.audited_tables a WHERE a.id = of_table))) k WHERE k.name = key_columns[1]));
    live CONSTANT text := (SELECT CASE c.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END FROM pg_class c WHERE c.oid = relation) || relation;
    -- Whether the row as it is now may be seen: what its ignored columns held before is known from it alone.
    seen_now CONSTANT text := (SELECT format('({threadline:unscoped} OR NOT s.threadline_live OR coalesce(%s = ANY ({threadline:scopes}), false))',
            format(threadline.key_form(a.atttypid), format('s.%I', a.attname)))
        FROM pg_attribute a WHERE a.attrelid = relation AND a.attname = policy.scope_column);
    from_live text;
    from_departures text;
    output text;
    same_key text;
    scope_form text;
    scope_is_plain boolean;
    scope_text text;
BEGIN
    SELECT string_agg(format('l.%I', c.name), ', ' ORDER BY c.attnum),
        string_agg(coalesce(
            CASE WHEN c.place = 1 AND steady AND departure_column IS NOT NULL THEN format('d.%I', departure_column) || CASE c.base WHEN 'varchar'::regtype THEN '::varchar' ELSE '' END
                WHEN c.place IS NOT NULL THEN format('threadline.key_value((NULL::%s).%I, d.row_key, %s)', relation, c.name,
                    CASE cardinality(key_columns) WHEN 1 THEN 'NULL' ELSE c.place::text END) END,
            -- Not NULL::type: that fails for a domain that is NOT NULL.
            format('(NULL::%s).%I', relation, c.name)) || coalesce(' COLLATE ' || c.collation_name, ''), ', ' ORDER BY c.attnum),
        string_agg(CASE
            WHEN c.name = ANY (policy.exclude) THEN format('(NULL::%s).%I', relation, c.name)
            WHEN c.name = ANY (policy.mask) AND c.category = 'S' THEN format('%L::%s', policy.mask_placeholder, c.type)
            WHEN c.name = ANY (policy.mask) THEN format('(NULL::%s).%I', relation, c.name)
            WHEN c.name = ANY (policy.ignore) AND c.place IS NULL AND seen_now IS NOT NULL
                THEN format('CASE WHEN u.touched THEN CASE WHEN %2$s THEN (u.decoded).%1$I END ELSE s.%1$I END', c.name, seen_now)
            -- Where what is stored of a key says all of its value, its column is left bare, so that filters reach the indexes.
            WHEN c.exact AND (NOT c.may_be_long OR (c.place = 1 AND steady AND departure_column IS NOT NULL)) THEN format('s.%I', c.name)
            ELSE format('CASE WHEN u.touched THEN (u.decoded).%1$I ELSE s.%1$I END', c.name)
        END || format(' AS %I', c.name), ', ' ORDER BY c.attnum),
        string_agg(format('n.%1$I OPERATOR(pg_catalog.=) s.%1$I', c.name), ' AND ') FILTER (WHERE c.place IS NOT NULL),
        min(threadline.key_form(c.type_oid)) FILTER (WHERE c.name = policy.scope_column),
        bool_or(c.base = ANY (ARRAY['int2', 'int4', 'int8', 'uuid', 'text', 'varchar']::regtype[])) FILTER (WHERE c.name = policy.scope_column)
    INTO from_live, from_departures, output, same_key, scope_form, scope_is_plain
    FROM (
        SELECT a.attnum, a.attname::text AS name, a.atttypid AS type_oid, format_type(a.atttypid, -1) AS type, array_position(key_columns, a.attname::text) AS place,
            t.oid AS base, t.typcategory AS category,
            a.attname = ANY (key_columns) AND a.atttypid = ANY (ARRAY['int2', 'int4', 'int8', 'uuid', 'text', 'varchar', 'bool', 'date', 'timestamp', 'timestamptz']::regtype[]) AS exact,
            (SELECT bool_or(k.attlen < 0) FROM pg_attribute k WHERE k.attrelid = relation AND k.attname = ANY (key_columns)) AS may_be_long,
            CASE WHEN a.attcollation NOT IN (0, 'pg_catalog."default"'::regcollation) THEN a.attcollation::regcollation END AS collation_name
        FROM pg_attribute a JOIN pg_type t ON t.oid = threadline.base_type(a.atttypid)
        WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
    ) c;
    IF form = 'images' THEN
        output := format('s.threadline_key AS row_key, (CASE WHEN u.touched THEN CASE WHEN %s THEN u.image ELSE u.image - %L::text[] END ELSE %s END)::text AS image, CASE WHEN u.touched THEN u.masked ELSE %L::text[] END AS masked',
            coalesce(seen_now, 'true'), policy.ignore, threadline.image_sql(relation, policy, 's'), ARRAY(SELECT m FROM unnest(policy.mask) m ORDER BY m));
    END IF;
    IF policy.scope_column IS NOT NULL THEN
        scope_text := CASE WHEN form = 'images'
            -- What is stored of a value may be spelt otherwise than what is stored of a scope, as 1.50 and 1.5 are.
            THEN format('CASE WHEN u.touched THEN %1$s ELSE %2$s END',
                format(CASE WHEN scope_is_plain THEN '%1$s' ELSE scope_form END, format(CASE WHEN scope_is_plain THEN 'u.image ->> %1$L'
                    ELSE 'threadline.key_value((NULL::%2$s).%1$I, u.image ->> %1$L, NULL)' END, policy.scope_column, relation)),
                format(scope_form, format('s.%I', policy.scope_column)))
            ELSE format(scope_form, format('CASE WHEN u.touched THEN (u.decoded).%1$I ELSE s.%1$I END', policy.scope_column)) END;
    END IF;
    RETURN format($query$
SELECT %1$s
FROM (SELECT true AS threadline_live, %2$s AS threadline_table, %3$s, %4$s COLLATE "C" AS threadline_key,
        NULL::timestamptz AS threadline_at, NULL::uuid AS threadline_transaction, NULL::integer AS threadline_ordinal FROM %5$s l
    UNION ALL
    SELECT false, d.table_id, %6$s, d.row_key, d.captured_at, d.transaction_id, d.ordinal FROM threadline.audit_departures d) s
LEFT JOIN LATERAL (SELECT EXISTS (SELECT FROM threadline.audit_changes c
    WHERE c.table_id = %2$s AND c.row_key = s.threadline_key AND {threadline:undone}) AS touched) e ON true
LEFT JOIN LATERAL threadline.undo('{}'::%8$s[], %9$L::jsonb || '{"discreet": {threadline:scoped}}'::jsonb, s.threadline_key, CASE WHEN NOT s.threadline_live OR e.touched THEN (
    SELECT ROW((SELECT %10$s FROM %5$s n WHERE %11$s),
        array_agg(x.change ORDER BY (x.change).captured_at DESC, (x.change).transaction_id DESC, (x.change).ordinal DESC))::threadline.undoing
    FROM (SELECT c AS change FROM threadline.audit_changes c WHERE c.table_id = %2$s AND c.row_key = s.threadline_key AND c.op <> 'T' AND {threadline:undone}
        UNION ALL
        SELECT c FROM threadline.audit_key_changes m JOIN threadline.audit_changes c USING (transaction_id, ordinal)
        WHERE m.table_id = %2$s AND m.previous_row_key = s.threadline_key AND m.transaction_id >= {threadline:lowest} AND {threadline:undone}) x) END, %13$s) u ON true
WHERE s.threadline_table = %2$s AND threadline.check_past(%2$s, {threadline:instant})
    AND (s.threadline_live OR (s.threadline_at > {threadline:since} AND s.threadline_transaction >= {threadline:lowest}))
    AND CASE WHEN u.touched THEN u.present AND CASE WHEN s.threadline_live THEN u.by_transaction IS NULL
            ELSE (u.by_transaction, u.by_ordinal) = (s.threadline_transaction, s.threadline_ordinal) END ELSE s.threadline_live END
    AND ({threadline:unscoped} OR coalesce(%12$s = ANY ({threadline:scopes}), false))$query$,
        output, of_table, from_live, threadline.key_expression(relation, key_columns, 'l'), live, from_departures, NULL, relation, known.reading,
        live_image, same_key, coalesce(scope_text, 'NULL::text'), (form = 'view')::text);
END
$$;
COMMENT ON FUNCTION threadline.past_query(integer, text, text) IS 'The query for a table at an instant that is yet to be filled in.';

-- Fills an instant and the scopes (NULL for all) in.
CREATE OR REPLACE FUNCTION threadline.fill_past(query text, instant threadline.past_instant, scopes text[]) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' AS $$
BEGIN
    RETURN replace(replace(replace(replace(replace(replace(replace(query,
        '{threadline:undone}', threadline.undone_condition('c', instant)),
        '{threadline:lowest}', format('%L::uuid', instant.lowest)),
        '{threadline:since}', format('%L::timestamptz', instant.since)),
        '{threadline:instant}', format('%L::threadline.past_instant', instant)),
        '{threadline:unscoped}', (scopes IS NULL)::text),
        '{threadline:scoped}', (scopes IS NOT NULL)::text),
        '{threadline:scopes}', format('%L::text[]', coalesce(scopes, '{}')));
END
$$;
COMMENT ON FUNCTION threadline.fill_past(text, threadline.past_instant, text[]) IS 'Fills an instant and the scopes in.';

-- The expression for a redacted row as jsonb, as capture writes it, over the columns of an alias.
CREATE OR REPLACE FUNCTION threadline.image_sql(relation oid, policy threadline.audited_tables, alias text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(string_agg(format('jsonb_build_object(%s)', chunk.arguments), ' || ' ORDER BY chunk.number), '''{}''::jsonb')
    -- A call takes 100 arguments.
    FROM (SELECT (k.position - 1) / 50 AS number, string_agg(format('%L, %s', k.name, k.value), ', ' ORDER BY k.position) AS arguments
        FROM (SELECT c.name, row_number() OVER (ORDER BY c.attnum) AS position, CASE WHEN c.rule = 'mask' THEN format('%L::text', policy.mask_placeholder)
                ELSE format(threadline.value_form(a.atttypid), format('%I.%I', alias, c.name)) END AS value
            FROM threadline.captured_columns(relation, policy) c JOIN pg_attribute a ON a.attrelid = relation AND a.attnum = c.attnum
            WHERE c.rule <> 'exclude') k
        GROUP BY 1) chunk
$$;
COMMENT ON FUNCTION threadline.image_sql(oid, threadline.audited_tables, text) IS 'The expression for a redacted row as jsonb.';

-- The query for the images of a table at an instant; see past_query. NULL where there is nothing to read rows from.
CREATE OR REPLACE FUNCTION threadline.past_images(of_table integer, instant threadline.past_instant, scopes text[]) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    relation CONSTANT regclass := threadline.audited_relation(of_table);
BEGIN
    IF relation IS NULL THEN
        PERFORM threadline.check_past(of_table, instant);
        RAISE EXCEPTION 'threadline: table % is not there any more', (SELECT format('%I.%I', a.schema_name, a.table_name) FROM threadline.audited_tables a WHERE a.id = of_table) USING
            ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_capture_ended', HINT = 'Its rows are told one by one, from their history.';
    END IF;
    RETURN threadline.fill_past(threadline.past_query(of_table, 'images',
        threadline.image_sql(relation, (threadline.reading_of(of_table)).policy, 'n')), instant, scopes);
END
$$;
COMMENT ON FUNCTION threadline.past_images(integer, threadline.past_instant, text[]) IS 'The query for the images of a table at an instant.';

-- The attached tables that their names alone mean on the caller's search path, each with a digest over everything that
-- travel_statements depends on. (The path is passed in because functions here pin their own.)
CREATE OR REPLACE FUNCTION threadline.travelled_tables(path name[]) RETURNS TABLE (id integer, relation oid, digest text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH attached AS MATERIALIZED (
        SELECT a.id, CASE WHEN count(*) OVER (PARTITION BY a.id) = 1 THEN t.tgrelid ELSE threadline.audited_relation(a.id)::oid END AS relation, t.tgrelid,
            md5(format('%s %s', a, (SELECT max(l.layout) FROM threadline.table_layouts l WHERE l.table_id = a.id))) AS policy
        FROM threadline.audited_tables a JOIN pg_proc f ON f.proname = 'capture_' || a.id AND f.pronamespace = 'threadline'::regnamespace
            JOIN pg_trigger t ON t.tgfoid = f.oid AND t.tgname = '!threadline_capture' AND t.tgparentid = 0
        WHERE a.attached
    )
    SELECT x.id, x.relation, md5(format('%s %s %s %s %s', x.policy, x.relation, n.nspname, c.relname,
        (SELECT string_agg(format('%s %s %s %s', a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attcollation), ',' ORDER BY a.attnum)
            FROM pg_attribute a WHERE a.attrelid = x.relation AND a.attnum > 0 AND NOT a.attisdropped)))
    FROM attached x JOIN pg_class c ON c.oid = x.relation JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE x.relation = x.tgrelid AND n.nspname = (SELECT visible.nspname FROM pg_class other JOIN pg_namespace visible ON visible.oid = other.relnamespace
        WHERE other.relname = c.relname AND visible.nspname = ANY (path) ORDER BY array_position(path, visible.nspname) LIMIT 1)
    ORDER BY x.id
$$;
COMMENT ON FUNCTION threadline.travelled_tables(name[]) IS 'The attached tables that their names alone mean on a search path.';

-- The statements that put a temporary view over a table under its name, with an instant yet to be filled in.
--
-- The view is but a name: the query is a function's, which PostgreSQL puts in the place of its call, and which is not looked at
-- before. So a view costs little that is not read, and making it locks no table: which tables a transaction has read is told by
-- its locks. The image is a function's of its own for its settings: the caller's stay as they are.
CREATE OR REPLACE FUNCTION threadline.travel_statements(of_table integer) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT ARRAY[
        format('CREATE FUNCTION pg_temp.threadline_image_%s(n %s) RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp%s AS %L',
            of_table, r.relation, threadline.output_settings(r.relation),
            format('BEGIN RETURN %s; END', threadline.image_sql(r.relation, (threadline.reading_of(of_table)).policy, 'n'))),
        -- Quoted by a digest of what is quoted, which no name in it can know.
        format('CREATE FUNCTION pg_temp.threadline_past_%1$s() RETURNS TABLE (%2$s) LANGUAGE sql STABLE AS $past_%4$s$%3$s$past_%4$s$', of_table,
            (SELECT string_agg(format('%I %s', a.attname, format_type(a.atttypid, -1)), ', ' ORDER BY a.attnum)
                FROM pg_attribute a WHERE a.attrelid = r.relation AND a.attnum > 0 AND NOT a.attisdropped),
            q.body, encode(sha256(convert_to(q.body, 'UTF8')), 'hex')),
        format('CREATE VIEW pg_temp.%I AS SELECT * FROM pg_temp.threadline_past_%s()', c.relname, of_table)]
    FROM (SELECT threadline.audited_relation(of_table)) r (relation) JOIN pg_class c ON c.oid = r.relation
        CROSS JOIN LATERAL (SELECT threadline.past_query(of_table, 'view', format('pg_temp.threadline_image_%s(n)', of_table))) q (body)
$$;
COMMENT ON FUNCTION threadline.travel_statements(integer) IS 'The statements that put a temporary view over a table, with an instant yet to be filled in.';

-- Puts temporary views over audited tables that show them as they were at an instant, and returns their numbers. The caller
-- rolls back: permanent views would keep the host from altering its tables.
CREATE OR REPLACE FUNCTION threadline.begin_travel(at timestamptz, statements text[], scopes text[]) RETURNS oid[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET check_function_bodies = off AS $$
DECLARE
    instant CONSTANT threadline.past_instant := threadline.resolve_instant(at);
    allowed text[];
BEGIN
    FOR place IN 1 .. coalesce(cardinality(statements), 0) LOOP
        allowed := CASE WHEN scopes[(place + 2) / 3] IS NOT NULL THEN ARRAY(SELECT jsonb_array_elements_text(scopes[(place + 2) / 3]::jsonb)) END;
        EXECUTE CASE WHEN statements[place] LIKE '%{threadline:%' THEN threadline.fill_past(statements[place], instant, allowed) ELSE statements[place] END;
    END LOOP;
    RETURN ARRAY(SELECT c.oid FROM pg_depend d JOIN pg_rewrite w ON w.oid = d.objid JOIN pg_class c ON c.oid = w.ev_class JOIN pg_proc f ON f.oid = d.refobjid
        WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_proc'::regclass AND c.relnamespace = pg_my_temp_schema()
            AND f.pronamespace = pg_my_temp_schema() AND f.proname LIKE 'threadline\_past\_%' ORDER BY substr(f.proname, 17)::integer);
END
$$;
COMMENT ON FUNCTION threadline.begin_travel(timestamptz, text[], text[]) IS 'Puts temporary views over audited tables that show them as they were at an instant.';

-- Drops the views of a travel that was committed, which nobody should have done.
CREATE OR REPLACE FUNCTION threadline.drop_travel() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
DECLARE
    made regprocedure;
BEGIN
    FOR made IN SELECT f.oid FROM pg_proc f WHERE f.pronamespace = pg_my_temp_schema() AND f.proname LIKE 'threadline\_%' LOOP
        EXECUTE format('DROP FUNCTION IF EXISTS %s CASCADE', made);
    END LOOP;
END
$$;
COMMENT ON FUNCTION threadline.drop_travel() IS 'Drops the views of a travel that was committed.';

-- The relations this transaction has read as they are now: locked without being system catalogs, the trail itself, or the
-- table (or a partition of it) behind one of the views that were read.
CREATE OR REPLACE FUNCTION threadline.live_relations(views oid[], relations oid[]) RETURNS TABLE (schema_name text, name text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH locked AS MATERIALIZED (
        SELECT DISTINCT l.relation FROM pg_locks l WHERE l.locktype = 'relation' AND l.pid = pg_backend_pid()
            AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
            -- What made a view holds ACCESS EXCLUSIVE on it; what has read it ACCESS SHARE too.
            AND l.mode <> 'AccessExclusiveLock'
    ), shown AS (
        SELECT v.relation FROM unnest(views, relations) v (view, relation) WHERE v.view IN (SELECT l.relation FROM locked l)
    )
    SELECT n.nspname::text, c.relname::text FROM locked l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'threadline', 'pg_toast')
        AND c.oid <> ALL (views)
        AND NOT EXISTS (SELECT FROM shown s WHERE s.relation = c.oid OR s.relation = pg_partition_root(c.oid))
    ORDER BY 1, 2
$$;
COMMENT ON FUNCTION threadline.live_relations(oid[], oid[]) IS 'The relations this transaction has read as they are now.';

REVOKE ALL ON FUNCTION threadline.resolve_instant(timestamptz), threadline.undone_condition(text, threadline.past_instant),
    threadline.check_past(integer, threadline.past_instant), threadline.reading_of(integer), threadline.since_change(jsonb, threadline.audit_changes), threadline.stay_discreet(jsonb, text),
    threadline.undo(anyarray, jsonb, text, threadline.undoing, boolean), threadline.decode_past(anyelement, jsonb, text, jsonb, text[]),
    threadline.key_value(anyelement, text, integer), threadline.past_query(integer, text, text),
    threadline.image_sql(oid, threadline.audited_tables, text), threadline.past_images(integer, threadline.past_instant, text[]),
    threadline.fill_past(text, threadline.past_instant, text[]), threadline.travelled_tables(name[]), threadline.travel_statements(integer),
    threadline.begin_travel(timestamptz, text[], text[]), threadline.drop_travel(), threadline.live_relations(oid[], oid[]) FROM PUBLIC;
-- Reading takes SELECT on the tables; these by themselves show nothing but catalogs.
GRANT EXECUTE ON FUNCTION threadline.resolve_instant(timestamptz), threadline.undone_condition(text, threadline.past_instant),
    threadline.check_past(integer, threadline.past_instant), threadline.reading_of(integer), threadline.since_change(jsonb, threadline.audit_changes), threadline.stay_discreet(jsonb, text),
    threadline.undo(anyarray, jsonb, text, threadline.undoing, boolean), threadline.decode_past(anyelement, jsonb, text, jsonb, text[]),
    threadline.key_value(anyelement, text, integer), threadline.past_query(integer, text, text),
    threadline.image_sql(oid, threadline.audited_tables, text), threadline.past_images(integer, threadline.past_instant, text[]),
    threadline.fill_past(text, threadline.past_instant, text[]), threadline.travelled_tables(name[]), threadline.travel_statements(integer),
    threadline.begin_travel(timestamptz, text[], text[]), threadline.drop_travel(), threadline.live_relations(oid[], oid[]),
    threadline.departure_column(oid, text[]), threadline.output_settings(oid) TO PUBLIC;
