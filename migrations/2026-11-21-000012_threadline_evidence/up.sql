-- Evidence: facts about how the trail is governed. Rows are only ever added; retention alone takes old ones away.

CREATE TABLE IF NOT EXISTS threadline.evidence_records (
    id uuid NOT NULL,
    recorded_at timestamptz NOT NULL,
    written_at timestamptz NOT NULL,
    format integer NOT NULL,
    subject text COLLATE "C" NOT NULL CHECK (subject IN ('redaction_policy', 'trigger_coverage', 'retention_run', 'retention_policy',
        'export_delivery', 'support_scope_posture', 'legal_hold', 'recorded_baseline')),
    reference jsonb NOT NULL CHECK (jsonb_typeof(reference) = 'object'),
    status text COLLATE "C" NOT NULL CHECK (status IN ('ok', 'finding', 'error')),
    verdict text COLLATE "C" NOT NULL CHECK (verdict IN ('proven', 'inferred', 'unsupported')),
    actor_type text COLLATE "C",
    actor_id text COLLATE "C",
    writer text COLLATE "C" NOT NULL,
    entry_point text COLLATE "C" NOT NULL,
    library_version text COLLATE "C" NOT NULL,
    db_role text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL CHECK (source IN ('operation', 'application')),
    detail jsonb NOT NULL CHECK (jsonb_typeof(detail) = 'object'),
    PRIMARY KEY (id),
    -- A policy that was read out is what the database was set to do, and not what it did.
    CONSTRAINT evidence_records_posture_check CHECK (
        verdict <> 'proven' OR subject NOT IN ('redaction_policy', 'retention_policy', 'support_scope_posture')),
    -- What any role may record is no more than what that role says.
    CONSTRAINT evidence_records_proof_check CHECK (source = 'operation' OR verdict <> 'proven')
);

COMMENT ON TABLE threadline.evidence_records IS 'Facts about how the trail is governed, added by threadline.record_evidence and never changed. Format 1.';
COMMENT ON COLUMN threadline.evidence_records.id IS 'Time-ordered UUID with the milliseconds of written_at.';
COMMENT ON COLUMN threadline.evidence_records.recorded_at IS 'When the fact was established (UTC, microseconds); the order of the records.';
COMMENT ON COLUMN threadline.evidence_records.written_at IS 'When the row was written, by the database''s clock.';
COMMENT ON COLUMN threadline.evidence_records.format IS 'Version of what reference and detail look like.';
COMMENT ON COLUMN threadline.evidence_records.subject IS 'What kind of fact it is.';
COMMENT ON COLUMN threadline.evidence_records.reference IS 'What the fact is about: a JSON object of texts, such as {"table": "public.posts"}.';
COMMENT ON COLUMN threadline.evidence_records.status IS 'ok; finding: something is not as it should be; error: what was to be done failed.';
COMMENT ON COLUMN threadline.evidence_records.verdict IS 'What the record supports: proven, inferred or unsupported.';
COMMENT ON COLUMN threadline.evidence_records.actor_type IS 'As in audit_transactions: who asked for it, as db_role says.';
COMMENT ON COLUMN threadline.evidence_records.actor_id IS 'As in audit_transactions.';
COMMENT ON COLUMN threadline.evidence_records.writer IS 'The part of the program that recorded it.';
COMMENT ON COLUMN threadline.evidence_records.entry_point IS 'What that part was called by, such as a command or the worker.';
COMMENT ON COLUMN threadline.evidence_records.library_version IS 'Version of the library that recorded it.';
COMMENT ON COLUMN threadline.evidence_records.db_role IS 'session_user: the database role that logged in. A client cannot fake it.';
COMMENT ON COLUMN threadline.evidence_records.source IS
    'operation: by a role with EXECUTE on record_evidence; application: by any, through record_application_evidence.';
COMMENT ON COLUMN threadline.evidence_records.detail IS 'The fact: a JSON object without values of rows and without secrets.';

CREATE INDEX IF NOT EXISTS evidence_records_time_idx ON threadline.evidence_records (recorded_at, id);
CREATE INDEX IF NOT EXISTS evidence_records_subject_idx ON threadline.evidence_records (subject, recorded_at, id);
CREATE INDEX IF NOT EXISTS evidence_records_reference_idx ON threadline.evidence_records (subject, reference, recorded_at, id);

-- Refuses every change and every removal of a record, also by a role that was granted it, but for what expire_evidence does:
-- that runs as the owner of the schema, and says so in a setting bound to its transaction.
CREATE OR REPLACE FUNCTION threadline.guard_evidence() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('threadline.expiring_evidence', true) = pg_current_xact_id()::text
        AND pg_has_role(current_user, (SELECT c.relowner FROM pg_class c WHERE c.oid = TG_RELID), 'USAGE') THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'threadline: evidence is never changed, and only retention removes it' USING
        ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_evidence_is_final',
        HINT = 'Record what is so now with record_evidence; old records go through expire_evidence.';
END
$$;
COMMENT ON FUNCTION threadline.guard_evidence() IS 'Refuses to change or remove evidence, but for expire_evidence.';

CREATE OR REPLACE TRIGGER threadline_guard BEFORE UPDATE OR DELETE ON threadline.evidence_records
    FOR EACH ROW EXECUTE FUNCTION threadline.guard_evidence();
CREATE OR REPLACE TRIGGER threadline_guard_truncate BEFORE TRUNCATE ON threadline.evidence_records
    FOR EACH STATEMENT EXECUTE FUNCTION threadline.guard_evidence();
-- A session in replica mode is none that may change it either.
ALTER TABLE threadline.evidence_records ENABLE ALWAYS TRIGGER threadline_guard;
ALTER TABLE threadline.evidence_records ENABLE ALWAYS TRIGGER threadline_guard_truncate;

-- Every problem of a record, as "field: what is wrong"; empty for a sound one.
CREATE OR REPLACE FUNCTION threadline.evidence_problems(record jsonb) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    instant_problem text;
BEGIN
    IF jsonb_typeof(record) IS DISTINCT FROM 'object' THEN
        RETURN ARRAY['record: not an object'];
    END IF;
    IF jsonb_typeof(record -> 'recorded_at') IN ('string', 'number', 'boolean', 'object', 'array') THEN
        instant_problem := 'recorded_at: not an instant as 2026-11-21T09:30:00Z';
        IF record ->> 'recorded_at' ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$' THEN
            -- There is no 30th of February, though it is written as if there were.
            BEGIN
                IF (record ->> 'recorded_at')::timestamptz IS NOT NULL THEN
                    instant_problem := NULL;
                END IF;
            EXCEPTION WHEN data_exception THEN
                NULL;
            END;
        END IF;
    END IF;
    RETURN array_remove(ARRAY[
        CASE WHEN record - '{subject,reference,status,verdict,actor,writer,entry_point,library_version,detail,recorded_at,unless_unchanged_for}'::text[] <> '{}'
            THEN 'record: has an unknown key' END,
        CASE WHEN coalesce(record ->> 'subject', '') NOT IN ('redaction_policy', 'trigger_coverage', 'retention_run', 'retention_policy',
            'export_delivery', 'support_scope_posture', 'legal_hold', 'recorded_baseline') THEN 'subject: not one there is' END,
        CASE WHEN jsonb_typeof(record -> 'reference') IS DISTINCT FROM 'object' OR record -> 'reference' = '{}' THEN 'reference: not an object, or empty'
            WHEN EXISTS (SELECT FROM jsonb_each(record -> 'reference') e WHERE jsonb_typeof(e.value) <> 'string') THEN 'reference: has a value that is no text'
            WHEN EXISTS (SELECT FROM jsonb_each_text(record -> 'reference') e WHERE e.key || e.value ~ '[[:cntrl:]]') THEN 'reference: has a control character'
            WHEN octet_length((record -> 'reference')::text) > 2000 THEN 'reference: larger than 2000 bytes' END,
        CASE WHEN coalesce(record ->> 'status', '') NOT IN ('ok', 'finding', 'error') THEN 'status: not ok, finding or error' END,
        CASE WHEN coalesce(record ->> 'verdict', '') NOT IN ('proven', 'inferred', 'unsupported') THEN 'verdict: not proven, inferred or unsupported'
            WHEN record ->> 'verdict' = 'proven' AND record ->> 'subject' IN ('redaction_policy', 'retention_policy', 'support_scope_posture')
            THEN 'verdict: a posture is inferred at best' END,
        threadline.actor_problem(NULLIF(record -> 'actor', 'null')),
        CASE WHEN jsonb_typeof(record -> 'writer') IS DISTINCT FROM 'string' OR octet_length(record ->> 'writer') NOT BETWEEN 1 AND 256
            THEN 'writer: not a text of 1 to 256 bytes' WHEN record ->> 'writer' ~ '[[:cntrl:]]' THEN 'writer: has a control character' END,
        CASE WHEN jsonb_typeof(record -> 'entry_point') IS DISTINCT FROM 'string' OR octet_length(record ->> 'entry_point') NOT BETWEEN 1 AND 256
            THEN 'entry_point: not a text of 1 to 256 bytes' WHEN record ->> 'entry_point' ~ '[[:cntrl:]]' THEN 'entry_point: has a control character' END,
        CASE WHEN jsonb_typeof(record -> 'library_version') IS DISTINCT FROM 'string' OR octet_length(record ->> 'library_version') NOT BETWEEN 1 AND 256
            THEN 'library_version: not a text of 1 to 256 bytes' WHEN record ->> 'library_version' ~ '[[:cntrl:]]' THEN 'library_version: has a control character' END,
        CASE WHEN jsonb_typeof(record -> 'detail') IS DISTINCT FROM 'object' THEN 'detail: not an object'
            WHEN octet_length((record -> 'detail')::text) > 32768 THEN 'detail: larger than 32768 bytes' END,
        instant_problem,
        CASE WHEN jsonb_typeof(record -> 'unless_unchanged_for') NOT IN ('number', 'null') THEN 'unless_unchanged_for: not a number of seconds'
            WHEN (record ->> 'unless_unchanged_for')::numeric NOT BETWEEN 0 AND 3155760000 THEN 'unless_unchanged_for: not 0 to 3155760000 seconds' END
    ], NULL);
END
$$;
COMMENT ON FUNCTION threadline.evidence_problems(jsonb) IS 'Every problem of a record of evidence, as "field: what is wrong".';

-- Adds records, an array of them, and returns for each {"id", "written"} in the same order. `as_source`: 'operation', or
-- 'application' for what any role may record. That is of two subjects, inferred at best, and established when the database's
-- clock says: it is what a role said, and no one vouches for it.
--
-- With "unless_unchanged_for", a number of seconds, a record is left out when one that says the same (status, verdict, detail,
-- actor and db_role) of its subject and reference is younger than that, and none has said otherwise since; the answer then has
-- the id of that one. So every difference is written at once, and what stays the same is written anew once in that time: the
-- records say when it was last seen to be so, and none is ever touched. Only records of the same source count, and of an
-- application only those of the same role: nobody's record keeps another's out. Of two sessions that record one subject in this
-- way at the same time the second waits for the first, though not for longer than the lock timeout below; after that it may add
-- an equal record, which does no harm.
CREATE OR REPLACE FUNCTION threadline.insert_evidence(records jsonb, as_source text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
    answer jsonb := '[]';
    problems text[];
    entry record;
    instant timestamptz;
    clock timestamptz;
    same record;
    new_id uuid;
    of_subject text;
BEGIN
    IF jsonb_typeof(records) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'threadline: invalid evidence: not an array of records' USING
            ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_invalid_evidence';
    END IF;
    FOR entry IN SELECT e.value, e.place FROM jsonb_array_elements(records) WITH ORDINALITY e (value, place) LOOP
        problems := threadline.evidence_problems(entry.value);
        IF problems = '{}' AND (entry.value ->> 'recorded_at')::timestamptz > clock_timestamp() + interval '1 minute' THEN
            problems := ARRAY['recorded_at: is still to come'];
        END IF;
        IF problems = '{}' AND as_source = 'application' AND entry.value ->> 'subject' IN ('export_delivery', 'support_scope_posture') THEN
            problems := array_remove(ARRAY[
                CASE WHEN entry.value ->> 'verdict' = 'proven'
                    THEN 'verdict: what an application records is inferred at best; proven takes EXECUTE on threadline.record_evidence(jsonb)' END,
                CASE WHEN entry.value ->> 'recorded_at' IS NOT NULL
                    THEN 'recorded_at: of what an application records the database says when; another instant takes EXECUTE on threadline.record_evidence(jsonb)' END
            ], NULL);
        END IF;
        IF problems <> '{}' THEN
            RAISE EXCEPTION 'threadline: invalid evidence: record %: %', entry.place, array_to_string(problems, '; ') USING
                ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_invalid_evidence';
        ELSIF as_source = 'application' AND entry.value ->> 'subject' NOT IN ('export_delivery', 'support_scope_posture') THEN
            RAISE EXCEPTION 'threadline: record % is of subject %, which takes EXECUTE on threadline.record_evidence(jsonb)', entry.place, entry.value ->> 'subject' USING
                ERRCODE = 'insufficient_privilege', CONSTRAINT = 'threadline_evidence_not_allowed',
                HINT = 'Grant it to the role that runs the operation.';
        END IF;
    END LOOP;
    -- In one order, so that two sessions never wait for each other.
    FOR of_subject IN SELECT DISTINCT e.value ->> 'subject' FROM jsonb_array_elements(records) e (value)
        WHERE (e.value ->> 'unless_unchanged_for')::numeric > 0 ORDER BY 1
    LOOP
        BEGIN
            PERFORM pg_advisory_xact_lock(hashtextextended('threadline evidence ' || of_subject, 0));
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            NULL;
        END;
    END LOOP;
    FOR entry IN SELECT e.value FROM jsonb_array_elements(records) WITH ORDINALITY e (value, place) ORDER BY e.place LOOP
        clock := clock_timestamp();
        instant := coalesce((entry.value ->> 'recorded_at')::timestamptz, clock);
        IF (entry.value ->> 'unless_unchanged_for')::numeric > 0 THEN
            SELECT r.id, r.recorded_at INTO same FROM threadline.evidence_records r
            WHERE r.subject = entry.value ->> 'subject' AND r.reference = entry.value -> 'reference' AND r.recorded_at <= instant
                AND r.source = as_source AND r.db_role = session_user
                AND (r.actor_type, r.actor_id) IS NOT DISTINCT FROM (entry.value #>> '{actor,type}', entry.value #>> '{actor,id}')
            ORDER BY r.recorded_at DESC, r.id DESC LIMIT 1;
            IF instant - same.recorded_at < make_interval(secs => (entry.value ->> 'unless_unchanged_for')::double precision)
                AND NOT EXISTS (SELECT FROM threadline.evidence_records r
                    WHERE r.subject = entry.value ->> 'subject' AND r.reference = entry.value -> 'reference' AND r.recorded_at <= instant
                        AND (r.recorded_at, r.id) >= (same.recorded_at, same.id)
                        AND r.source = as_source AND (as_source = 'operation' OR r.db_role = session_user)
                        AND (r.status, r.verdict, r.detail) IS DISTINCT FROM (entry.value ->> 'status', entry.value ->> 'verdict', entry.value -> 'detail'))
            THEN
                answer := answer || jsonb_build_object('id', same.id, 'written', false);
                CONTINUE;
            END IF;
        END IF;
        new_id := lpad(to_hex(floor(extract(epoch FROM clock) * 1000)::bigint), 12, '0') || '7' || substr(gen_random_uuid()::text, 16);
        INSERT INTO threadline.evidence_records (id, recorded_at, written_at, format, subject, reference, status, verdict, actor_type, actor_id,
            writer, entry_point, library_version, db_role, source, detail)
        VALUES (new_id, instant, clock, 1, entry.value ->> 'subject', entry.value -> 'reference', entry.value ->> 'status', entry.value ->> 'verdict',
            entry.value #>> '{actor,type}', entry.value #>> '{actor,id}', entry.value ->> 'writer', entry.value ->> 'entry_point',
            entry.value ->> 'library_version', session_user, as_source, entry.value -> 'detail');
        answer := answer || jsonb_build_object('id', new_id, 'written', true);
    END LOOP;
    RETURN answer;
END
$$;
COMMENT ON FUNCTION threadline.insert_evidence(jsonb, text) IS 'Adds records of evidence of a source; returns {"id", "written"} for each.';

CREATE OR REPLACE FUNCTION threadline.record_evidence(records jsonb) RETURNS jsonb
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT threadline.insert_evidence(records, 'operation')
$$;
COMMENT ON FUNCTION threadline.record_evidence(jsonb) IS 'Adds records of evidence of any subject; for roles that operate the trail.';

-- What an application does with the trail on its users' behalf, it records itself and without a grant. It is what that role says,
-- and its role is in the record: inferred at best, and beside the records of the operation, never in their place.
CREATE OR REPLACE FUNCTION threadline.record_application_evidence(records jsonb) RETURNS jsonb
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT threadline.insert_evidence(records, 'application')
$$;
COMMENT ON FUNCTION threadline.record_application_evidence(jsonb) IS 'Adds records of evidence of export deliveries and support scopes; for any role.';

-- Removes the oldest records established strictly before an instant, `batch` at most, and returns how many; call it until it
-- removes fewer. Records another session is removing are passed over; those about a hold that is in force stay with it.
CREATE OR REPLACE FUNCTION threadline.expire_evidence(older_than timestamptz, batch integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    removed bigint;
    ignored text;
BEGIN
    IF older_than IS NULL OR older_than > now() THEN
        RAISE EXCEPTION 'threadline: evidence expires before an instant that has passed' USING
            ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_invalid_expiry', HINT = 'Give an instant before now().';
    ELSIF batch IS NULL OR batch NOT BETWEEN 1 AND 100000 THEN
        RAISE EXCEPTION 'threadline: a batch is of 1 to 100000 records' USING
            ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_invalid_expiry', HINT = 'Give a smaller batch.';
    END IF;
    ignored := set_config('threadline.expiring_evidence', pg_current_xact_id()::text, true);
    DELETE FROM threadline.evidence_records WHERE id = ANY (ARRAY(
        SELECT r.id FROM threadline.evidence_records r WHERE r.recorded_at < older_than
            AND NOT (r.subject = 'legal_hold' AND EXISTS (SELECT FROM threadline.legal_holds h WHERE h.released_at IS NULL AND h.id::text = r.reference ->> 'hold'))
        ORDER BY r.recorded_at, r.id LIMIT batch FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS removed = ROW_COUNT;
    ignored := set_config('threadline.expiring_evidence', '', true);
    RETURN removed;
END
$$;
COMMENT ON FUNCTION threadline.expire_evidence(timestamptz, integer) IS 'Removes up to a batch of the records established before an instant, oldest first; returns how many.';


REVOKE ALL ON FUNCTION threadline.guard_evidence(), threadline.evidence_problems(jsonb), threadline.insert_evidence(jsonb, text),
    threadline.record_evidence(jsonb), threadline.record_application_evidence(jsonb), threadline.expire_evidence(timestamptz, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION threadline.record_application_evidence(jsonb) TO PUBLIC;

-- The first schema with all that operates a trail: retention, health, exports, evidence.
CREATE OR REPLACE FUNCTION threadline.schema_version() RETURNS integer
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT 2 $$;
