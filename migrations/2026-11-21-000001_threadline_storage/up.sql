-- Threadline's storage: who did what (audit_transactions, audit_actions), what changed (audit_changes), and what is
-- recorded about the audited tables themselves. Nothing here touches the host's own tables.
--
-- Ids are time-ordered UUIDs (version 7 layout) and are the partition key, so a transaction, its action and its changes
-- lie in partitions of the same month and expire together. There are no foreign keys: capture only ever inserts.

CREATE SCHEMA IF NOT EXISTS threadline;
COMMENT ON SCHEMA threadline IS 'Audit trail written by Threadline. The application needs no privilege on its tables.';

-- Application roles call threadline.set_context; they get no right on any table.
GRANT USAGE ON SCHEMA threadline TO PUBLIC;

CREATE TABLE IF NOT EXISTS threadline.audit_transactions (
    id uuid NOT NULL,
    occurred_at timestamptz NOT NULL,
    xid xid8 NOT NULL,
    actor_type text COLLATE "C",
    actor_id text COLLATE "C",
    request_id text COLLATE "C",
    correlation_id text COLLATE "C",
    job_id text COLLATE "C",
    remote_addr text COLLATE "C",
    action_id uuid,
    db_role text COLLATE "C" NOT NULL,
    application_name text,
    client_addr inet,
    meta jsonb,
    context_error text,
    purged_until timestamptz,
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);

COMMENT ON TABLE threadline.audit_transactions IS 'One row for each database transaction that changed an audited table.';
COMMENT ON COLUMN threadline.audit_transactions.id IS 'Time-ordered UUID: milliseconds of occurred_at, random bits, and the transaction number in its last 12 digits.';
COMMENT ON COLUMN threadline.audit_transactions.occurred_at IS 'When the transaction began (UTC, microseconds).';
COMMENT ON COLUMN threadline.audit_transactions.xid IS 'Transaction number, for reading in commit order only: numbers repeat after a restore into another cluster.';
COMMENT ON COLUMN threadline.audit_transactions.actor_type IS 'user, admin, service_account, job, system or anonymous; NULL when the application named nobody.';
COMMENT ON COLUMN threadline.audit_transactions.actor_id IS 'The actor''s id in the application; NULL for anonymous and when nobody was named.';
COMMENT ON COLUMN threadline.audit_transactions.request_id IS 'Id of the request that made the change, as the application gave it.';
COMMENT ON COLUMN threadline.audit_transactions.correlation_id IS 'Id shared by everything that belongs to one piece of work.';
COMMENT ON COLUMN threadline.audit_transactions.job_id IS 'Id of the background job that made the change.';
COMMENT ON COLUMN threadline.audit_transactions.remote_addr IS 'Address of the application''s client, as the application gave it.';
COMMENT ON COLUMN threadline.audit_transactions.action_id IS 'The audit_actions row this transaction belongs to, if the application recorded one.';
COMMENT ON COLUMN threadline.audit_transactions.db_role IS 'session_user: the database role that logged in. A client cannot fake it.';
COMMENT ON COLUMN threadline.audit_transactions.application_name IS 'application_name of the database session.';
COMMENT ON COLUMN threadline.audit_transactions.client_addr IS 'Address of the database client; NULL for a unix socket.';
COMMENT ON COLUMN threadline.audit_transactions.meta IS 'Free metadata the application attached to the transaction.';
COMMENT ON COLUMN threadline.audit_transactions.context_error IS 'What was wrong with the context the application handed over; NULL when it was fine or absent.';
COMMENT ON COLUMN threadline.audit_transactions.purged_until IS 'When it captured its last change, from the moment retention has removed some of them; NULL before that.';

-- Partial: a transaction without the value costs no index entry.
CREATE INDEX IF NOT EXISTS audit_transactions_actor_idx ON threadline.audit_transactions (actor_type, actor_id, id)
    WHERE actor_type IS NOT NULL;
CREATE INDEX IF NOT EXISTS audit_transactions_correlation_idx ON threadline.audit_transactions (correlation_id, id)
    WHERE correlation_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS audit_transactions_request_idx ON threadline.audit_transactions (request_id, id)
    WHERE request_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS audit_transactions_job_idx ON threadline.audit_transactions (job_id, id)
    WHERE job_id IS NOT NULL;

CREATE TABLE IF NOT EXISTS threadline.audit_actions (
    id uuid NOT NULL,
    occurred_at timestamptz NOT NULL,
    name text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL CHECK (status IN ('ok', 'error')),
    verb text,
    category text,
    reason text,
    comment text,
    actor_type text COLLATE "C",
    actor_id text COLLATE "C",
    request_id text COLLATE "C",
    correlation_id text COLLATE "C",
    job_id text COLLATE "C",
    transaction_id uuid,
    db_role text COLLATE "C" NOT NULL,
    application_name text,
    client_addr inet,
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);

COMMENT ON TABLE threadline.audit_actions IS 'What the application said it was doing: one row for each recorded action.';
COMMENT ON COLUMN threadline.audit_actions.id IS 'Time-ordered UUID, in the same partition scheme as audit_transactions, with the milliseconds of the transaction it was recorded in.';
COMMENT ON COLUMN threadline.audit_actions.occurred_at IS 'When the action was recorded (UTC, microseconds).';
COMMENT ON COLUMN threadline.audit_actions.name IS 'Name of the action, such as post.published.';
COMMENT ON COLUMN threadline.audit_actions.status IS 'ok, or error for an attempt that failed.';
COMMENT ON COLUMN threadline.audit_actions.verb IS 'What was done, in one word.';
COMMENT ON COLUMN threadline.audit_actions.category IS 'The application''s own grouping of actions.';
COMMENT ON COLUMN threadline.audit_actions.reason IS 'Why it was done, or why it failed; never row data.';
COMMENT ON COLUMN threadline.audit_actions.comment IS 'A remark for the reader.';
COMMENT ON COLUMN threadline.audit_actions.actor_type IS 'As in audit_transactions.';
COMMENT ON COLUMN threadline.audit_actions.actor_id IS 'As in audit_transactions.';
COMMENT ON COLUMN threadline.audit_actions.request_id IS 'As in audit_transactions.';
COMMENT ON COLUMN threadline.audit_actions.correlation_id IS 'As in audit_transactions.';
COMMENT ON COLUMN threadline.audit_actions.job_id IS 'As in audit_transactions.';
COMMENT ON COLUMN threadline.audit_actions.transaction_id IS 'The transaction the action ran in; NULL for an action recorded on its own.';
COMMENT ON COLUMN threadline.audit_actions.db_role IS 'As in audit_transactions.';
COMMENT ON COLUMN threadline.audit_actions.application_name IS 'As in audit_transactions.';
COMMENT ON COLUMN threadline.audit_actions.client_addr IS 'As in audit_transactions.';

CREATE INDEX IF NOT EXISTS audit_actions_name_idx ON threadline.audit_actions (name, id);
CREATE INDEX IF NOT EXISTS audit_actions_actor_idx ON threadline.audit_actions (actor_type, actor_id, id)
    WHERE actor_type IS NOT NULL;
CREATE INDEX IF NOT EXISTS audit_actions_correlation_idx ON threadline.audit_actions (correlation_id, id)
    WHERE correlation_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS audit_actions_error_idx ON threadline.audit_actions (id) WHERE status = 'error';

-- Fixed-width columns come first, widest first, so that no byte of a row is padding between them. The payload is json and
-- not jsonb: an update of two columns takes 51 bytes less, and neither writing nor keeping it needs what jsonb is for.
CREATE TABLE IF NOT EXISTS threadline.audit_changes (
    captured_at timestamptz NOT NULL,
    transaction_id uuid NOT NULL,
    ordinal integer NOT NULL,
    table_id integer NOT NULL,
    layout integer,
    op "char" NOT NULL,
    row_key text COLLATE "C" NOT NULL,
    previous_row_key text COLLATE "C",
    scope text COLLATE "C",
    previous_scope text COLLATE "C",
    partition text COLLATE "C",
    masked text[],
    row_data json,
    diff json,
    attributes jsonb,
    PRIMARY KEY (transaction_id, ordinal)
) PARTITION BY RANGE (transaction_id);

COMMENT ON TABLE threadline.audit_changes IS 'One row for each captured row change. Payload format 1: json, written by PostgreSQL; cast it to jsonb to work with it.';
COMMENT ON COLUMN threadline.audit_changes.captured_at IS 'Clock time of the change (UTC, microseconds); it moves on within a transaction.';
COMMENT ON COLUMN threadline.audit_changes.transaction_id IS 'The audit_transactions row this change belongs to.';
COMMENT ON COLUMN threadline.audit_changes.ordinal IS 'Position within the transaction, from 1, in the order the changes were captured.';
COMMENT ON COLUMN threadline.audit_changes.table_id IS 'The audited_tables row of the changed table.';
COMMENT ON COLUMN threadline.audit_changes.layout IS 'The table_layouts row that explains the payload; NULL when the table had changed since its capture function was compiled.';
COMMENT ON COLUMN threadline.audit_changes.op IS 'I insert, U update, D delete, T truncate.';
COMMENT ON COLUMN threadline.audit_changes.row_key IS 'The row''s key after the change: one column as text, several as a JSON array of texts; empty for T. A key over 1024 bytes is stored as sha256: and its digest.';
COMMENT ON COLUMN threadline.audit_changes.previous_row_key IS 'The key before an update that changed it; NULL otherwise.';
COMMENT ON COLUMN threadline.audit_changes.scope IS 'Value of the table''s scope column after the change (before it, for D).';
COMMENT ON COLUMN threadline.audit_changes.previous_scope IS 'Value of the scope column before an update that changed it, empty for NULL; NULL when it did not change.';
COMMENT ON COLUMN threadline.audit_changes.partition IS 'The partition that was written, schema-qualified, when the audited table is partitioned.';
COMMENT ON COLUMN threadline.audit_changes.masked IS 'Names in the payload whose values are placeholders; NULL for none.';
COMMENT ON COLUMN threadline.audit_changes.row_data IS 'The whole row, redacted: new for I, old for D and for a U that changed the key; NULL otherwise.';
COMMENT ON COLUMN threadline.audit_changes.diff IS 'For U: each changed column as a pair, {"views": [5, 6]}; NULL otherwise.';
COMMENT ON COLUMN threadline.audit_changes.attributes IS 'Without a layout: the relation, and attribute number and type of each column in the payload, {"relation": 16384, "columns": {"views": [3, "integer"]}}; NULL otherwise.';

-- The order of reading is (captured_at, transaction_id, ordinal), but the indexes end at captured_at: it hardly ever ties,
-- an incremental sort puts ties in order, and the two columns would cost every change 70 bytes.
CREATE INDEX IF NOT EXISTS audit_changes_row_idx ON threadline.audit_changes (table_id, row_key, captured_at);
CREATE INDEX IF NOT EXISTS audit_changes_time_idx ON threadline.audit_changes (captured_at);
CREATE INDEX IF NOT EXISTS audit_changes_table_idx ON threadline.audit_changes (table_id, captured_at);
-- There is one more for the scope, made when the first table declares one: even an unused partial index costs each change.

-- Beside the changes rather than an index on them, which nearly no change would use and every change would pay for.
CREATE TABLE IF NOT EXISTS threadline.audit_key_changes (
    transaction_id uuid NOT NULL,
    ordinal integer NOT NULL,
    table_id integer NOT NULL,
    previous_row_key text COLLATE "C" NOT NULL,
    PRIMARY KEY (table_id, previous_row_key, transaction_id, ordinal)
) PARTITION BY RANGE (transaction_id);

COMMENT ON TABLE threadline.audit_key_changes IS 'One row for each change of a row''s key: finds the change by the key the row left.';
COMMENT ON COLUMN threadline.audit_key_changes.transaction_id IS 'With ordinal, the audit_changes row.';
COMMENT ON COLUMN threadline.audit_key_changes.ordinal IS 'With transaction_id, the audit_changes row.';
COMMENT ON COLUMN threadline.audit_key_changes.table_id IS 'The audited_tables row of the changed table.';
COMMENT ON COLUMN threadline.audit_key_changes.previous_row_key IS 'As in audit_changes.';

-- What a table held and no longer holds has to be found by its key as the table has it: time travel hands filters and joins on
-- a key on to these columns. A deleted row is in no index of its table, and the row_key of its change is of another type.
CREATE TABLE IF NOT EXISTS threadline.audit_departures (
    captured_at timestamptz NOT NULL,
    transaction_id uuid NOT NULL,
    ordinal integer NOT NULL,
    table_id integer NOT NULL,
    row_key text COLLATE "C" NOT NULL,
    key_int4 integer,
    key_int8 bigint,
    key_uuid uuid,
    key_text text
) PARTITION BY RANGE (transaction_id);

COMMENT ON TABLE threadline.audit_departures IS 'One row for each time a key lost its row, to a delete or to a change of the key.';
COMMENT ON COLUMN threadline.audit_departures.captured_at IS 'Clock time right after that of the change (UTC, microseconds).';
COMMENT ON COLUMN threadline.audit_departures.transaction_id IS 'With ordinal, the audit_changes row.';
COMMENT ON COLUMN threadline.audit_departures.ordinal IS 'With transaction_id, the audit_changes row.';
COMMENT ON COLUMN threadline.audit_departures.table_id IS 'The audited_tables row of the changed table.';
COMMENT ON COLUMN threadline.audit_departures.row_key IS 'The key the row left, as in audit_changes.';
COMMENT ON COLUMN threadline.audit_departures.key_int4 IS 'The first key column, where it is an integer.';
COMMENT ON COLUMN threadline.audit_departures.key_int8 IS 'The first key column, where it is a bigint.';
COMMENT ON COLUMN threadline.audit_departures.key_uuid IS 'The first key column, where it is a uuid.';
COMMENT ON COLUMN threadline.audit_departures.key_text IS 'The first key column, where it is text or varchar.';

CREATE INDEX IF NOT EXISTS audit_departures_table_idx ON threadline.audit_departures (table_id, captured_at);
CREATE INDEX IF NOT EXISTS audit_departures_int4_idx ON threadline.audit_departures (table_id, key_int4) WHERE key_int4 IS NOT NULL;
CREATE INDEX IF NOT EXISTS audit_departures_int8_idx ON threadline.audit_departures (table_id, key_int8) WHERE key_int8 IS NOT NULL;
CREATE INDEX IF NOT EXISTS audit_departures_uuid_idx ON threadline.audit_departures (table_id, key_uuid) WHERE key_uuid IS NOT NULL;
-- Keys may be long; an entry of this kind is short whatever the key.
CREATE INDEX IF NOT EXISTS audit_departures_text_idx ON threadline.audit_departures USING hash (key_text) WHERE key_text IS NOT NULL;

-- What lets the changes of one actor (or action, request, …) be read in the order of captured_at a page at a time: an index
-- finds transactions in the order they began, and one that is not named here captured all its changes within two seconds.
CREATE TABLE IF NOT EXISTS threadline.audit_long_transactions (
    doublings smallint NOT NULL,
    transaction_id uuid NOT NULL,
    PRIMARY KEY (doublings, transaction_id)
) PARTITION BY RANGE (transaction_id);

COMMENT ON TABLE threadline.audit_long_transactions IS 'Transactions that captured a change two seconds or more after they began.';
COMMENT ON COLUMN threadline.audit_long_transactions.doublings IS 'Its changes lie within 2 seconds * 2 ^ doublings of its beginning, or there is a row with more; one row for each that it came to need.';
COMMENT ON COLUMN threadline.audit_long_transactions.transaction_id IS 'The audit_transactions row.';

CREATE TABLE IF NOT EXISTS threadline.audited_tables (
    id integer PRIMARY KEY,
    schema_name text COLLATE "C" NOT NULL,
    table_name text COLLATE "C" NOT NULL,
    key_columns text[] NOT NULL,
    declared_key text[] NOT NULL,
    exclude text[] NOT NULL,
    mask text[] NOT NULL,
    mask_placeholder text NOT NULL,
    ignore text[] NOT NULL,
    scope_column text COLLATE "C",
    on_truncate text NOT NULL CHECK (on_truncate IN ('record', 'keep', 'refuse')),
    actor_policy text NOT NULL CHECK (actor_policy IN ('allow', 'require')),
    layout integer NOT NULL,
    function_digest text NOT NULL,
    read_key text NOT NULL,
    read_row text NOT NULL,
    attached boolean NOT NULL,
    changed_at timestamptz NOT NULL
);

COMMENT ON TABLE threadline.audited_tables IS 'Every table that is or was audited, with the policy its capture function was compiled from.';
COMMENT ON COLUMN threadline.audited_tables.id IS 'Identity of the table in the trail: it survives renames, restores and re-creation under the same name.';
COMMENT ON COLUMN threadline.audited_tables.schema_name IS 'Schema when the capture function was last compiled.';
COMMENT ON COLUMN threadline.audited_tables.table_name IS 'Name when the capture function was last compiled.';
COMMENT ON COLUMN threadline.audited_tables.key_columns IS 'Columns of the row key, in order.';
COMMENT ON COLUMN threadline.audited_tables.declared_key IS 'The key as declared to attach; empty when the primary key is used.';
COMMENT ON COLUMN threadline.audited_tables.exclude IS 'Columns that are never stored.';
COMMENT ON COLUMN threadline.audited_tables.mask IS 'Columns stored as the placeholder.';
COMMENT ON COLUMN threadline.audited_tables.mask_placeholder IS 'What stands for a masked value.';
COMMENT ON COLUMN threadline.audited_tables.ignore IS 'Columns whose change alone is not worth a record.';
COMMENT ON COLUMN threadline.audited_tables.scope_column IS 'The column copied into audit_changes.scope, if any.';
COMMENT ON COLUMN threadline.audited_tables.on_truncate IS 'record: one marker; keep: every row as a delete; refuse: TRUNCATE fails.';
COMMENT ON COLUMN threadline.audited_tables.actor_policy IS 'allow, or require: a write without an actor fails.';
COMMENT ON COLUMN threadline.audited_tables.layout IS 'The table_layouts row the capture function was compiled for.';
COMMENT ON COLUMN threadline.audited_tables.function_digest IS 'md5 of the compiled function''s body and settings, to notice one altered by hand.';
COMMENT ON COLUMN threadline.audited_tables.read_key IS 'The query for the stored form of a key, $1 as {column: text}, while the table is as it was when compiled.';
COMMENT ON COLUMN threadline.audited_tables.read_row IS 'The query for image and scope of the row with a key, $1, with %s for the table, while the table is as it was when compiled.';
COMMENT ON COLUMN threadline.audited_tables.attached IS 'Whether attach has been called and detach has not.';
COMMENT ON COLUMN threadline.audited_tables.changed_at IS 'When this row last changed.';

CREATE TABLE IF NOT EXISTS threadline.table_layouts (
    table_id integer NOT NULL,
    layout integer NOT NULL,
    recorded_at timestamptz NOT NULL,
    relation_oid oid NOT NULL,
    format smallint NOT NULL,
    digest text NOT NULL,
    columns jsonb NOT NULL,
    PRIMARY KEY (table_id, layout)
);

COMMENT ON TABLE threadline.table_layouts IS 'The columns a table had each time its capture function was compiled, so old payloads stay explained.';
COMMENT ON COLUMN threadline.table_layouts.table_id IS 'The audited_tables row.';
COMMENT ON COLUMN threadline.table_layouts.layout IS 'Number of the layout within its table, from 1.';
COMMENT ON COLUMN threadline.table_layouts.recorded_at IS 'When it was recorded.';
COMMENT ON COLUMN threadline.table_layouts.relation_oid IS 'Number of the relation then; a restore changes it, and attribute numbers with it.';
COMMENT ON COLUMN threadline.table_layouts.format IS 'Version of the payload format.';
COMMENT ON COLUMN threadline.table_layouts.digest IS 'Digest over names, types and order of the columns.';
COMMENT ON COLUMN threadline.table_layouts.columns IS 'Array of {"id", "attnum", "name", "type"}; id stays with a column through renames.';

CREATE TABLE IF NOT EXISTS threadline.redacted_columns (
    table_id integer NOT NULL,
    column_id integer NOT NULL,
    rule text,
    unsure boolean NOT NULL DEFAULT false,
    restored boolean NOT NULL DEFAULT false,
    PRIMARY KEY (table_id, column_id)
);

COMMENT ON TABLE threadline.redacted_columns IS 'The columns a table''s policy masks or excludes, and those it did until they were dropped: what was captured of them before stays redacted.';
COMMENT ON COLUMN threadline.redacted_columns.table_id IS 'The audited_tables row.';
COMMENT ON COLUMN threadline.redacted_columns.column_id IS 'The column''s id in table_layouts.columns.';
COMMENT ON COLUMN threadline.redacted_columns.rule IS 'mask or exclude: the rule in force, or the last one before the column was dropped; NULL for none.';
COMMENT ON COLUMN threadline.redacted_columns.unsure IS 'Whether a restore has left unclear which column of today it is: what was captured of it before is masked where anything is.';
COMMENT ON COLUMN threadline.redacted_columns.restored IS 'Whether the rule was in force before a restore: it stays for what was captured until then, also when it is lifted.';

CREATE TABLE IF NOT EXISTS threadline.capture_periods (
    table_id integer NOT NULL,
    began_at timestamptz NOT NULL,
    ended_at timestamptz,
    PRIMARY KEY (table_id, began_at)
);

COMMENT ON TABLE threadline.capture_periods IS 'When capture of a table began and, after detach, ended: outside these periods the trail knows nothing.';
COMMENT ON COLUMN threadline.capture_periods.table_id IS 'The audited_tables row.';
COMMENT ON COLUMN threadline.capture_periods.began_at IS 'First instant that is covered.';
COMMENT ON COLUMN threadline.capture_periods.ended_at IS 'First instant that is no longer covered; NULL while capture goes on.';

-- The smallest id a transaction that began at `instant` (rounded down to the millisecond) can have.
CREATE OR REPLACE FUNCTION threadline.first_id_at(instant timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
    SELECT (lpad(to_hex(floor(extract(epoch FROM instant) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid
$$;
COMMENT ON FUNCTION threadline.first_id_at(timestamptz) IS 'Lower bound of the ids of transactions that began at or after an instant.';

-- When the transaction with this id began, to the millisecond.
CREATE OR REPLACE FUNCTION threadline.instant_of(id uuid) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
    SELECT to_timestamp(('x' || lpad(left(replace(id::text, '-', ''), 12), 16, '0'))::bit(64)::bigint / 1000.0)
$$;
COMMENT ON FUNCTION threadline.instant_of(uuid) IS 'When the transaction with this id began, to the millisecond.';

-- Keeps monthly partitions ahead of time and returns how many were made (for each of the six tables).
--
-- The last partition of each table ends at MAXVALUE, so a write never lacks one. While that tail is empty, splitting a
-- month off it moves nothing. A tail that rows have reached (maintenance was neglected) is closed as it is, up to the
-- month after its newest row, and a new tail begins there; PostgreSQL then scans it once to check its bound.
--
-- Takes ACCESS EXCLUSIVE on the six tables for the moment of the split. It gives up after half a second of waiting for
-- one of them, which is before PostgreSQL would look for a deadlock and might end a writer instead; call it again then.
--
-- Ids more than a month ahead are nobody's present: such rows move to the new tail, and never set its bound.
CREATE OR REPLACE FUNCTION threadline.maintain() RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '500ms'
SET standard_conforming_strings = on
SET TimeZone = 'UTC' AS $$
DECLARE
    parents CONSTANT text[] := ARRAY['audit_transactions', 'audit_actions', 'audit_long_transactions', 'audit_changes', 'audit_key_changes',
        'audit_departures'];
    runway CONSTANT timestamptz := date_trunc('month', now()) + interval '3 months';
    parent text;
    begins timestamptz;
    ends timestamptz;
    newest timestamptz;
    here timestamptz;
    label text;
    part record;
    made integer := 0;
BEGIN
    -- Install: the month we are in reaches back to MINVALUE.
    IF NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'threadline.audit_changes'::regclass) THEN
        begins := date_trunc('month', now()) + interval '1 month';
        FOREACH parent IN ARRAY parents LOOP
            EXECUTE format('CREATE TABLE threadline.%I PARTITION OF threadline.%I FOR VALUES FROM (MINVALUE) TO (%L)',
                parent || to_char(begins - interval '1 month', '"_"YYYY_MM'), parent, threadline.first_id_at(begins));
            EXECUTE format('CREATE TABLE threadline.%I PARTITION OF threadline.%I FOR VALUES FROM (%L) TO (MAXVALUE)',
                parent || '_tail', parent, threadline.first_id_at(begins));
        END LOOP;
        made := 1;
    END IF;

    LOOP
        SELECT threadline.instant_of((regexp_match(pg_get_expr(relpartbound, oid), 'FROM \(''([0-9a-f-]{36})''\)'))[1]::uuid)
            INTO STRICT begins FROM pg_class WHERE oid = 'threadline.audit_changes_tail'::regclass;
        EXIT WHEN begins >= runway;
        -- Writers lock the tables in this order.
        LOCK TABLE threadline.audit_transactions, threadline.audit_actions, threadline.audit_long_transactions, threadline.audit_changes,
            threadline.audit_key_changes, threadline.audit_departures IN ACCESS EXCLUSIVE MODE;
        newest := NULL;
        FOREACH parent IN ARRAY parents LOOP
            EXECUTE format('SELECT threadline.instant_of(%1$I) FROM threadline.%2$I WHERE %1$I < %3$L ORDER BY %1$I DESC LIMIT 1',
                CASE WHEN parent IN ('audit_transactions', 'audit_actions') THEN 'id' ELSE 'transaction_id' END, parent || '_tail',
                threadline.first_id_at(greatest(now(), begins) + interval '1 month')) INTO here;
            newest := greatest(newest, here);
        END LOOP;
        ends := date_trunc('month', greatest(newest, begins)) + interval '1 month';
        -- After long neglect, one partition for all the months that have nothing: each takes its time while writers wait.
        IF newest IS NULL AND ends < date_trunc('month', now()) THEN
            ends := date_trunc('month', now());
        END IF;
        label := to_char(begins, '"_"YYYY_MM') || CASE WHEN ends > begins + interval '1 month'
            THEN to_char(ends - interval '1 month', '"_to_"YYYY_MM') ELSE '' END;
        FOREACH parent IN ARRAY parents LOOP
            EXECUTE format('ALTER TABLE threadline.%I DETACH PARTITION threadline.%I', parent, parent || '_tail');
            IF newest IS NULL THEN
                EXECUTE format('CREATE TABLE threadline.%I PARTITION OF threadline.%I FOR VALUES FROM (%L) TO (%L)',
                    parent || label, parent, threadline.first_id_at(begins), threadline.first_id_at(ends));
                EXECUTE format('ALTER TABLE threadline.%I ATTACH PARTITION threadline.%I FOR VALUES FROM (%L) TO (MAXVALUE)',
                    parent, parent || '_tail', threadline.first_id_at(ends));
            ELSE
                EXECUTE format('ALTER TABLE threadline.%I RENAME TO %I', parent || '_tail', parent || label);
                EXECUTE format('CREATE TABLE threadline.%I PARTITION OF threadline.%I FOR VALUES FROM (%L) TO (MAXVALUE)',
                    parent || '_tail', parent, threadline.first_id_at(ends));
                EXECUTE format('WITH moved AS (DELETE FROM threadline.%1$I WHERE %2$I >= %3$L RETURNING *) INSERT INTO threadline.%4$I SELECT * FROM moved',
                    parent || label, CASE WHEN parent IN ('audit_transactions', 'audit_actions') THEN 'id' ELSE 'transaction_id' END, threadline.first_id_at(ends), parent || '_tail');
                EXECUTE format('ALTER TABLE threadline.%I ATTACH PARTITION threadline.%I FOR VALUES FROM (%L) TO (%L)',
                    parent, parent || label, threadline.first_id_at(begins), threadline.first_id_at(ends));
            END IF;
        END LOOP;
        made := made + 1;
    END LOOP;
    IF to_regprocedure('threadline.fill_gaps()') IS NOT NULL THEN
        EXECUTE 'SELECT threadline.fill_gaps()';
    END IF;
    -- A member of the owner's role may call it; what it made is the owner's all the same.
    FOR part IN
        SELECT c.oid::regclass AS relation, pg_get_userbyid(p.relowner) AS owner
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
        WHERE p.relnamespace = 'threadline'::regnamespace AND p.relname = ANY (parents) AND c.relowner <> p.relowner AND pg_get_userbyid(c.relowner) = current_user
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO %I', part.relation, part.owner);
    END LOOP;
    RETURN made;
END
$$;
COMMENT ON FUNCTION threadline.maintain() IS 'Keeps three months of partitions ahead of time; call it at least monthly. Returns how many months were added.';

REVOKE ALL ON FUNCTION threadline.first_id_at(timestamptz), threadline.instant_of(uuid), threadline.maintain() FROM PUBLIC;

SELECT threadline.maintain();
