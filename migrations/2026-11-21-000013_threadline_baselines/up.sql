-- Recorded baselines: what an audited table held at one instant, taken on purpose and labelled as such. A baseline is no change:
-- it is in tables of its own, which neither the timeline, the feed, exports nor undo read. What it is for: to fold a row from,
-- where a write that escaped capture lies beyond it.

CREATE TABLE IF NOT EXISTS threadline.audit_baselines (
    id uuid PRIMARY KEY,
    table_id integer NOT NULL,
    recorded_at timestamptz NOT NULL,
    layout integer NOT NULL,
    row_count bigint NOT NULL,
    masked text[],
    actor_type text COLLATE "C" NOT NULL,
    actor_id text COLLATE "C",
    db_role text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    leaving_at timestamptz
);

COMMENT ON TABLE threadline.audit_baselines IS 'Snapshots of audited tables that were recorded on purpose. None of their rows is a change.';
COMMENT ON COLUMN threadline.audit_baselines.id IS 'Time-ordered UUID.';
COMMENT ON COLUMN threadline.audit_baselines.table_id IS 'The audited_tables row.';
COMMENT ON COLUMN threadline.audit_baselines.recorded_at IS 'The instant it shows (UTC, microseconds): it holds every change of the table captured by then, and none captured after.';
COMMENT ON COLUMN threadline.audit_baselines.layout IS 'The table_layouts row that explains its rows.';
COMMENT ON COLUMN threadline.audit_baselines.row_count IS 'How many rows the table had.';
COMMENT ON COLUMN threadline.audit_baselines.masked IS 'Names in its rows whose values are placeholders; NULL for none.';
COMMENT ON COLUMN threadline.audit_baselines.actor_type IS 'Who had it recorded, as in audit_transactions.';
COMMENT ON COLUMN threadline.audit_baselines.actor_id IS 'Who had it recorded, as in audit_transactions.';
COMMENT ON COLUMN threadline.audit_baselines.db_role IS 'session_user of whoever recorded it.';
COMMENT ON COLUMN threadline.audit_baselines.reason IS 'Why it was recorded; never row data.';
COMMENT ON COLUMN threadline.audit_baselines.leaving_at IS 'When retention began to remove it: from then on nothing is read from it. NULL before that.';

CREATE INDEX IF NOT EXISTS audit_baselines_table_idx ON threadline.audit_baselines (table_id, recorded_at);

CREATE TABLE IF NOT EXISTS threadline.audit_baseline_rows (
    baseline_id uuid NOT NULL,
    row_key text COLLATE "C" NOT NULL,
    scope text COLLATE "C",
    row_data json NOT NULL,
    PRIMARY KEY (baseline_id, row_key)
);

COMMENT ON TABLE threadline.audit_baseline_rows IS 'The rows of recorded baselines, redacted as capture would have them.';
COMMENT ON COLUMN threadline.audit_baseline_rows.baseline_id IS 'The audit_baselines row.';
COMMENT ON COLUMN threadline.audit_baseline_rows.row_key IS 'The row''s key, as in audit_changes.';
COMMENT ON COLUMN threadline.audit_baseline_rows.scope IS 'Value of the table''s scope column.';
COMMENT ON COLUMN threadline.audit_baseline_rows.row_data IS 'The whole row, redacted, as in audit_changes.';

-- Copies an audited table as the transaction sees it. `at` is an instant at which the caller held the table locked against
-- writers (SHARE), in a transaction that has taken its snapshot then and keeps it (REPEATABLE READ): whatever was captured by
-- then is in it and nothing else, also when the lock has been given back since. Nothing here can check the order of those two
-- steps, so this is the library's to call. It reads rows by the same expressions as the compiled capture function.
CREATE OR REPLACE FUNCTION threadline.record_baseline(target regclass, at timestamptz, actor jsonb, reason text, OUT id uuid, OUT row_count bigint)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
-- A policy of the table that hides rows would leave them out; better it fails.
SET row_security = off
SET TimeZone = 'UTC'
SET extra_float_digits = 1
SET IntervalStyle = 'postgres'
SET DateStyle = 'ISO, YMD'
SET bytea_output = 'hex'
SET lc_monetary = 'C' AS $$
DECLARE
    owner CONSTANT oid := (SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'threadline');
    policy CONSTANT threadline.audited_tables := (SELECT a FROM threadline.audited_tables a WHERE a.id = threadline.table_id(target) AND a.attached);
    problem CONSTANT text := CASE WHEN actor IS NULL THEN 'actor: NULL' ELSE threadline.actor_problem(actor) END;
BEGIN
    IF NOT pg_has_role(current_user, owner, 'USAGE') THEN
        RAISE EXCEPTION 'threadline: role % may not record a baseline', current_user USING ERRCODE = 'insufficient_privilege',
            CONSTRAINT = 'threadline_not_owner', HINT = format('Run it as %s, who owns schema threadline.', pg_get_userbyid(owner));
    ELSIF problem IS NOT NULL OR coalesce(btrim(reason), '') = '' OR octet_length(reason) > 4096 THEN
        RAISE EXCEPTION 'threadline: a baseline cannot be recorded: %', coalesce(problem, 'reason: empty, or longer than 4096 bytes') USING
            ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_invalid_baseline',
            HINT = 'Say who, as {"type": "admin", "id": "7"}, and why.';
    ELSIF current_setting('transaction_isolation') NOT IN ('repeatable read', 'serializable') OR at IS NULL OR at NOT BETWEEN now() AND clock_timestamp() THEN
        RAISE EXCEPTION 'threadline: a baseline is recorded in the REPEATABLE READ transaction whose snapshot was taken at its instant' USING
            ERRCODE = 'invalid_transaction_state', CONSTRAINT = 'threadline_invalid_baseline', HINT = 'Call continuity::record_baseline of the library, or `threadline continuity --baseline`.';
    ELSIF policy.id IS NULL THEN
        RAISE EXCEPTION 'threadline: table % is not audited', target USING ERRCODE = 'undefined_object',
            CONSTRAINT = 'threadline_not_audited', HINT = format('Audit it with threadline.attach(%L) in a migration.', target);
    ELSIF threadline.is_stale(policy, target) THEN
        RAISE EXCEPTION 'threadline: table % has changed since its capture function was compiled', target USING
            ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_invalid_baseline', HINT = format('Call threadline.refresh(%L) first.', target);
    END IF;
    id := (lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(gen_random_uuid()::text, 16))::uuid;
    -- The table itself and its partitions; a table that inherits from it is audited by itself.
    EXECUTE format('INSERT INTO threadline.audit_baseline_rows (baseline_id, row_key, scope, row_data) SELECT $1, %s, %s, %s FROM %s %s AS OLD',
        threadline.key_expression(target, policy.key_columns, 'OLD'),
        coalesce(threadline.key_expression(target, ARRAY[policy.scope_column], 'OLD'), 'NULL'),
        threadline.image_expression(target, policy, 'OLD'),
        CASE WHEN (SELECT c.relkind = 'r' FROM pg_class c WHERE c.oid = target) THEN 'ONLY' ELSE '' END, target)
        USING id;
    GET DIAGNOSTICS row_count = ROW_COUNT;
    INSERT INTO threadline.audit_baselines (id, table_id, recorded_at, layout, row_count, masked, actor_type, actor_id, db_role, reason)
    VALUES (id, policy.id, at, policy.layout, row_count, NULLIF(policy.mask, '{}'), actor ->> 'type', actor ->> 'id', session_user, record_baseline.reason);
END
$$;
COMMENT ON FUNCTION threadline.record_baseline(regclass, timestamptz, jsonb, text) IS 'Copies an audited table as the transaction sees it; for the library to call.';

-- What the baselines of a table, newest first, say of the row with a key: an array of objects, whose "row" is absent where there
-- was none.
CREATE OR REPLACE FUNCTION threadline.baselines_of_row(of_table integer, key text) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_agg(jsonb_build_object('id', b.id, 'recorded_at', b.recorded_at, 'layout', b.layout, 'masked', b.masked, 'reason', b.reason,
        'recorded_by', b.actor_type || coalesce(':' || b.actor_id, ''), 'scope', r.scope)
        || CASE WHEN r.row_data IS NULL THEN '{}' ELSE jsonb_build_object('row', r.row_data::jsonb) END ORDER BY b.recorded_at DESC, b.id DESC)
    FROM threadline.audit_baselines b LEFT JOIN threadline.audit_baseline_rows r ON r.baseline_id = b.id AND r.row_key = key
    WHERE b.table_id = of_table AND b.leaving_at IS NULL
$$;
COMMENT ON FUNCTION threadline.baselines_of_row(integer, text) IS 'What the baselines of a table say of the row with a key.';

-- Removes baselines that were recorded before their table's window begins, up to a batch of rows, and returns how many rows went;
-- call it until it removes fewer. `policy` is that of retention_cutoff. A hold keeps every baseline of the tables it may concern
-- that was recorded by the end of its time, whatever else it names: also a baseline before that time says what rows were in it.
-- Read it under a lock on legal_holds.
CREATE OR REPLACE FUNCTION threadline.expire_baselines(policy jsonb, batch integer) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    due CONSTANT uuid[] := ARRAY(SELECT b.id FROM threadline.audit_baselines b
        WHERE b.recorded_at < threadline.retention_cutoff(policy, 'tables', b.table_id::text) AND NOT EXISTS (SELECT FROM threadline.legal_holds h
            WHERE h.released_at IS NULL AND coalesce(h.table_id = b.table_id, true) AND coalesce(h.held_to >= b.recorded_at, true)));
    removed bigint;
BEGIN
    UPDATE threadline.audit_baselines b SET leaving_at = clock_timestamp() WHERE b.id = ANY (due) AND b.leaving_at IS NULL;
    DELETE FROM threadline.audit_baseline_rows r USING (
        SELECT due_row.baseline_id, due_row.row_key FROM threadline.audit_baseline_rows due_row WHERE due_row.baseline_id = ANY (due) LIMIT batch) d
    WHERE (r.baseline_id, r.row_key) = (d.baseline_id, d.row_key);
    GET DIAGNOSTICS removed = ROW_COUNT;
    DELETE FROM threadline.audit_baselines b WHERE b.id = ANY (due)
        AND NOT EXISTS (SELECT FROM threadline.audit_baseline_rows r WHERE r.baseline_id = b.id);
    RETURN removed;
END
$$;
COMMENT ON FUNCTION threadline.expire_baselines(jsonb, integer) IS 'Removes up to a batch of rows of baselines older than their table''s window.';

REVOKE ALL ON FUNCTION threadline.record_baseline(regclass, timestamptz, jsonb, text), threadline.baselines_of_row(integer, text),
    threadline.expire_baselines(jsonb, integer) FROM PUBLIC;
-- Reading takes SELECT on the tables.
GRANT EXECUTE ON FUNCTION threadline.baselines_of_row(integer, text) TO PUBLIC;
