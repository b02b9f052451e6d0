-- Retention: what goes when, what a hold keeps, what has gone, and who removed it. Only the owner of the schema runs it.
--
-- What is removed as one are all changes of one transaction to one table, a unit: a transaction is as old as the last change it
-- captured in any table, and until it is older than a table's window, nothing of it leaves that table. So an instant at or
-- after the end of the newest transaction that left a table, is answered from that table as if nothing had gone.

-- Who wants what kept, and why. All that is given has to match; a hold that names nothing holds everything.
CREATE TABLE IF NOT EXISTS threadline.legal_holds (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_id integer,
    row_key text COLLATE "C" CHECK (row_key IS NULL OR table_id IS NOT NULL),
    scope text COLLATE "C",
    actor_type text COLLATE "C",
    actor_id text COLLATE "C" CHECK (actor_id IS NULL OR actor_type IS NOT NULL),
    held_from timestamptz,
    held_to timestamptz CHECK (held_to >= held_from),
    placed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    placed_by jsonb NOT NULL,
    reason text NOT NULL CHECK (reason <> ''),
    released_at timestamptz,
    released_by jsonb,
    release_reason text CHECK (release_reason <> ''),
    CHECK ((released_at IS NULL) = (released_by IS NULL) AND (released_at IS NULL) = (release_reason IS NULL))
);
COMMENT ON TABLE threadline.legal_holds IS 'What retention must not remove while it is held. Rows are never deleted.';
COMMENT ON COLUMN threadline.legal_holds.id IS 'Number of the hold.';
COMMENT ON COLUMN threadline.legal_holds.table_id IS 'Holds changes of this audited_tables row; NULL for any.';
COMMENT ON COLUMN threadline.legal_holds.row_key IS 'Holds changes of the row with this key, and TRUNCATEs of its table; NULL for any.';
COMMENT ON COLUMN threadline.legal_holds.scope IS 'Holds changes of rows of this tenant, before or after the change; NULL for any.';
COMMENT ON COLUMN threadline.legal_holds.actor_type IS 'Holds what this actor did; NULL for any.';
COMMENT ON COLUMN threadline.legal_holds.actor_id IS 'With actor_type; NULL for anonymous.';
COMMENT ON COLUMN threadline.legal_holds.held_from IS 'Holds what was captured at this instant or later; NULL for any time.';
COMMENT ON COLUMN threadline.legal_holds.held_to IS 'Holds what was captured at this instant or earlier; NULL for any time.';
COMMENT ON COLUMN threadline.legal_holds.placed_at IS 'When it was placed.';
COMMENT ON COLUMN threadline.legal_holds.placed_by IS 'Who placed it, {"type", "id"}.';
COMMENT ON COLUMN threadline.legal_holds.reason IS 'Why.';
COMMENT ON COLUMN threadline.legal_holds.released_at IS 'When it was released; NULL while it holds.';
COMMENT ON COLUMN threadline.legal_holds.released_by IS 'Who released it, {"type", "id"}.';
COMMENT ON COLUMN threadline.legal_holds.release_reason IS 'Why it was released.';

CREATE TABLE IF NOT EXISTS threadline.retention_runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'completed', 'failed', 'abandoned')),
    asked_by jsonb NOT NULL,
    error text,
    resumes bigint,
    backend_pid integer NOT NULL,
    backend_start timestamptz,
    heartbeat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    silence_limit interval NOT NULL,
    policy jsonb NOT NULL,
    changes bigint NOT NULL DEFAULT 0,
    transactions bigint NOT NULL DEFAULT 0,
    actions bigint NOT NULL DEFAULT 0,
    months bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    exports bigint NOT NULL DEFAULT 0,
    evidence bigint NOT NULL DEFAULT 0,
    access_log bigint NOT NULL DEFAULT 0,
    baseline_rows bigint NOT NULL DEFAULT 0,
    runs bigint NOT NULL DEFAULT 0,
    left_for_later text[] NOT NULL DEFAULT '{}',
    looks bigint NOT NULL DEFAULT 1,
    batches bigint NOT NULL DEFAULT 0,
    batch_rows bigint NOT NULL DEFAULT 0,
    batch_time interval NOT NULL DEFAULT '00:00:00',
    month_time interval NOT NULL DEFAULT '00:00:00'
);
-- One at a time, whatever the sessions do.
CREATE UNIQUE INDEX IF NOT EXISTS retention_runs_running_idx ON threadline.retention_runs (state) WHERE state = 'running';
COMMENT ON TABLE threadline.retention_runs IS 'One row for each run of retention that removed something or failed, and one for those in a row that found nothing due.';
COMMENT ON COLUMN threadline.retention_runs.id IS 'Number of the run.';
COMMENT ON COLUMN threadline.retention_runs.started_at IS 'When it began.';
COMMENT ON COLUMN threadline.retention_runs.ended_at IS 'When it ended; of one that died, when it was last heard of; NULL while it runs.';
COMMENT ON COLUMN threadline.retention_runs.state IS 'running, completed, failed, or abandoned: it died, and a later run noticed.';
COMMENT ON COLUMN threadline.retention_runs.asked_by IS 'Who asked for it, {"type", "id"}.';
COMMENT ON COLUMN threadline.retention_runs.error IS 'What kind of error ended it; NULL for none.';
COMMENT ON COLUMN threadline.retention_runs.resumes IS 'The run that had died before it.';
COMMENT ON COLUMN threadline.retention_runs.backend_pid IS 'The server process it was last heard of from.';
COMMENT ON COLUMN threadline.retention_runs.backend_start IS 'When that process began, which tells it from a later one with its number.';
COMMENT ON COLUMN threadline.retention_runs.heartbeat_at IS 'When it was last heard of.';
COMMENT ON COLUMN threadline.retention_runs.silence_limit IS 'Not heard of for so long, it is dead.';
COMMENT ON COLUMN threadline.retention_runs.policy IS 'The instants before which things went, by table and action.';
COMMENT ON COLUMN threadline.retention_runs.changes IS 'audit_changes rows that went.';
COMMENT ON COLUMN threadline.retention_runs.transactions IS 'audit_transactions rows that went.';
COMMENT ON COLUMN threadline.retention_runs.actions IS 'audit_actions rows that went.';
COMMENT ON COLUMN threadline.retention_runs.months IS 'Partitions that were dropped, the six tables'' counted as one.';
COMMENT ON COLUMN threadline.retention_runs.bytes IS 'Bytes that dropped partitions gave back to the disk.';
COMMENT ON COLUMN threadline.retention_runs.exports IS 'Export jobs that expired.';
COMMENT ON COLUMN threadline.retention_runs.evidence IS 'Evidence rows that expired.';
COMMENT ON COLUMN threadline.retention_runs.access_log IS 'Access-log rows that expired.';
COMMENT ON COLUMN threadline.retention_runs.baseline_rows IS 'Rows of recorded baselines that expired.';
COMMENT ON COLUMN threadline.retention_runs.runs IS 'Rows of this table that expired.';
COMMENT ON COLUMN threadline.retention_runs.left_for_later IS 'Months it did not look through to their end, for a later run: another session was at work on them, or transactions were open that may still read them.';
COMMENT ON COLUMN threadline.retention_runs.looks IS 'How many runs it stands for: one after the other that found nothing due are one row, from the beginning of the first to the end of the last.';
COMMENT ON COLUMN threadline.retention_runs.batches IS 'Batches.';
COMMENT ON COLUMN threadline.retention_runs.batch_rows IS 'Rows of the trail that went in batches.';
COMMENT ON COLUMN threadline.retention_runs.batch_time IS 'How long the batches took, without the pauses.';
COMMENT ON COLUMN threadline.retention_runs.month_time IS 'How long dropping partitions took, archives included.';

CREATE TABLE IF NOT EXISTS threadline.retention_months (
    first_id uuid PRIMARY KEY,
    end_id uuid NOT NULL,
    label text COLLATE "C" NOT NULL,
    state text NOT NULL CHECK (state IN ('leaving', 'restored', 'filled', 'released')),
    since timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE threadline.retention_months IS 'Partitions on their way out, and months that are there for reading with what an archive has of them.';
COMMENT ON COLUMN threadline.retention_months.first_id IS 'Lower bound of the partitions; the lowest id there is for MINVALUE.';
COMMENT ON COLUMN threadline.retention_months.end_id IS 'Upper bound of the partitions, exclusive.';
COMMENT ON COLUMN threadline.retention_months.label IS 'What the names of the six partitions end in.';
COMMENT ON COLUMN threadline.retention_months.state IS 'leaving: to be dropped once nothing speaks against it; restored: attached from an archive; filled: it had stayed, and what had left it was put back; released: to be dropped again.';
COMMENT ON COLUMN threadline.retention_months.since IS 'When that was decided.';
CREATE UNIQUE INDEX IF NOT EXISTS retention_months_label_key ON threadline.retention_months (label);

CREATE TABLE IF NOT EXISTS threadline.retention_purges (
    table_id integer NOT NULL,
    first_id uuid NOT NULL,
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('thinned', 'dropped')),
    until timestamptz NOT NULL,
    archived boolean NOT NULL DEFAULT false,
    restored boolean NOT NULL DEFAULT false,
    PRIMARY KEY (table_id, first_id, kind)
);
COMMENT ON TABLE threadline.retention_purges IS 'What has gone: one row for each table and month, written with or before the removal; and one each for the transactions and the actions of a month.';
COMMENT ON COLUMN threadline.retention_purges.table_id IS 'The audited_tables row of the changes that left; 0 for transactions, -1 for actions.';
COMMENT ON COLUMN threadline.retention_purges.first_id IS 'Lower bound of the partition; the lowest id there is for MINVALUE.';
COMMENT ON COLUMN threadline.retention_purges.kind IS 'thinned: some of its rows; dropped: the whole partition.';
COMMENT ON COLUMN threadline.retention_purges.until IS 'End of the newest transaction that left: from then on the table''s past is known. Of transactions and actions, right after the newest that left.';
COMMENT ON COLUMN threadline.retention_purges.archived IS 'Whether all of it is in an archive.';
COMMENT ON COLUMN threadline.retention_purges.restored IS 'Whether an archive has brought it back.';
CREATE INDEX IF NOT EXISTS retention_purges_until_idx ON threadline.retention_purges (table_id, until) WHERE NOT restored;

CREATE TABLE IF NOT EXISTS threadline.retention_archives (
    object text COLLATE "C" PRIMARY KEY,
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('month', 'part')),
    label text COLLATE "C" NOT NULL,
    first_id uuid NOT NULL,
    end_id uuid NOT NULL,
    run bigint,
    archived_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    tables jsonb NOT NULL,
    bytes bigint NOT NULL CHECK (bytes > 0),
    text_bytes bigint NOT NULL CHECK (text_bytes >= 0),
    longest_line bigint NOT NULL CHECK (longest_line >= 0),
    sha256 text COLLATE "C" NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    returned_at timestamptz
);
COMMENT ON TABLE threadline.retention_archives IS 'What an archive has: one row for each month and each batch, written in the transaction that removes it.';
COMMENT ON COLUMN threadline.retention_archives.object IS 'Name in the archive; of a month that of its manifest.';
COMMENT ON COLUMN threadline.retention_archives.kind IS 'month: the six tables of a partition that left as a whole; part: what a batch removed.';
COMMENT ON COLUMN threadline.retention_archives.label IS 'What the names of the six partitions end in.';
COMMENT ON COLUMN threadline.retention_archives.first_id IS 'Lower bound of the partitions; the lowest id there is for MINVALUE.';
COMMENT ON COLUMN threadline.retention_archives.end_id IS 'Upper bound of the partitions, exclusive.';
COMMENT ON COLUMN threadline.retention_archives.run IS 'The run that removed it; NULL when none did.';
COMMENT ON COLUMN threadline.retention_archives.archived_at IS 'When it was removed.';
COMMENT ON COLUMN threadline.retention_archives.tables IS '{"<table>": {"rows", "sha256", "bytes", "text_bytes", "longest_line"}}, of a part the rows alone.';
COMMENT ON COLUMN threadline.retention_archives.bytes IS 'Bytes of its objects.';
COMMENT ON COLUMN threadline.retention_archives.text_bytes IS 'Bytes of its lines before compression; no more of them is read.';
COMMENT ON COLUMN threadline.retention_archives.longest_line IS 'Bytes of the longest of its lines, without the line feed.';
COMMENT ON COLUMN threadline.retention_archives.sha256 IS 'Of a month over its manifest, of a part over its lines before compression; in hexadecimal.';
COMMENT ON COLUMN threadline.retention_archives.returned_at IS 'When the part was put back into its month, to be archived anew should it leave again; NULL while the archive is what has it.';
CREATE INDEX IF NOT EXISTS retention_archives_label_idx ON threadline.retention_archives (label);

CREATE TABLE IF NOT EXISTS threadline.retention_numbers (
    numbering integer PRIMARY KEY,
    newest xid8 NOT NULL
);
COMMENT ON TABLE threadline.retention_numbers IS 'The highest transaction number of which something has gone, for the feed.';
COMMENT ON COLUMN threadline.retention_numbers.numbering IS 'As in trail_clusters.';
COMMENT ON COLUMN threadline.retention_numbers.newest IS 'The number.';

-- The instant from which on a table's past is known as far as retention goes; NULL when nothing of it has gone.
CREATE OR REPLACE FUNCTION threadline.purged_until(of_table integer) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT max(p.until) FROM threadline.retention_purges p WHERE p.table_id = of_table AND NOT p.restored
$$;
COMMENT ON FUNCTION threadline.purged_until(integer) IS 'The instant from which on retention has left a table''s past whole, or for 0 the transactions, for -1 the actions; NULL when nothing has gone.';

-- Fails when changes that were captured after an instant have gone.
CREATE OR REPLACE FUNCTION threadline.check_kept(of_table integer, at timestamptz) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' AS $$
DECLARE
    until CONSTANT timestamptz := threadline.purged_until(of_table);
BEGIN
    IF at < until THEN
        RAISE EXCEPTION 'threadline: table % is known from % on, not at %; retention has removed what was before',
                (SELECT format('%I.%I', a.schema_name, a.table_name) FROM threadline.audited_tables a WHERE a.id = of_table), until, at USING
            ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_before_horizon', HINT = 'Ask about a later instant.';
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION threadline.check_kept(integer, timestamptz) IS 'Fails when changes that were captured after an instant have gone.';

-- The six tables, in the order in which a month leaves them: a change goes before the transaction that explains it.
CREATE OR REPLACE FUNCTION threadline.trail_tables() RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT ARRAY['audit_departures', 'audit_key_changes', 'audit_changes', 'audit_long_transactions', 'audit_actions', 'audit_transactions']
$$;
COMMENT ON FUNCTION threadline.trail_tables() IS 'The six tables of the trail, in the order in which a month leaves them.';

-- The months of the trail, oldest first: what the names of their six partitions end in, their bounds (NULL for none), whether
-- a detach was begun and not ended, and whether it fills a gap that nothing but a clock that was set back leads to.
CREATE OR REPLACE FUNCTION threadline.partitions()
RETURNS TABLE (label text, first_id uuid, end_id uuid, pending boolean, filler boolean, row_estimate bigint, size_bytes bigint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.label, p.first_id, p.end_id, p.pending, p.label LIKE '\_filler\_%', s.row_estimate, s.size_bytes
    FROM (SELECT substr(c.relname, 14) AS label, (regexp_match(b.bound, 'FROM \(''([0-9a-f-]{36})''\)'))[1]::uuid AS first_id,
                (regexp_match(b.bound, 'TO \(''([0-9a-f-]{36})''\)'))[1]::uuid AS end_id, i.inhdetachpending AS pending
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid CROSS JOIN LATERAL (SELECT pg_get_expr(c.relpartbound, c.oid)) b (bound)
            WHERE i.inhparent = to_regclass('threadline.audit_changes')) p
        CROSS JOIN LATERAL (SELECT sum(CASE WHEN pg_relation_size(c.oid) = 0 THEN 0 WHEN c.reltuples > 0 THEN c.reltuples END) FILTER (WHERE c.relname = 'audit_changes' || p.label)::bigint AS row_estimate,
                sum(pg_total_relation_size(c.oid))::bigint AS size_bytes
            FROM pg_class c WHERE c.relnamespace = 'threadline'::regnamespace
                AND c.relname = ANY (ARRAY(SELECT parent || p.label FROM unnest(threadline.trail_tables()) parent))) s
    ORDER BY p.first_id NULLS FIRST
$$;
COMMENT ON FUNCTION threadline.partitions() IS 'The months of the trail, with their bounds, an estimate of their changes (0 for none at all, NULL while PostgreSQL has not counted them), and the bytes of all six tables.';

-- The instant before which something is due: a table or action with a window of its own has its own, all else that of `keep`;
-- NULL for what is kept for ever.
CREATE OR REPLACE FUNCTION threadline.retention_cutoff(policy jsonb, kind text, name text) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT (CASE WHEN policy -> kind ? name THEN policy -> kind ->> name ELSE policy ->> 'keep' END)::timestamptz
$$;
COMMENT ON FUNCTION threadline.retention_cutoff(jsonb, text, text) IS 'The instant before which something is due; NULL for what is kept for ever.';

-- The condition that change `c` is held, over the transactions of its partition; with `hold` by that one, with `any_scope` whatever
-- its tenant is. Read it under a lock on legal_holds.
CREATE OR REPLACE FUNCTION threadline.held_changes(transactions text, hold bigint DEFAULT NULL, any_scope boolean DEFAULT false) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' AS $$
    SELECT coalesce(string_agg('(' || concat_ws(' AND ', 'true',
        CASE WHEN h.table_id IS NOT NULL THEN format('c.table_id = %s', h.table_id) END,
        CASE WHEN h.row_key IS NOT NULL THEN format('(c.row_key = %1$L OR c.previous_row_key = %1$L OR c.op = ''T'')', h.row_key) END,
        CASE WHEN h.scope IS NOT NULL AND NOT any_scope THEN format('(c.scope = %1$L OR c.previous_scope = %1$L OR c.op = ''T'')', h.scope) END,
        CASE WHEN h.held_from IS NOT NULL THEN format('c.captured_at >= %L::timestamptz', h.held_from) END,
        CASE WHEN h.held_to IS NOT NULL THEN format('c.captured_at <= %L::timestamptz', h.held_to) END,
        CASE WHEN h.actor_type IS NOT NULL THEN format('EXISTS (SELECT FROM threadline.%I held WHERE held.id = c.transaction_id AND held.actor_type = %L AND held.actor_id IS NOT DISTINCT FROM %L)',
            transactions, h.actor_type, h.actor_id) END) || ')', ' OR '), 'false')
    FROM threadline.legal_holds h WHERE h.released_at IS NULL AND (hold IS NULL OR h.id = hold)
$$;
COMMENT ON FUNCTION threadline.held_changes(text, bigint, boolean) IS 'The condition that a change, called c, is held.';

-- The condition that transaction or action `x` is held by itself, whatever it changed; with `hold` by that one.
CREATE OR REPLACE FUNCTION threadline.held_alone(hold bigint DEFAULT NULL) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' AS $$
    SELECT coalesce(string_agg('(' || concat_ws(' AND ', 'true',
        CASE WHEN h.held_from IS NOT NULL THEN format('x.occurred_at >= %L::timestamptz', h.held_from) END,
        CASE WHEN h.held_to IS NOT NULL THEN format('x.occurred_at <= %L::timestamptz', h.held_to) END,
        CASE WHEN h.actor_type IS NOT NULL THEN format('(x.actor_type = %L AND x.actor_id IS NOT DISTINCT FROM %L)', h.actor_type, h.actor_id) END) || ')', ' OR '), 'false')
    FROM threadline.legal_holds h WHERE h.released_at IS NULL AND h.table_id IS NULL AND h.row_key IS NULL AND h.scope IS NULL AND (hold IS NULL OR h.id = hold)
$$;
COMMENT ON FUNCTION threadline.held_alone(bigint) IS 'The condition that a transaction or an action, called x, is held by itself.';

-- The stored form of a key that a hold names. Of a table that is gone, by what was known of its key when its capture was compiled.
CREATE OR REPLACE FUNCTION threadline.hold_key(of_table integer, key jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' AS $$
DECLARE
    audited CONSTANT threadline.audited_tables := (SELECT a FROM threadline.audited_tables a WHERE a.id = of_table);
    stored text;
BEGIN
    IF threadline.audited_relation(of_table) IS NULL AND jsonb_strip_nulls(key) = key
        AND ARRAY(SELECT k FROM jsonb_object_keys(key) k ORDER BY k) = ARRAY(SELECT c FROM unnest(audited.key_columns) c ORDER BY c) THEN
        BEGIN
            EXECUTE audited.read_key INTO stored USING key;
            RETURN stored;
        EXCEPTION WHEN undefined_object OR undefined_function OR invalid_schema_name THEN
            -- A type that went with the table: the key is taken as it is written.
        END;
    END IF;
    RETURN threadline.row_key(of_table, key);
END
$$;
COMMENT ON FUNCTION threadline.hold_key(integer, jsonb) IS 'The stored form of a key that a hold names.';

-- How much a hold pins now: changes, actions by themselves, and, where it names a tenant, the changes that all else of it matches in
-- tables with a tenant column, which were captured before that was declared and say no tenant.
CREATE OR REPLACE FUNCTION threadline.hold_matches(hold bigint, OUT changes bigint, OUT actions bigint, OUT unscoped bigint)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' AS $$
BEGIN
    EXECUTE format('SELECT count(*) FROM threadline.audit_changes c WHERE %s', threadline.held_changes('audit_transactions', hold)) INTO changes;
    EXECUTE format('SELECT count(*) FROM threadline.audit_actions x WHERE %s', threadline.held_alone(hold)) INTO actions;
    unscoped := 0;
    IF (SELECT h.scope IS NOT NULL FROM threadline.legal_holds h WHERE h.id = hold) THEN
        EXECUTE format('SELECT count(*) FROM threadline.audit_changes c WHERE c.scope IS NULL AND c.previous_scope IS NULL AND c.op <> ''T''
            AND c.table_id IN (SELECT a.id FROM threadline.audited_tables a WHERE a.scope_column IS NOT NULL) AND (%s)', threadline.held_changes('audit_transactions', hold, true)) INTO unscoped;
    END IF;
END
$$;
COMMENT ON FUNCTION threadline.hold_matches(bigint) IS 'How much a hold pins now.';

-- The query for the units of one table that are due and may go, as (id, ended), among the transactions that query `source`
-- yields: the whole transaction ended before `cutoff`, none of its actions is kept for longer, and no change of the unit is held.
CREATE OR REPLACE FUNCTION threadline.due_units(label text, of_table integer, cutoff timestamptz, policy jsonb, source text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' AS $$
    -- An action has the milliseconds of its transaction in its id.
    SELECT format($query$SELECT u.id, e.ended FROM (%1$s) u (id) CROSS JOIN LATERAL (SELECT greatest(
            (SELECT c.captured_at FROM threadline.%2$I c WHERE c.transaction_id = u.id ORDER BY c.ordinal DESC LIMIT 1),
            (SELECT t.purged_until FROM threadline.%3$I t WHERE t.id = u.id))) e (ended)
        WHERE e.ended < %4$L::timestamptz
            AND NOT EXISTS (SELECT FROM threadline.%2$I c WHERE c.transaction_id = u.id AND c.table_id = %5$s AND (%6$s))%7$s$query$,
        source, 'audit_changes' || label, 'audit_transactions' || label, cutoff, of_table, threadline.held_changes('audit_transactions' || label),
        CASE WHEN policy -> 'actions' <> '{}' THEN format($kept$ AND NOT EXISTS (SELECT FROM threadline.%1$I a
                WHERE a.id >= overlay(u.id::text PLACING '-0000-0000-000000000000' FROM 14)::uuid AND a.id <= overlay(u.id::text PLACING '-ffff-ffff-ffffffffffff' FROM 14)::uuid
                    AND a.transaction_id = u.id AND %2$L::jsonb ? a.name AND NOT coalesce(e.ended < (%2$L::jsonb ->> a.name)::timestamptz, false))$kept$,
            'audit_actions' || label, policy -> 'actions') ELSE '' END)
$$;
COMMENT ON FUNCTION threadline.due_units(text, integer, timestamptz, jsonb, text) IS 'The query for the units of a table that are due and may go.';

-- The condition that action `a` is due and may go: with a window of its own by that, else after the changes of its transaction.
CREATE OR REPLACE FUNCTION threadline.due_action(label text, policy jsonb, remaining text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' AS $$
    SELECT format($condition$coalesce(a.occurred_at < (CASE WHEN %1$L::jsonb ? a.name THEN %1$L::jsonb ->> a.name ELSE %2$L END)::timestamptz, false)
        AND (%1$L::jsonb ? a.name OR NOT EXISTS (%3$s)) AND NOT EXISTS (SELECT FROM (SELECT a.*) x WHERE %4$s)
        AND NOT EXISTS (SELECT FROM threadline.%5$I c WHERE c.transaction_id = a.transaction_id AND (%6$s))$condition$,
        policy -> 'actions', policy ->> 'keep', remaining, threadline.held_alone(), 'audit_changes' || label, threadline.held_changes('audit_transactions' || label))
$$;
COMMENT ON FUNCTION threadline.due_action(text, jsonb, text) IS 'The condition that an action, called a, is due and may go.';

-- Says that a run goes on, and fails when another has taken it for dead. Nobody places a hold until the transaction ends.
CREATE OR REPLACE FUNCTION threadline.retention_beat(run bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    LOCK TABLE threadline.legal_holds IN SHARE MODE;
    UPDATE threadline.retention_runs r SET heartbeat_at = clock_timestamp(), backend_pid = pg_backend_pid(),
            backend_start = (SELECT a.backend_start FROM pg_stat_activity a WHERE a.pid = pg_backend_pid())
        WHERE r.id = run AND r.state = 'running';
    IF run IS NOT NULL AND NOT FOUND THEN
        RAISE EXCEPTION 'threadline: retention run % was taken for dead, and another has gone on with its work', run USING
            ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_retention_superseded', HINT = 'Look at the newer run in threadline.retention_runs.';
    END IF;
END
$$;
COMMENT ON FUNCTION threadline.retention_beat(bigint) IS 'Says that a run goes on, and fails when another has taken it for dead.';

-- Begins a run, unless one is alive. A run is dead when the server process it was last heard of from is gone, or when it has
-- been silent for longer than it said it would be; the new one goes on with its work.
CREATE OR REPLACE FUNCTION threadline.begin_retention(asked_by jsonb, policy jsonb, silence_limit interval, OUT run bigint, OUT resumes bigint)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    other threadline.retention_runs;
    busy boolean;
BEGIN
    SELECT r.* INTO other FROM threadline.retention_runs r WHERE r.state = 'running' FOR UPDATE SKIP LOCKED;
    IF FOUND THEN
        -- Other roles' sessions are there without their beginning.
        busy := other.heartbeat_at + other.silence_limit > clock_timestamp() AND EXISTS (SELECT FROM pg_stat_activity a
            WHERE a.pid = other.backend_pid AND coalesce(a.backend_start = other.backend_start, true));
        IF NOT busy THEN
            UPDATE threadline.retention_runs r SET state = 'abandoned', ended_at = r.heartbeat_at, error = 'died' WHERE r.id = other.id;
            resumes := other.id;
        END IF;
    ELSE
        -- Its row is locked by a batch of its own.
        busy := EXISTS (SELECT FROM threadline.retention_runs r WHERE r.state = 'running');
    END IF;
    IF NOT busy THEN
        INSERT INTO threadline.retention_runs (asked_by, policy, silence_limit, resumes, backend_pid, backend_start)
        SELECT begin_retention.asked_by, begin_retention.policy, begin_retention.silence_limit, begin_retention.resumes, a.pid, a.backend_start
        FROM pg_stat_activity a WHERE a.pid = pg_backend_pid()
        ON CONFLICT DO NOTHING RETURNING id INTO run;
    END IF;
    IF run IS NULL THEN
        RAISE EXCEPTION 'threadline: retention is running already' USING ERRCODE = 'object_in_use', CONSTRAINT = 'threadline_retention_running',
            HINT = 'Wait for it to end; threadline.retention_runs says who began it.';
    END IF;
END
$$;
COMMENT ON FUNCTION threadline.begin_retention(jsonb, jsonb, interval) IS 'Begins a run of retention, unless one is alive.';

-- Has a run that completed and removed nothing be part of the one before it, if that was such a run of the same actor's. Returns the
-- run that stands for it.
CREATE OR REPLACE FUNCTION threadline.fold_idle(run bigint) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_run threadline.retention_runs;
    stands_for_it bigint;
BEGIN
    SELECT r.* INTO STRICT of_run FROM threadline.retention_runs r WHERE r.id = run;
    UPDATE threadline.retention_runs e SET looks = e.looks + 1, ended_at = of_run.ended_at, heartbeat_at = of_run.heartbeat_at, policy = of_run.policy
        WHERE e.id = (SELECT max(r.id) FROM threadline.retention_runs r WHERE r.id < run) AND e.asked_by = of_run.asked_by
            AND 2 = (SELECT count(*) FROM threadline.retention_runs r WHERE r.id IN (e.id, run) AND r.state = 'completed' AND r.resumes IS NULL
                AND r.changes + r.transactions + r.actions + r.months + r.exports + r.evidence + r.access_log + r.runs = 0 AND r.left_for_later = '{}')
        RETURNING e.id INTO stands_for_it;
    IF stands_for_it IS NULL THEN
        RETURN run;
    END IF;
    DELETE FROM threadline.retention_runs r WHERE r.id = run;
    RETURN stands_for_it;
END
$$;
COMMENT ON FUNCTION threadline.fold_idle(bigint) IS 'Has a run that found nothing due be part of the one before it, if that was such a run.';

-- Remembers for the feed that something of these transactions goes.
CREATE OR REPLACE FUNCTION threadline.note_numbers(ids uuid[], xids xid8[]) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO threadline.retention_numbers AS n
    SELECT numbered.numbering, max(numbered.xid::text::numeric)::text::xid8
    FROM (SELECT gone.xid, (SELECT c.numbering FROM threadline.trail_clusters c WHERE c.first_id <= gone.id ORDER BY c.place DESC LIMIT 1)
        FROM unnest(ids, xids) gone (id, xid) WHERE gone.xid IS NOT NULL) numbered (xid, numbering)
    WHERE numbered.numbering IS NOT NULL GROUP BY numbered.numbering
    ON CONFLICT (numbering) DO UPDATE SET newest = CASE WHEN n.newest > EXCLUDED.newest THEN n.newest ELSE EXCLUDED.newest END
$$;
COMMENT ON FUNCTION threadline.note_numbers(uuid[], xid8[]) IS 'Remembers for the feed that something of these transactions goes.';

-- The query for rows of a common table expression as lines of JSON, as an archive takes them. A line feed in JSON is space between tokens.
CREATE OR REPLACE FUNCTION threadline.leaving_lines(parent text, source text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format($query$SELECT %1$L AS parent, replace(row_to_json(%2$I)::text, E'\n', ' ') AS line FROM %2$I$query$, parent, source)
$$;
COMMENT ON FUNCTION threadline.leaving_lines(text, text) IS 'The query for rows as lines of JSON, as an archive takes them.';

-- Remembers what an archive has of a partition, in the transaction that removes it: {"object", "kind", "tables", "bytes", "sha256"}.
CREATE OR REPLACE FUNCTION threadline.note_archive(run bigint, label text, archive jsonb) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO threadline.retention_archives (object, kind, label, first_id, end_id, run, tables, bytes, text_bytes, longest_line, sha256)
    SELECT archive ->> 'object', archive ->> 'kind', note_archive.label, b.first_id, b.end_id, note_archive.run, archive -> 'tables', (archive ->> 'bytes')::bigint,
        (archive ->> 'text_bytes')::bigint, (archive ->> 'longest_line')::bigint, archive ->> 'sha256'
    FROM (SELECT m.first_id, m.end_id FROM threadline.retention_months m WHERE m.label = note_archive.label
        UNION ALL SELECT coalesce(p.first_id, '00000000-0000-0000-0000-000000000000'), p.end_id FROM threadline.partitions() p WHERE p.label = note_archive.label LIMIT 1) b
$$;
COMMENT ON FUNCTION threadline.note_archive(bigint, text, jsonb) IS 'Remembers what an archive has of a partition.';

-- Takes a month for the rest of this transaction, unless another has it: what removes from a month and what restores it take turns.
CREATE OR REPLACE FUNCTION threadline.take_month(label text) RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_try_advisory_xact_lock(hashtextextended('threadline month ' || label, 0))
$$;
COMMENT ON FUNCTION threadline.take_month(text) IS 'Takes a month for the rest of this transaction, unless another has it.';

-- As take_month, for what removes from a month: false, too, when it is on its way out, or there from an archive.
CREATE OR REPLACE FUNCTION threadline.take_month_to_remove(label text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT threadline.take_month(label) THEN
        RETURN false;
    END IF;
    -- A statement of its own, which sees what whoever had it before has committed.
    RETURN NOT EXISTS (SELECT FROM threadline.retention_months m WHERE m.label = take_month_to_remove.label);
END
$$;
COMMENT ON FUNCTION threadline.take_month_to_remove(text) IS 'Takes a month to remove from it, unless another has it or it is there from an archive.';

-- One batch of one table in one partition: takes the next `batch_rows` old changes after a position and deletes the units they
-- belong to that may go, with what is theirs, and transactions of which nothing is left. `more` says whether to go on from
-- (last_at, last_id); `taken`, that another session has the month. Call it in a transaction of its own, which is whole by itself. With `archiving`, each row that is deleted
-- is in the caller's temporary table threadline_leaving (parent, line) then, to be archived before the transaction commits.
CREATE OR REPLACE FUNCTION threadline.retention_batch(run bigint, label text, of_table integer, policy jsonb, after_at timestamptz, after_id uuid, batch_rows integer, archiving boolean,
    OUT changes bigint, OUT transactions bigint, OUT row_count bigint, OUT last_at timestamptz, OUT last_id uuid, OUT more boolean, OUT taken boolean)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' AS $$
DECLARE
    cutoff CONSTANT timestamptz := threadline.retention_cutoff(policy, 'tables', of_table::text);
    picked uuid[];
    units uuid[];
    ends timestamptz[];
    numbers xid8[];
    counted bigint;
BEGIN
    changes := 0;
    transactions := 0;
    row_count := 0;
    more := false;
    PERFORM threadline.retention_beat(run);
    -- What is restored at this moment, or has been since the run looked, is for the next run to judge.
    taken := NOT threadline.take_month_to_remove(label);
    IF taken THEN
        RETURN;
    END IF;
    EXECUTE format('WITH due AS MATERIALIZED (SELECT c.captured_at, c.transaction_id FROM threadline.%I c
            WHERE c.table_id = $1 AND c.captured_at < $2 AND (c.captured_at, c.transaction_id) > ($3, $4) ORDER BY c.captured_at, c.transaction_id LIMIT $5)
        SELECT (SELECT array_agg(DISTINCT d.transaction_id) FROM due d), (SELECT count(*) FROM due) = $5, l.captured_at, l.transaction_id
        FROM (SELECT d.* FROM due d ORDER BY d.captured_at DESC, d.transaction_id DESC LIMIT 1) l', 'audit_changes' || label)
        INTO picked, more, last_at, last_id USING of_table, cutoff, coalesce(after_at, '-infinity'), coalesce(after_id, '00000000-0000-0000-0000-000000000000'), batch_rows;
    more := coalesce(more, false);
    IF picked IS NULL THEN
        RETURN;
    END IF;
    EXECUTE format('SELECT array_agg(d.id), array_agg(d.ended) FROM (%s) d', threadline.due_units(label, of_table, cutoff, policy, 'SELECT unnest($1)'))
        INTO units, ends USING picked;
    IF units IS NULL THEN
        RETURN;
    END IF;
    -- A departure is noted right after its change; what a halted machine put further off goes with the partition.
    EXECUTE format('WITH unit AS MATERIALIZED (SELECT u.id FROM unnest($1) u (id)),
        gone AS (DELETE FROM threadline.%1$I c USING unit u WHERE c.transaction_id = u.id AND c.table_id = $2
            RETURNING c.*),
        keys AS (DELETE FROM threadline.%2$I m USING gone g WHERE m.table_id = $2 AND m.previous_row_key = g.previous_row_key
            AND m.transaction_id = g.transaction_id AND m.ordinal = g.ordinal RETURNING m.*),
        departures AS (DELETE FROM threadline.%3$I d USING gone g WHERE d.table_id = $2 AND d.captured_at >= (SELECT min(captured_at) FROM gone)
            AND d.captured_at <= (SELECT max(captured_at) FROM gone) + interval ''1 hour'' AND d.transaction_id = g.transaction_id AND d.ordinal = g.ordinal RETURNING d.*)%4$s
        SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM keys) + (SELECT count(*) FROM departures)',
        'audit_changes' || label, 'audit_key_changes' || label, 'audit_departures' || label,
        CASE WHEN archiving THEN format(', lines AS (INSERT INTO pg_temp.threadline_leaving (parent, line) %s UNION ALL %s UNION ALL %s)',
            threadline.leaving_lines('audit_changes', 'gone'), threadline.leaving_lines('audit_key_changes', 'keys'), threadline.leaving_lines('audit_departures', 'departures')) ELSE '' END) INTO changes, counted USING units, of_table;
    row_count := changes + counted;
    INSERT INTO threadline.retention_purges AS p (table_id, first_id, kind, until, archived)
    SELECT of_table, coalesce((SELECT m.first_id FROM threadline.partitions() m WHERE m.label = retention_batch.label), '00000000-0000-0000-0000-000000000000'), 'thinned', max(e.ended), archiving
    FROM unnest(ends) e (ended)
    ON CONFLICT (table_id, first_id, kind) DO UPDATE SET until = greatest(p.until, EXCLUDED.until), archived = p.archived AND EXCLUDED.archived, restored = false;
    EXECUTE format('SELECT array_agg(t.id), array_agg(t.xid) FROM threadline.%I t WHERE t.id = ANY ($1)', 'audit_transactions' || label) INTO picked, numbers USING units;
    PERFORM threadline.note_numbers(picked, numbers);
    transactions := threadline.remove_empty(label, units, archiving);
    row_count := row_count + transactions;
    -- What is left of a transaction goes on having ended when it did.
    EXECUTE format('UPDATE threadline.%I t SET purged_until = greatest(t.purged_until, u.ended) FROM unnest($1, $2) u (id, ended) WHERE t.id = u.id', 'audit_transactions' || label)
        USING units, ends;
    UPDATE threadline.retention_runs r SET changes = r.changes + retention_batch.changes, transactions = r.transactions + retention_batch.transactions,
        batches = r.batches + 1, batch_rows = r.batch_rows + row_count, batch_time = r.batch_time + (clock_timestamp() - now()) WHERE r.id = run;
END
$$;
COMMENT ON FUNCTION threadline.retention_batch(bigint, text, integer, jsonb, timestamptz, uuid, integer, boolean) IS 'Deletes the next batch of one table''s changes that are due.';

-- Remembers that transactions (0) or actions (-1) have left a partition that stays, the newest of them from this instant.
CREATE OR REPLACE FUNCTION threadline.note_thinned(label text, of_kind integer, newest timestamptz, archiving boolean) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO threadline.retention_purges AS p (table_id, first_id, kind, until, archived)
    SELECT of_kind, coalesce((SELECT (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([0-9a-f-]{36})''\)'))[1]::uuid FROM pg_class c
            WHERE c.oid = to_regclass(format('threadline.%I', 'audit_changes' || label))), '00000000-0000-0000-0000-000000000000'), 'thinned', newest + interval '1 microsecond', archiving
    ON CONFLICT (table_id, first_id, kind) DO UPDATE SET until = greatest(p.until, EXCLUDED.until), archived = p.archived AND EXCLUDED.archived, restored = false
$$;
COMMENT ON FUNCTION threadline.note_thinned(text, integer, timestamptz, boolean) IS 'Remembers that transactions or actions have left a partition that stays.';

-- Removes those of the transactions that have neither changes nor actions left and are not held, and returns how many.
CREATE OR REPLACE FUNCTION threadline.remove_empty(label text, ids uuid[], archiving boolean) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    removed uuid[];
    newest timestamptz;
BEGIN
    EXECUTE format('WITH gone AS (DELETE FROM threadline.%1$I x USING unnest($1) u (id) WHERE x.id = u.id
            AND NOT EXISTS (SELECT FROM threadline.%2$I c WHERE c.transaction_id = u.id)
            AND NOT EXISTS (SELECT FROM threadline.%3$I a WHERE a.id >= overlay(u.id::text PLACING ''-0000-0000-000000000000'' FROM 14)::uuid
                AND a.id <= overlay(u.id::text PLACING ''-ffff-ffff-ffffffffffff'' FROM 14)::uuid AND a.transaction_id = u.id)
            AND NOT (%4$s) RETURNING x.*)%5$s SELECT coalesce(array_agg(gone.id), ''{}''), max(gone.occurred_at) FROM gone',
        'audit_transactions' || label, 'audit_changes' || label, 'audit_actions' || label, threadline.held_alone(),
        CASE WHEN archiving THEN format(', lines AS (INSERT INTO pg_temp.threadline_leaving (parent, line) %s)', threadline.leaving_lines('audit_transactions', 'gone')) ELSE '' END) INTO removed, newest USING ids;
    IF removed = '{}' THEN
        RETURN 0;
    END IF;
    PERFORM threadline.note_thinned(label, 0, newest, archiving);
    EXECUTE format('WITH gone AS (DELETE FROM threadline.%I l WHERE l.transaction_id = ANY ($1) RETURNING l.*) %s', 'audit_long_transactions' || label,
        CASE WHEN archiving THEN 'INSERT INTO pg_temp.threadline_leaving (parent, line) ' || threadline.leaving_lines('audit_long_transactions', 'gone') ELSE 'SELECT count(*) FROM gone' END) USING removed;
    RETURN cardinality(removed);
END
$$;
COMMENT ON FUNCTION threadline.remove_empty(text, uuid[], boolean) IS 'Removes transactions of which nothing is left.';

-- As retention_batch, for the actions of a partition, in the order of their ids.
CREATE OR REPLACE FUNCTION threadline.retention_actions(run bigint, label text, policy jsonb, after_id uuid, batch_rows integer, archiving boolean,
    OUT actions bigint, OUT transactions bigint, OUT last_id uuid, OUT more boolean, OUT taken boolean)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' AS $$
DECLARE
    gone uuid[];
    numbers xid8[];
    of_transactions uuid[];
    newest timestamptz;
BEGIN
    actions := 0;
    transactions := 0;
    more := false;
    PERFORM threadline.retention_beat(run);
    taken := NOT threadline.take_month_to_remove(label);
    IF taken THEN
        RETURN;
    END IF;
    EXECUTE format('SELECT array_agg(d.id), array_agg(CASE WHEN d.transaction_id IS NULL THEN d.xid END), array_agg(DISTINCT d.transaction_id) FILTER (WHERE d.transaction_id IS NOT NULL), (array_agg(d.id ORDER BY d.id DESC))[1], max(d.occurred_at)
        FROM (SELECT a.id, a.xid, a.transaction_id, a.occurred_at FROM threadline.%I a WHERE a.id > $1 AND a.id < threadline.first_id_at($2) AND %s ORDER BY a.id LIMIT $3) d',
        'audit_actions' || label, threadline.due_action(label, policy, format('SELECT FROM threadline.%I c WHERE c.transaction_id = a.transaction_id', 'audit_changes' || label)))
        INTO gone, numbers, of_transactions, last_id, newest USING coalesce(after_id, '00000000-0000-0000-0000-000000000000'), (policy ->> 'newest')::timestamptz, batch_rows;
    actions := coalesce(cardinality(gone), 0);
    transactions := 0;
    more := actions = batch_rows;
    IF actions = 0 THEN
        RETURN;
    END IF;
    PERFORM threadline.note_numbers(gone, numbers);
    EXECUTE format('WITH gone AS (DELETE FROM threadline.%I a WHERE a.id = ANY ($1) RETURNING a.*) %s', 'audit_actions' || label,
        CASE WHEN archiving THEN 'INSERT INTO pg_temp.threadline_leaving (parent, line) ' || threadline.leaving_lines('audit_actions', 'gone') ELSE 'SELECT count(*) FROM gone' END) USING gone;
    PERFORM threadline.note_thinned(label, -1, newest, archiving);
    IF of_transactions IS NOT NULL THEN
        EXECUTE format('SELECT array_agg(t.id), array_agg(t.xid) FROM threadline.%I t WHERE t.id = ANY ($1)', 'audit_transactions' || label) INTO gone, numbers USING of_transactions;
        PERFORM threadline.note_numbers(gone, numbers);
        transactions := threadline.remove_empty(label, of_transactions, archiving);
    END IF;
    UPDATE threadline.retention_runs r SET actions = r.actions + retention_actions.actions, transactions = r.transactions + retention_actions.transactions,
        batches = r.batches + 1, batch_rows = r.batch_rows + retention_actions.actions + retention_actions.transactions,
        batch_time = r.batch_time + (clock_timestamp() - now()) WHERE r.id = run;
END
$$;
COMMENT ON FUNCTION threadline.retention_actions(bigint, text, jsonb, uuid, integer, boolean) IS 'Deletes the next batch of a partition''s actions that are due.';

-- The tables that have changes in a partition.
CREATE OR REPLACE FUNCTION threadline.tables_in(label text) RETURNS integer[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    found_ids integer[];
BEGIN
    EXECUTE format('WITH RECURSIVE t (id) AS (SELECT min(c.table_id) FROM threadline.%1$I c UNION ALL
            SELECT (SELECT min(c.table_id) FROM threadline.%1$I c WHERE c.table_id > t.id) FROM t WHERE t.id IS NOT NULL)
        SELECT coalesce(array_agg(t.id), ''{}'') FROM t WHERE t.id IS NOT NULL', 'audit_changes' || label) INTO found_ids;
    RETURN found_ids;
END
$$;
COMMENT ON FUNCTION threadline.tables_in(text) IS 'The tables that have changes in a partition.';

-- Those of them of which something is older than their window.
CREATE OR REPLACE FUNCTION threadline.tables_due(label text, policy jsonb) RETURNS integer[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    of_table integer;
    cutoff timestamptz;
    is_due boolean;
    due integer[] := '{}';
BEGIN
    FOREACH of_table IN ARRAY threadline.tables_in(label) LOOP
        cutoff := threadline.retention_cutoff(policy, 'tables', of_table::text);
        CONTINUE WHEN cutoff IS NULL;
        EXECUTE format('SELECT EXISTS (SELECT FROM threadline.%I c WHERE c.table_id = $1 AND c.captured_at < $2)', 'audit_changes' || label) INTO is_due USING of_table, cutoff;
        IF is_due THEN
            due := due || of_table;
        END IF;
    END LOOP;
    RETURN due;
END
$$;
COMMENT ON FUNCTION threadline.tables_due(text, jsonb) IS 'The tables of which a partition has changes that are older than their window.';

-- Whether a partition may go as a whole: `due`, or what speaks against it: `kept` (for ever), `young`, `held`. `until` is the
-- end of its newest transaction, those included that have left it before.
CREATE OR REPLACE FUNCTION threadline.retention_verdict(label text, first_id uuid, end_id uuid, policy jsonb, OUT verdict text, OUT until timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' AS $$
DECLARE
    present CONSTANT integer[] := threadline.tables_in(label);
    cutoffs timestamptz[];
    lowest timestamptz;
    newest timestamptz;
    names text[];
    held boolean;
BEGIN
    EXECUTE format('SELECT array_agg(DISTINCT a.name), max(a.occurred_at) FROM threadline.%I a', 'audit_actions' || label) INTO names, newest;
    EXECUTE format('SELECT max(c.captured_at) FROM threadline.%I c', 'audit_changes' || label) INTO until;
    until := greatest(until, (SELECT max(p.until) FROM threadline.retention_purges p WHERE p.first_id = retention_verdict.first_id AND p.kind = 'thinned' AND p.table_id > 0));
    newest := greatest(newest, until, threadline.instant_of(end_id) - interval '1 microsecond');
    cutoffs := ARRAY(SELECT threadline.retention_cutoff(policy, 'tables', p::text) FROM unnest(present) p)
        || ARRAY(SELECT threadline.retention_cutoff(policy, 'actions', n) FROM unnest(names) n);
    IF cutoffs = '{}' THEN
        cutoffs := ARRAY[(policy ->> 'newest')::timestamptz];
    END IF;
    lowest := (SELECT min(c) FROM unnest(cutoffs) c);
    IF end_id IS NULL OR array_position(cutoffs, NULL) IS NOT NULL THEN
        verdict := 'kept';
        RETURN;
    ELSIF newest >= lowest THEN
        verdict := 'young';
        RETURN;
    END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM threadline.%1$I c WHERE %2$s) OR EXISTS (SELECT FROM threadline.%3$I x WHERE %5$s) OR EXISTS (SELECT FROM threadline.%4$I x WHERE %5$s)',
        'audit_changes' || label, threadline.held_changes('audit_transactions' || label), 'audit_actions' || label, 'audit_transactions' || label, threadline.held_alone()) INTO held;
    verdict := CASE WHEN held THEN 'held' ELSE 'due' END;
END
$$;
COMMENT ON FUNCTION threadline.retention_verdict(text, uuid, uuid, jsonb) IS 'Whether a partition may go as a whole: due, kept, young or held.';

-- The holds that something in a partition is under.
CREATE OR REPLACE FUNCTION threadline.holds_on(label text) RETURNS bigint[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' AS $$
DECLARE
    hold bigint;
    holds_it boolean;
    found_ids bigint[] := '{}';
BEGIN
    FOR hold IN SELECT h.id FROM threadline.legal_holds h WHERE h.released_at IS NULL ORDER BY h.id LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM threadline.%1$I c WHERE %2$s) OR EXISTS (SELECT FROM threadline.%3$I x WHERE %5$s) OR EXISTS (SELECT FROM threadline.%4$I x WHERE %5$s)',
            'audit_changes' || label, threadline.held_changes('audit_transactions' || label, hold), 'audit_actions' || label, 'audit_transactions' || label, threadline.held_alone(hold)) INTO holds_it;
        IF holds_it THEN
            found_ids := found_ids || hold;
        END IF;
    END LOOP;
    RETURN found_ids;
END
$$;
COMMENT ON FUNCTION threadline.holds_on(text) IS 'The holds that something in a partition is under.';

-- How many changes a partition has, how many of them stay for a hold, with all of their transaction in the table, and for which.
CREATE OR REPLACE FUNCTION threadline.held_in(label text, OUT changes bigint, OUT held_changes bigint, OUT holds bigint[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' AS $$
BEGIN
    holds := threadline.holds_on(label);
    EXECUTE format('SELECT count(*), count(*) FILTER (WHERE u.held) FROM (SELECT %s AS held FROM threadline.%I c) u',
        CASE holds WHEN '{}' THEN 'false' ELSE format('bool_or(%s) OVER (PARTITION BY c.transaction_id, c.table_id)', threadline.held_changes('audit_transactions' || label)) END,
        'audit_changes' || label) INTO changes, held_changes;
END
$$;
COMMENT ON FUNCTION threadline.held_in(text) IS 'How many changes a partition has, how many of them stay for a hold, and for which.';

-- Decides that a month that was attached from an archive goes again, unless something in it is held: then it fails, and names
-- the holds. Returns released; taken, where another session has the month at this moment; or absent, when there is no such month.
CREATE OR REPLACE FUNCTION threadline.retention_release(label text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    month threadline.retention_months;
    holding bigint[];
BEGIN
    IF NOT threadline.take_month(label) THEN
        RETURN 'taken';
    END IF;
    LOCK TABLE threadline.legal_holds IN SHARE MODE;
    SELECT m.* INTO month FROM threadline.retention_months m WHERE m.label = retention_release.label AND m.state IN ('restored', 'released') FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'absent';
    END IF;
    holding := threadline.holds_on(label);
    IF holding <> '{}' THEN
        RAISE EXCEPTION 'threadline: month % is held by hold %', ltrim(label, '_'), array_to_string(holding, ', ') USING
            ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_month_held', HINT = 'Release the hold first; who placed it, and why, is in threadline.legal_holds.';
    END IF;
    UPDATE threadline.retention_months m SET state = 'released', since = clock_timestamp() WHERE m.label = retention_release.label;
    UPDATE threadline.retention_purges p SET restored = false WHERE p.first_id = month.first_id;
    RETURN 'released';
END
$$;
COMMENT ON FUNCTION threadline.retention_release(text) IS 'Decides that a month that was attached from an archive goes again, unless something in it is held.';

-- Decides that a partition leaves, if it may, and says so to readers before anything goes. Returns the verdict.
CREATE OR REPLACE FUNCTION threadline.retention_leave(run bigint, label text, policy jsonb) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    nil CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
    month record;
    decided record;
    part record;
    newest xid8;
    last_transaction timestamptz;
    last_action timestamptz;
BEGIN
    PERFORM threadline.retention_beat(run);
    IF NOT threadline.take_month_to_remove(label) THEN
        RETURN 'taken';
    END IF;
    SELECT m.* INTO STRICT month FROM threadline.partitions() m WHERE m.label = retention_leave.label;
    SELECT v.* INTO decided FROM threadline.retention_verdict(label, coalesce(month.first_id, nil), month.end_id, policy) v;
    IF decided.verdict <> 'due' THEN
        RETURN decided.verdict;
    END IF;
    INSERT INTO threadline.retention_months (first_id, end_id, label, state) VALUES (coalesce(month.first_id, nil), month.end_id, label, 'leaving');
    -- A transaction has the millisecond in which it began in its id; an action that of its transaction.
    EXECUTE format('SELECT (SELECT threadline.instant_of(t.id) + interval ''999 microseconds'' FROM threadline.%I t ORDER BY t.id DESC LIMIT 1), (SELECT max(a.occurred_at) FROM threadline.%I a)',
        'audit_transactions' || label, 'audit_actions' || label) INTO last_transaction, last_action;
    INSERT INTO threadline.retention_purges AS p (table_id, first_id, kind, until)
    SELECT t, coalesce(month.first_id, nil), 'dropped', decided.until FROM unnest(threadline.tables_in(label)) t
    UNION ALL SELECT g.of_kind, coalesce(month.first_id, nil), 'dropped', g.last + interval '1 microsecond' FROM (VALUES (0, last_transaction), (-1, last_action)) g (of_kind, last) WHERE g.last IS NOT NULL
    ON CONFLICT (table_id, first_id, kind) DO UPDATE SET until = greatest(p.until, EXCLUDED.until), archived = false, restored = false;
    -- The highest number of each numbering that has a part in the month.
    FOR part IN SELECT c.first_id AS lowest, coalesce(lead(c.first_id) OVER (ORDER BY c.place), 'ffffffff-ffff-ffff-ffff-ffffffffffff') AS end_id FROM threadline.trail_clusters c LOOP
        CONTINUE WHEN part.lowest >= month.end_id OR part.end_id <= coalesce(month.first_id, nil);
        EXECUTE format('SELECT n.xid FROM ((SELECT t.xid FROM threadline.%I t WHERE t.id >= $1 AND t.id < $2 ORDER BY t.xid DESC LIMIT 1)
            UNION ALL (SELECT a.xid FROM threadline.%I a WHERE a.transaction_id IS NULL AND a.xid IS NOT NULL AND a.id >= $1 AND a.id < $2 ORDER BY a.xid DESC LIMIT 1)) n
            ORDER BY n.xid DESC LIMIT 1', 'audit_transactions' || label, 'audit_actions' || label) INTO newest USING part.lowest, part.end_id;
        PERFORM threadline.note_numbers(ARRAY[part.lowest], ARRAY[newest]);
    END LOOP;
    RETURN 'due';
END
$$;
COMMENT ON FUNCTION threadline.retention_leave(bigint, text, jsonb) IS 'Decides that a partition leaves, if it may.';

-- How many rows the six tables of a partition have.
CREATE OR REPLACE FUNCTION threadline.month_counts(label text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    parent text;
    counted bigint;
    counts jsonb := '{}';
BEGIN
    FOREACH parent IN ARRAY threadline.trail_tables() LOOP
        EXECUTE format('SELECT count(*) FROM threadline.%I', parent || label) INTO counted;
        counts := counts || jsonb_build_object(parent, counted);
    END LOOP;
    RETURN counts;
END
$$;
COMMENT ON FUNCTION threadline.month_counts(text) IS 'How many rows the six tables of a partition have.';

-- Drops the six tables of a month that has been detached, when nothing has come to speak against it, and returns the bytes;
-- NULL when something has. A hold that was placed before this is seen here. `archive` is what note_archive takes, or NULL.
CREATE OR REPLACE FUNCTION threadline.retention_drop(run bigint, label text, policy jsonb, counts jsonb, began timestamptz, archive jsonb) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    month threadline.retention_months;
    verdict text;
    returned bigint;
BEGIN
    PERFORM threadline.retention_beat(run);
    SELECT m.* INTO STRICT month FROM threadline.retention_months m WHERE m.label = retention_drop.label FOR UPDATE;
    -- What was attached from an archive goes whatever its age, but no more than anything else against a hold.
    IF month.state = 'released' THEN
        verdict := CASE WHEN threadline.holds_on(label) = '{}' THEN 'due' ELSE 'held' END;
    ELSE
        SELECT v.verdict INTO verdict FROM threadline.retention_verdict(label, month.first_id, month.end_id, policy) v;
    END IF;
    IF verdict <> 'due' THEN
        RETURN NULL;
    END IF;
    returned := (SELECT sum(pg_total_relation_size(format('threadline.%I', parent || label)::regclass)) FROM unnest(threadline.trail_tables()) parent);
    EXECUTE (SELECT 'DROP TABLE ' || string_agg(format('threadline.%I', parent || label), ', ') FROM unnest(threadline.trail_tables()) parent);
    IF archive IS NOT NULL THEN
        PERFORM threadline.note_archive(run, label, archive);
        UPDATE threadline.retention_purges p SET archived = true WHERE p.first_id = month.first_id AND p.kind = 'dropped';
    END IF;
    DELETE FROM threadline.retention_months m WHERE m.label = retention_drop.label;
    UPDATE threadline.retention_runs r SET changes = r.changes + (counts ->> 'audit_changes')::bigint, transactions = r.transactions + (counts ->> 'audit_transactions')::bigint,
        actions = r.actions + (counts ->> 'audit_actions')::bigint, months = r.months + 1, bytes = r.bytes + returned,
        month_time = r.month_time + (clock_timestamp() - began) WHERE r.id = run;
    RETURN returned;
END
$$;
COMMENT ON FUNCTION threadline.retention_drop(bigint, text, jsonb, jsonb, timestamptz, jsonb) IS 'Drops the six tables of a month that has been detached, and returns the bytes.';

-- Where the six partitions of a month are: attached, pending (a detach was begun), detached or gone.
CREATE OR REPLACE FUNCTION threadline.month_places(label text) RETURNS TABLE (parent text, place text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.parent, CASE WHEN c.oid IS NULL THEN 'gone' WHEN i.inhrelid IS NULL THEN 'detached' WHEN i.inhdetachpending THEN 'pending' ELSE 'attached' END
    FROM unnest(threadline.trail_tables()) WITH ORDINALITY p (parent, position)
        LEFT JOIN pg_class c ON c.relname = p.parent || label AND c.relnamespace = 'threadline'::regnamespace
        LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
    ORDER BY p.position
$$;
COMMENT ON FUNCTION threadline.month_places(text) IS 'Where the six partitions of a month are: attached, pending, detached or gone.';

-- Attaches what has been detached of a month that is to stay after all, and has readers know it again.
CREATE OR REPLACE FUNCTION threadline.retention_stay(label text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    month threadline.retention_months;
    part record;
BEGIN
    SELECT m.* INTO month FROM threadline.retention_months m WHERE m.label = retention_stay.label FOR UPDATE;
    IF NOT FOUND THEN
        -- Another session has let it go meanwhile.
        RETURN;
    END IF;
    FOR part IN SELECT p.* FROM threadline.month_places(label) p LOOP
        IF part.place = 'pending' THEN
            EXECUTE format('ALTER TABLE threadline.%I DETACH PARTITION threadline.%I FINALIZE', part.parent, part.parent || label);
        END IF;
        IF part.place IN ('pending', 'detached') THEN
            EXECUTE format('ALTER TABLE threadline.%I ATTACH PARTITION threadline.%I FOR VALUES FROM (%s) TO (%L)', part.parent, part.parent || label,
                CASE month.first_id WHEN '00000000-0000-0000-0000-000000000000' THEN 'MINVALUE' ELSE quote_literal(month.first_id) END, month.end_id);
        END IF;
    END LOOP;
    IF month.state = 'released' THEN
        -- It came from an archive, and is there for reading again.
        PERFORM threadline.make_whole(label, month.first_id);
        UPDATE threadline.retention_months m SET state = 'restored', since = clock_timestamp() WHERE m.label = retention_stay.label;
        RETURN;
    END IF;
    DELETE FROM threadline.retention_purges p WHERE p.first_id = month.first_id AND p.kind = 'dropped';
    DELETE FROM threadline.retention_months m WHERE m.label = retention_stay.label;
END
$$;
COMMENT ON FUNCTION threadline.retention_stay(text) IS 'Attaches what has been detached of a month that is to stay after all.';

-- Detaches and drops a month that was attached from an archive and is released, once nobody has a snapshot of before. All of it in
-- one transaction, which nobody else has the month in: a release and a run may both be about to. The outcome is dropped, with the
-- bytes; stays, when something has come to speak against it; gone, when it is released no more; or taken.
CREATE OR REPLACE FUNCTION threadline.drop_released(run bigint, label text, began timestamptz, OUT outcome text, OUT bytes bigint)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part record;
BEGIN
    IF NOT threadline.take_month(label) THEN
        outcome := 'taken';
        RETURN;
    END IF;
    PERFORM FROM threadline.retention_months m WHERE m.label = drop_released.label AND m.state = 'released' FOR UPDATE;
    IF NOT FOUND THEN
        outcome := CASE WHEN EXISTS (SELECT FROM threadline.retention_months m WHERE m.label = drop_released.label) THEN 'stays' ELSE 'gone' END;
        RETURN;
    END IF;
    LOCK TABLE ONLY threadline.audit_transactions, ONLY threadline.audit_actions, ONLY threadline.audit_long_transactions, ONLY threadline.audit_changes,
        ONLY threadline.audit_key_changes, ONLY threadline.audit_departures IN ACCESS EXCLUSIVE MODE;
    FOR part IN SELECT p.* FROM threadline.month_places(label) p WHERE p.place IN ('attached', 'pending') LOOP
        EXECUTE format('ALTER TABLE threadline.%I DETACH PARTITION threadline.%I%s', part.parent, part.parent || label, CASE part.place WHEN 'pending' THEN ' FINALIZE' ELSE '' END);
    END LOOP;
    bytes := threadline.retention_drop(run, label, '{}', threadline.month_counts(label), began, NULL);
    IF bytes IS NULL THEN
        PERFORM threadline.retention_stay(label);
        outcome := 'stays';
    ELSE
        outcome := 'dropped';
    END IF;
END
$$;
COMMENT ON FUNCTION threadline.drop_released(bigint, text, timestamptz) IS 'Detaches and drops a month that was attached from an archive and is released.';

-- What batches would take from a partition: {"tables": {"<id>": changes}, "actions", "transactions"}. Reads all that is due.
CREATE OR REPLACE FUNCTION threadline.retention_forecast(label text, policy jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' AS $$
DECLARE
    due text;
    forecast jsonb;
BEGIN
    SELECT string_agg(format('SELECT %s AS table_id, d.id FROM (%s) d', t, threadline.due_units(label, t, threadline.retention_cutoff(policy, 'tables', t::text), policy,
            format('SELECT DISTINCT c.transaction_id FROM threadline.%I c WHERE c.table_id = %s AND c.captured_at < %L::timestamptz', 'audit_changes' || label, t,
                threadline.retention_cutoff(policy, 'tables', t::text)))), ' UNION ALL ') INTO due
        FROM unnest(threadline.tables_in(label)) t WHERE threadline.retention_cutoff(policy, 'tables', t::text) IS NOT NULL;
    EXECUTE format($query$WITH due AS MATERIALIZED (%1$s),
        actions AS MATERIALIZED (SELECT a.id, a.transaction_id FROM threadline.%2$I a WHERE a.id < threadline.first_id_at($1) AND %3$s),
        emptied AS (SELECT x.id FROM threadline.%4$I x WHERE (x.id IN (SELECT d.id FROM due d) OR x.id IN (SELECT a.transaction_id FROM actions a))
            AND NOT EXISTS (SELECT FROM threadline.%5$I c WHERE c.transaction_id = x.id AND NOT EXISTS (SELECT FROM due d WHERE d.id = c.transaction_id AND d.table_id = c.table_id))
            AND NOT EXISTS (SELECT FROM threadline.%2$I a WHERE a.transaction_id = x.id AND NOT EXISTS (SELECT FROM actions o WHERE o.id = a.id))
            AND NOT (%6$s))
        SELECT jsonb_build_object('tables', (SELECT coalesce(jsonb_object_agg(n.table_id, n.rows), '{}') FROM (SELECT d.table_id, count(*) AS rows
                FROM due d JOIN threadline.%5$I c ON c.transaction_id = d.id AND c.table_id = d.table_id GROUP BY d.table_id) n),
            'actions', (SELECT count(*) FROM actions), 'transactions', (SELECT count(*) FROM emptied))$query$,
        coalesce(due, 'SELECT NULL::integer AS table_id, NULL::uuid AS id WHERE false'), 'audit_actions' || label,
        threadline.due_action(label, policy, format('SELECT FROM threadline.%I c WHERE c.transaction_id = a.transaction_id AND NOT EXISTS (SELECT FROM due d WHERE d.id = c.transaction_id AND d.table_id = c.table_id)',
            'audit_changes' || label)), 'audit_transactions' || label, 'audit_changes' || label, threadline.held_alone())
        INTO forecast USING (policy ->> 'newest')::timestamptz;
    RETURN forecast;
END
$$;
COMMENT ON FUNCTION threadline.retention_forecast(text, jsonb) IS 'What batches would take from a partition.';

-- Partitions for what lies between the months there are, so that a write finds one even when the clock is set back: what was
-- dropped leaves a gap. Empty ones give way to what the gaps are now. Returns how many were made.
CREATE OR REPLACE FUNCTION threadline.fill_gaps() RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    nil CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
    empty_fillers text[] := '{}';
    have text[];
    wanted text[];
    filler record;
    parent text;
    label text;
BEGIN
    -- What is on its way out, or was attached by hand, is no business of ours while it is.
    IF EXISTS (SELECT FROM pg_inherits i WHERE i.inhdetachpending) OR EXISTS (SELECT FROM threadline.retention_months m WHERE m.state IN ('leaving', 'released')) THEN
        RETURN 0;
    END IF;
    FOR filler IN SELECT p.label FROM threadline.partitions() p WHERE p.filler LOOP
        IF (SELECT sum(n.value::bigint) FROM jsonb_each_text(threadline.month_counts(filler.label)) n) = 0 THEN
            empty_fillers := empty_fillers || filler.label;
        END IF;
    END LOOP;
    have := ARRAY(SELECT concat_ws(' ', coalesce(p.first_id, nil), p.end_id) FROM threadline.partitions() p WHERE p.label = ANY (empty_fillers) ORDER BY 1);
    wanted := ARRAY(SELECT concat_ws(' ', g.after, g.first_id) FROM (
            SELECT coalesce(lag(p.end_id) OVER (ORDER BY p.first_id NULLS FIRST), nil) AS after, coalesce(p.first_id, nil) AS first_id
            FROM threadline.partitions() p WHERE p.label <> ALL (empty_fillers)) g
        WHERE g.after < g.first_id ORDER BY 1);
    IF have = wanted THEN
        RETURN 0;
    END IF;
    LOCK TABLE threadline.audit_transactions, threadline.audit_actions, threadline.audit_long_transactions, threadline.audit_changes,
        threadline.audit_key_changes, threadline.audit_departures IN ACCESS EXCLUSIVE MODE;
    FOREACH label IN ARRAY empty_fillers LOOP
        -- A write may have found it in the meantime.
        IF (SELECT sum(n.value::bigint) FROM jsonb_each_text(threadline.month_counts(label)) n) > 0 THEN
            RETURN 0;
        END IF;
        EXECUTE (SELECT 'DROP TABLE ' || string_agg(format('threadline.%I', t || label), ', ') FROM unnest(threadline.trail_tables()) t);
    END LOOP;
    FOR filler IN SELECT split_part(w, ' ', 1) AS after, split_part(w, ' ', 2) AS first_id FROM unnest(wanted) w LOOP
        FOREACH parent IN ARRAY threadline.trail_tables() LOOP
            EXECUTE format('CREATE TABLE threadline.%I PARTITION OF threadline.%I FOR VALUES FROM (%s) TO (%L)', parent || '_filler_' || left(replace(filler.first_id, '-', ''), 12), parent,
                CASE filler.after WHEN nil::text THEN 'MINVALUE' ELSE quote_literal(filler.after) END, filler.first_id);
        END LOOP;
    END LOOP;
    RETURN cardinality(wanted);
END
$$;
COMMENT ON FUNCTION threadline.fill_gaps() IS 'Makes partitions for what lies between the months there are.';

-- Has a month that got back all that an archive has of it be read as one that nothing had left, as far as that is so.
CREATE OR REPLACE FUNCTION threadline.make_whole(label text, first_id uuid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    -- Where something has gone that no archive has, its transactions go on saying so.
    IF NOT EXISTS (SELECT FROM threadline.retention_purges p WHERE p.first_id = make_whole.first_id AND p.kind = 'thinned' AND NOT p.archived AND p.table_id > 0) THEN
        EXECUTE format('UPDATE threadline.%I t SET purged_until = NULL WHERE t.purged_until IS NOT NULL', 'audit_transactions' || label);
    END IF;
    UPDATE threadline.retention_purges p SET restored = true WHERE p.first_id = make_whole.first_id AND p.archived;
END
$$;
COMMENT ON FUNCTION threadline.make_whole(text, uuid) IS 'Has a month that got back all that an archive has of it be read as one that nothing had left.';

-- Ends the return of a month's parts, whose rows are in it again, into a month that has stayed. Retention leaves it alone then.
CREATE OR REPLACE FUNCTION threadline.fill_month(label text, first_id uuid, end_id uuid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM threadline.make_whole(label, coalesce(fill_month.first_id, '00000000-0000-0000-0000-000000000000'));
    UPDATE threadline.retention_archives a SET returned_at = clock_timestamp() WHERE a.label = fill_month.label AND a.kind = 'part' AND a.returned_at IS NULL;
    INSERT INTO threadline.retention_months (first_id, end_id, label, state)
    VALUES (coalesce(fill_month.first_id, '00000000-0000-0000-0000-000000000000'), fill_month.end_id, fill_month.label, 'filled');
END
$$;
COMMENT ON FUNCTION threadline.fill_month(text, uuid, uuid) IS 'Ends the return of parts into a month that has stayed.';

-- Attaches six tables with an archived month's rows, in the place of the empty partitions that fill its gap.
CREATE OR REPLACE FUNCTION threadline.attach_month(label text, first_id uuid, end_id uuid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    nil CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
    filler text;
    parent text;
BEGIN
    LOCK TABLE threadline.audit_transactions, threadline.audit_actions, threadline.audit_long_transactions, threadline.audit_changes,
        threadline.audit_key_changes, threadline.audit_departures IN ACCESS EXCLUSIVE MODE;
    FOR filler IN SELECT p.label FROM threadline.partitions() p WHERE p.filler AND (SELECT sum(n.value::bigint) FROM jsonb_each_text(threadline.month_counts(p.label)) n) = 0
            AND coalesce(p.first_id, nil) < attach_month.end_id AND p.end_id > coalesce(attach_month.first_id, nil) LOOP
        EXECUTE (SELECT 'DROP TABLE ' || string_agg(format('threadline.%I', t || filler), ', ') FROM unnest(threadline.trail_tables()) t);
    END LOOP;
    FOREACH parent IN ARRAY threadline.trail_tables() LOOP
        EXECUTE format('ALTER TABLE threadline.%I ATTACH PARTITION threadline.%I FOR VALUES FROM (%s) TO (%L)', parent, parent || label,
            coalesce(quote_literal(attach_month.first_id), 'MINVALUE'), attach_month.end_id);
    END LOOP;
    INSERT INTO threadline.retention_months (first_id, end_id, label, state) VALUES (coalesce(attach_month.first_id, nil), attach_month.end_id, attach_month.label, 'restored');
END
$$;
COMMENT ON FUNCTION threadline.attach_month(text, uuid, uuid) IS 'Attaches six tables with an archived month''s rows.';

REVOKE ALL ON FUNCTION threadline.purged_until(integer), threadline.check_kept(integer, timestamptz), threadline.partitions(), threadline.trail_tables(),
    threadline.retention_cutoff(jsonb, text, text), threadline.held_changes(text, bigint, boolean), threadline.held_alone(bigint), threadline.due_units(text, integer, timestamptz, jsonb, text),
    threadline.due_action(text, jsonb, text), threadline.retention_beat(bigint), threadline.begin_retention(jsonb, jsonb, interval), threadline.note_numbers(uuid[], xid8[]),
    threadline.retention_batch(bigint, text, integer, jsonb, timestamptz, uuid, integer, boolean), threadline.remove_empty(text, uuid[], boolean), threadline.note_thinned(text, integer, timestamptz, boolean),
    threadline.retention_actions(bigint, text, jsonb, uuid, integer, boolean), threadline.tables_in(text), threadline.tables_due(text, jsonb), threadline.retention_verdict(text, uuid, uuid, jsonb),
    threadline.retention_leave(bigint, text, jsonb), threadline.month_counts(text), threadline.retention_drop(bigint, text, jsonb, jsonb, timestamptz, jsonb),
    threadline.month_places(text), threadline.retention_stay(text), threadline.retention_forecast(text, jsonb), threadline.fill_gaps(), threadline.make_whole(text, uuid),
    threadline.holds_on(text), threadline.retention_release(text), threadline.hold_key(integer, jsonb), threadline.hold_matches(bigint), threadline.fold_idle(bigint),
    threadline.fill_month(text, uuid, uuid), threadline.attach_month(text, uuid, uuid), threadline.leaving_lines(text, text), threadline.note_archive(bigint, text, jsonb),
    threadline.take_month(text), threadline.take_month_to_remove(text), threadline.held_in(text), threadline.drop_released(bigint, text, timestamptz) FROM PUBLIC;
-- Reading takes SELECT on the tables; these by themselves show nothing but catalogs.
GRANT EXECUTE ON FUNCTION threadline.purged_until(integer), threadline.check_kept(integer, timestamptz), threadline.partitions(), threadline.trail_tables(),
    threadline.hold_key(integer, jsonb), threadline.hold_matches(bigint), threadline.held_changes(text, bigint, boolean), threadline.held_alone(bigint) TO PUBLIC;
