-- What looking after the trail needs to write: that a table was dropped, and that a gap is known.

-- Gaps are found by folding rows; this is about those somebody has looked into. It explains, and takes nothing back.
CREATE TABLE IF NOT EXISTS threadline.known_gaps (
    transaction_id uuid NOT NULL,
    ordinal integer NOT NULL,
    table_id integer NOT NULL,
    acknowledged_at timestamptz NOT NULL,
    actor_type text COLLATE "C" NOT NULL,
    actor_id text COLLATE "C",
    db_role text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (transaction_id, ordinal)
);

COMMENT ON TABLE threadline.known_gaps IS 'Changes after which a write to the row escaped capture, with what is known about it.';
COMMENT ON COLUMN threadline.known_gaps.transaction_id IS 'With ordinal, the last change before the gap, in audit_changes.';
COMMENT ON COLUMN threadline.known_gaps.ordinal IS 'With transaction_id, the last change before the gap.';
COMMENT ON COLUMN threadline.known_gaps.table_id IS 'The audited_tables row of the changed table.';
COMMENT ON COLUMN threadline.known_gaps.acknowledged_at IS 'When it was acknowledged (UTC, microseconds).';
COMMENT ON COLUMN threadline.known_gaps.actor_type IS 'Who acknowledged it, as in audit_transactions.';
COMMENT ON COLUMN threadline.known_gaps.actor_id IS 'Who acknowledged it, as in audit_transactions.';
COMMENT ON COLUMN threadline.known_gaps.db_role IS 'session_user of whoever acknowledged it.';
COMMENT ON COLUMN threadline.known_gaps.reason IS 'What is known of the write that escaped; never row data.';

CREATE INDEX IF NOT EXISTS known_gaps_table_idx ON threadline.known_gaps (table_id, acknowledged_at);

-- Records that the gap after a change is known. A second call for the same change replaces the first. Returns whether it is
-- new. Runs with the rights of the caller.
CREATE OR REPLACE FUNCTION threadline.acknowledge_gap(of_transaction uuid, of_ordinal integer, actor jsonb, reason text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    problem CONSTANT text := CASE WHEN actor IS NULL THEN 'actor: NULL' ELSE threadline.actor_problem(actor) END;
    of_table CONSTANT integer := (SELECT c.table_id FROM threadline.audit_changes c WHERE c.transaction_id = of_transaction AND c.ordinal = of_ordinal);
    was_known boolean;
BEGIN
    IF problem IS NOT NULL OR coalesce(btrim(reason), '') = '' OR octet_length(reason) > 4096 THEN
        RAISE EXCEPTION 'threadline: a gap cannot be acknowledged: %', coalesce(problem, 'reason: empty, or longer than 4096 bytes') USING
            ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_invalid_gap',
            HINT = 'Say who, as {"type": "admin", "id": "7"}, and what is known of the write.';
    ELSIF of_table IS NULL THEN
        RAISE EXCEPTION 'threadline: the trail has no change % of transaction %', of_ordinal, of_transaction USING
            ERRCODE = 'no_data_found', CONSTRAINT = 'threadline_invalid_gap', HINT = 'Take both from the finding.';
    END IF;
    was_known := EXISTS (SELECT FROM threadline.known_gaps g WHERE g.transaction_id = of_transaction AND g.ordinal = of_ordinal);
    INSERT INTO threadline.known_gaps AS g (transaction_id, ordinal, table_id, acknowledged_at, actor_type, actor_id, db_role, reason)
    VALUES (of_transaction, of_ordinal, of_table, clock_timestamp(), actor ->> 'type', actor ->> 'id', session_user, acknowledge_gap.reason)
    ON CONFLICT (transaction_id, ordinal) DO UPDATE SET acknowledged_at = excluded.acknowledged_at, actor_type = excluded.actor_type,
        actor_id = excluded.actor_id, db_role = excluded.db_role, reason = excluded.reason;
    RETURN NOT was_known;
END
$$;
COMMENT ON FUNCTION threadline.acknowledge_gap(uuid, integer, jsonb, text) IS 'Records that the gap after a change is known, by whom and why.';

-- Ends the audit of a table that was dropped, which detach cannot name any more; its history stays. Returns whether there was
-- anything to end. A table that is still there is refused.
CREATE OR REPLACE FUNCTION threadline.detach_gone(of_table integer) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    stored CONSTANT threadline.audited_tables := (SELECT a FROM threadline.audited_tables a WHERE a.id = of_table AND a.attached);
    target CONSTANT regclass := coalesce(threadline.audited_relation(of_table), to_regclass(format('%I.%I', stored.schema_name, stored.table_name)));
BEGIN
    IF stored.id IS NULL THEN
        RETURN false;
    ELSIF threadline.table_id(target) = of_table THEN
        RAISE EXCEPTION 'threadline: table % is not gone', target USING ERRCODE = 'object_in_use', CONSTRAINT = 'threadline_not_gone',
            HINT = format('Call threadline.detach(%L) to end its audit.', target);
    END IF;
    EXECUTE format('DROP FUNCTION IF EXISTS threadline.capture_%s()', of_table);
    UPDATE threadline.audited_tables a SET attached = false, changed_at = clock_timestamp() WHERE a.id = of_table;
    UPDATE threadline.capture_periods p SET ended_at = clock_timestamp() WHERE p.table_id = of_table AND p.ended_at IS NULL;
    RETURN true;
END
$$;
COMMENT ON FUNCTION threadline.detach_gone(integer) IS 'Ends the audit of a table that was dropped; its history stays.';

REVOKE ALL ON FUNCTION threadline.acknowledge_gap(uuid, integer, jsonb, text), threadline.detach_gone(integer) FROM PUBLIC;
