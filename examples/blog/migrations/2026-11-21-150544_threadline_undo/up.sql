-- Undo: what planning the inverse of captured changes needs of the database. The planning itself is the library's. These run
-- with the rights of the caller, who needs SELECT on the audit tables and on the audited tables. Nothing here writes.

-- What a table is today, as far as writing its rows back is concerned: its name and columns, the key, and the unique
-- indexes and foreign keys that say in which order rows can be written. NULL when the table is gone or no longer audited.
-- An index that is partial or over an expression is left out: it does not say by columns alone when two rows are alike.
CREATE OR REPLACE FUNCTION threadline.undo_shape(of_table integer) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS $$
    SELECT jsonb_build_object('relation', c.oid::bigint, 'schema', n.nspname, 'name', c.relname,
        'only', c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid),
        'readable', has_table_privilege(c.oid, 'SELECT'),
        'key', to_jsonb(threadline.key_now(a)),
        'columns', (SELECT jsonb_agg(jsonb_build_object('name', k.attname, 'type', format_type(k.atttypid, k.atttypmod), 'generated', k.attgenerated <> '',
                'always_identity', k.attidentity = 'a', 'required', k.attnotnull AND NOT k.atthasdef AND k.attidentity = '', 'nullable', NOT k.attnotnull,
                'base', format_type(threadline.base_type(k.atttypid), -1)) ORDER BY k.attnum)
            FROM pg_attribute k WHERE k.attrelid = c.oid AND k.attnum > 0 AND NOT k.attisdropped),
        'uniques', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', x.relname, 'columns', u.columns,
                'deferrable', (SELECT format('%I.%I', n.nspname, o.conname) FROM pg_constraint o WHERE o.conindid = i.indexrelid AND o.conrelid = c.oid
                    AND o.contype IN ('p', 'u') AND o.condeferrable)) ORDER BY x.relname), '[]')
            FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid, LATERAL (
                SELECT jsonb_agg(k.attname ORDER BY p.position) AS columns FROM unnest(i.indkey::smallint[]) WITH ORDINALITY p (attnum, position)
                    JOIN pg_attribute k ON k.attrelid = c.oid AND k.attnum = p.attnum WHERE p.position <= i.indnkeyatts) u
            WHERE i.indrelid = c.oid AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL),
        'foreign_keys', (SELECT coalesce(jsonb_agg(jsonb_build_object('id', o.oid::bigint, 'name', o.conname, 'child', o.conrelid::bigint, 'parent', o.confrelid::bigint,
                'child_columns', (SELECT jsonb_agg(k.attname ORDER BY p.position) FROM unnest(o.conkey) WITH ORDINALITY p (attnum, position)
                    JOIN pg_attribute k ON k.attrelid = o.conrelid AND k.attnum = p.attnum),
                'parent_columns', (SELECT jsonb_agg(k.attname ORDER BY p.position) FROM unnest(o.confkey) WITH ORDINALITY p (attnum, position)
                    JOIN pg_attribute k ON k.attrelid = o.confrelid AND k.attnum = p.attnum),
                'cascades', o.confupdtype = 'c',
                'deferrable', (SELECT format('%I.%I', s.nspname, o.conname) FROM pg_namespace s WHERE s.oid = o.connamespace AND o.condeferrable)) ORDER BY o.oid), '[]')
            FROM pg_constraint o WHERE o.contype = 'f' AND o.conparentid = 0 AND c.oid IN (o.conrelid, o.confrelid)))
    FROM threadline.audited_tables a JOIN pg_class c ON c.oid = threadline.audited_relation(a.id) JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE a.id = of_table
$$;
COMMENT ON FUNCTION threadline.undo_shape(integer) IS 'What a table is today, as far as writing its rows back is concerned.';

-- The rows with these keys as they are now, in the form capture gives them and redacted. A key is an array of texts in the
-- order of the key columns; what is not there is left out.
CREATE OR REPLACE FUNCTION threadline.present_images(of_table integer, keys jsonb[]) RETURNS TABLE (place bigint, image text)
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
    now CONSTANT text[] := threadline.key_now(stored);
BEGIN
    IF now IS NULL OR NOT has_table_privilege(relation, 'SELECT') THEN
        RETURN;
    END IF;
    RETURN QUERY EXECUTE format('SELECT k.place, (%s)::text FROM unnest($1) WITH ORDINALITY k (key, place) JOIN %s %s AS OLD ON %s',
        threadline.image_expression(relation, threadline.carried_policy(relation, stored, threadline.recorded_layout(of_table, stored.layout), true), 'OLD'),
        (SELECT CASE c.relkind WHEN 'p' THEN '' ELSE 'ONLY' END FROM pg_class c WHERE c.oid = relation), relation,
        (SELECT string_agg(format('OLD.%I = (k.key ->> %s)::%s', c.name, c.place - 1, format_type(threadline.base_type(a.atttypid), -1)), ' AND ')
            FROM unnest(now) WITH ORDINALITY c (name, place) JOIN pg_attribute a ON a.attrelid = relation AND a.attname = c.name))
        USING keys;
END
$$;
COMMENT ON FUNCTION threadline.present_images(integer, jsonb[]) IS 'The rows with these keys as they are now, in the form capture gives them and redacted.';

-- Captured values as the texts their columns' types write, which is also what those types read: equal texts are equal bytes.
-- `given` are values as they stand in the payload, `columns` today's names of the columns they are of. From the json and not
-- from jsonb, which has no negative zero. Where a value does not fit the column's type of today, `problem` says why.
-- Capture writes SQL NULL and the JSON value null alike; where the column is NOT NULL it was the latter.
CREATE OR REPLACE FUNCTION threadline.column_texts(of_table integer, columns text[], given text[]) RETURNS TABLE (place bigint, value text, problem text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC'
SET extra_float_digits = 1
SET IntervalStyle = 'postgres'
SET DateStyle = 'ISO, YMD'
SET bytea_output = 'hex'
SET lc_monetary = 'C' AS $$
DECLARE
    relation CONSTANT regclass := threadline.audited_relation(of_table);
    of_column record;
    statement text;
    alone bigint;
BEGIN
    FOR of_column IN
        SELECT a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS type, threadline.goes_in_as_it_is(a.atttypid) AS as_it_is,
            threadline.output_form(a.atttypid) AS form, a.attnotnull AND threadline.base_type(a.atttypid) = 'jsonb'::regtype AS never_null
        FROM pg_attribute a WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = ANY (columns)
    LOOP
        statement := format(CASE WHEN of_column.as_it_is
                THEN 'SELECT g.place, %1$s, NULL::text FROM unnest($1, $2) WITH ORDINALITY g (name, given, place) CROSS JOIN LATERAL json_to_record(json_build_object(''v'', g.given::json)) AS r (v %2$s) WHERE g.name = %3$L'
                ELSE 'SELECT g.place, %1$s, NULL::text FROM unnest($1, $2) WITH ORDINALITY g (name, given, place) CROSS JOIN LATERAL (SELECT CAST(g.given::json #>> ''{}'' AS %2$s)) AS r (v) WHERE g.name = %3$L' END,
            format(CASE WHEN of_column.never_null THEN 'coalesce(%s, ''null'')' ELSE '%s' END, format(of_column.form, 'r.v')), of_column.type, of_column.name);
        BEGIN
            RETURN QUERY EXECUTE statement USING columns, given;
        EXCEPTION WHEN data_exception OR integrity_constraint_violation OR datatype_mismatch OR feature_not_supported OR cannot_coerce THEN
            -- One by one. What was returned before the error may come again, and says the same.
            FOR place IN SELECT g.place FROM unnest(columns) WITH ORDINALITY g (name, place) WHERE g.name = of_column.name LOOP
                BEGIN
                    EXECUTE statement INTO STRICT alone, value, problem USING columns[place:place], given[place:place];
                EXCEPTION WHEN data_exception OR integrity_constraint_violation OR datatype_mismatch OR feature_not_supported OR cannot_coerce THEN
                    value := NULL;
                    problem := SQLERRM;
                END;
                RETURN NEXT;
            END LOOP;
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION threadline.column_texts(integer, text[], text[]) IS 'Captured values as the texts their columns'' types write and read.';

-- The rows that refer to one of these rows through a foreign key: `parents` are arrays of texts in the order of the
-- columns referred to. Rows whose keys are among `leaving` are left out. The child's key in its stored form, NULL when its
-- table is not audited; ten rows at most for each parent. Says nothing of a table the caller may not read.
CREATE OR REPLACE FUNCTION threadline.referring_rows(foreign_key oid, parents jsonb[], leaving text[]) RETURNS TABLE (place bigint, row_key text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET row_security = off
SET TimeZone = 'UTC'
SET DateStyle = 'ISO, YMD' AS $$
DECLARE
    child CONSTANT regclass := (SELECT o.conrelid FROM pg_constraint o WHERE o.oid = foreign_key);
    -- On its own: in the condition of a query it may be asked for every audited table.
    of_table CONSTANT integer := threadline.table_id(child);
    audited CONSTANT threadline.audited_tables := (SELECT a FROM threadline.audited_tables a WHERE a.id = of_table);
BEGIN
    IF child IS NULL OR NOT has_table_privilege(child, 'SELECT') THEN
        RETURN;
    END IF;
    RETURN QUERY EXECUTE format('SELECT n.place, n.row_key FROM (
            SELECT k.place, c.row_key, row_number() OVER (PARTITION BY k.place ORDER BY c.row_key) AS number
            FROM unnest($1) WITH ORDINALITY k (key, place) JOIN %s AS r ON %s CROSS JOIN LATERAL (SELECT (%s)::text) AS c (row_key)
                LEFT JOIN unnest($2) AS l (row_key) ON l.row_key = c.row_key
            WHERE l.row_key IS NULL) n WHERE n.number <= 10 ORDER BY n.place, n.number', child,
        (SELECT string_agg(format('r.%I = (k.key ->> %s)::%s', c.attname, position - 1, format_type(threadline.base_type(p.atttypid), -1)), ' AND ')
            FROM pg_constraint o, unnest(o.conkey, o.confkey) WITH ORDINALITY u (child_attnum, parent_attnum, position)
                JOIN pg_attribute c ON c.attnum = u.child_attnum JOIN pg_attribute p ON p.attnum = u.parent_attnum
            WHERE o.oid = foreign_key AND c.attrelid = o.conrelid AND p.attrelid = o.confrelid),
        coalesce(threadline.key_expression(child, threadline.key_now(audited), 'r'), 'NULL'))
        USING parents, leaving;
END
$$;
COMMENT ON FUNCTION threadline.referring_rows(oid, jsonb[], text[]) IS 'The rows that refer to one of these rows through a foreign key.';


REVOKE ALL ON FUNCTION threadline.undo_shape(integer), threadline.present_images(integer, jsonb[]), threadline.column_texts(integer, text[], text[]),
    threadline.referring_rows(oid, jsonb[], text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION threadline.undo_shape(integer), threadline.present_images(integer, jsonb[]), threadline.column_texts(integer, text[], text[]),
    threadline.referring_rows(oid, jsonb[], text[]) TO PUBLIC;
