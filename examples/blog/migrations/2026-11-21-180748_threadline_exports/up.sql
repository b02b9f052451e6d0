-- Exports in the background: a queue of jobs, each an export that somebody asked for, with the part of the trail that
-- somebody may see. Any number of workers takes jobs from it. A worker holds a job by its number of the attempt for as long
-- as it prolongs its lease; when it stops, another one takes the job under the next number, and the first can do nothing
-- to it any more.

CREATE TABLE IF NOT EXISTS threadline.export_jobs (
    id uuid PRIMARY KEY,
    series_id uuid NOT NULL,
    scheduled_at timestamptz NOT NULL CHECK (scheduled_at BETWEEN '1970-01-01 00:00:00+00' AND '9999-12-31 00:00:00+00'),
    requested_at timestamptz NOT NULL CHECK (requested_at BETWEEN '1970-01-01 00:00:00+00' AND '9999-12-31 00:00:00+00'),
    requester_type text COLLATE "C" NOT NULL CHECK (requester_type IN ('user', 'admin', 'service_account', 'job', 'system')),
    requester_id text COLLATE "C" NOT NULL CHECK (btrim(requester_id) <> '' AND octet_length(requester_id) <= 256),
    filter jsonb NOT NULL CHECK (jsonb_typeof(filter) = 'object'),
    scope jsonb NOT NULL CHECK (jsonb_typeof(scope) = 'object'),
    format text COLLATE "C" NOT NULL CHECK (format IN ('csv', 'json', 'ndjson')),
    sort_order text COLLATE "C" NOT NULL CHECK (sort_order IN ('newest_first', 'oldest_first')),
    max_rows bigint CHECK (max_rows >= 0),
    formula_guard boolean NOT NULL,
    every_seconds bigint CHECK (every_seconds >= 60 AND every_seconds <= 3162240000),
    window_seconds bigint CHECK (window_seconds > 0 AND window_seconds <= 3162240000),
    keep_seconds bigint CHECK (keep_seconds > 0 AND keep_seconds <= 3162240000),
    state text COLLATE "C" NOT NULL CHECK (state IN ('queued', 'running', 'completed', 'failed', 'expired', 'cancelled')),
    due_at timestamptz NOT NULL CHECK (due_at BETWEEN '1970-01-01 00:00:00+00' AND '9999-12-31 00:00:00+00'),
    attempt integer NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    failures integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    max_failures integer NOT NULL CHECK (max_failures BETWEEN 1 AND 100),
    worker text COLLATE "C" CHECK (octet_length(worker) <= 256),
    backend_pid integer,
    claimed_at timestamptz,
    heartbeat_at timestamptz,
    rows_written bigint NOT NULL DEFAULT 0,
    bytes_written bigint NOT NULL DEFAULT 0,
    attempt_objects text[] COLLATE "C" NOT NULL DEFAULT '{}' CHECK (cardinality(attempt_objects) = attempt),
    object_name text COLLATE "C" CHECK (object_name ~ '^exports/[0-9a-f-]{36}\.[0-9]+\.[0-9a-f]{32}\.(csv|json|ndjson)$'),
    rows bigint CHECK (rows >= 0),
    bytes bigint CHECK (bytes >= 0),
    truncated boolean,
    sha256 text COLLATE "C" CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    manifest jsonb CHECK (jsonb_typeof(manifest) = 'object'),
    error text COLLATE "C" CHECK (error IN ('request_unreadable', 'scope_unreadable', 'refused', 'database', 'storage', 'verification', 'abandoned')),
    finished_at timestamptz,
    expires_at timestamptz,
    cleaned_at timestamptz,
    CONSTRAINT export_jobs_running CHECK (state <> 'running' OR (attempt > 0 AND num_nulls(worker, claimed_at, heartbeat_at) = 0)),
    CONSTRAINT export_jobs_result CHECK (num_nulls(object_name, rows, bytes, truncated, sha256, manifest, expires_at)
        = CASE WHEN state IN ('completed', 'expired') THEN 0 ELSE 7 END),
    CONSTRAINT export_jobs_failed CHECK (state <> 'failed' OR error IS NOT NULL),
    CONSTRAINT export_jobs_finished CHECK ((finished_at IS NULL) = (state IN ('queued', 'running'))),
    CONSTRAINT export_jobs_cleaned CHECK (cleaned_at IS NULL OR state IN ('failed', 'expired', 'cancelled'))
);

COMMENT ON TABLE threadline.export_jobs IS 'Exports to be made in the background, being made, and made; one row for each file.';
COMMENT ON COLUMN threadline.export_jobs.id IS 'A time-ordered UUID.';
COMMENT ON COLUMN threadline.export_jobs.series_id IS 'The first job of a recurring export, in all of its jobs; a job''s own id otherwise.';
COMMENT ON COLUMN threadline.export_jobs.scheduled_at IS 'When it was to be made, which may be before it was; the end of a relative window, exclusive.';
COMMENT ON COLUMN threadline.export_jobs.requested_at IS 'When this row was written.';
COMMENT ON COLUMN threadline.export_jobs.requester_type IS 'Type of the actor the job belongs to.';
COMMENT ON COLUMN threadline.export_jobs.requester_id IS 'The actor''s id.';
COMMENT ON COLUMN threadline.export_jobs.filter IS 'Which changes are asked for: names of filters, each with a list of texts. Tables have their schema.';
COMMENT ON COLUMN threadline.export_jobs.scope IS 'What the requester may see: {"version": 1, "rule": …}, or {"version": 1, "unscoped": true}. What cannot be read sees nothing.';
COMMENT ON COLUMN threadline.export_jobs.format IS 'csv, json or ndjson.';
COMMENT ON COLUMN threadline.export_jobs.sort_order IS 'newest_first or oldest_first.';
COMMENT ON COLUMN threadline.export_jobs.max_rows IS 'The most changes in the file; NULL for any number.';
COMMENT ON COLUMN threadline.export_jobs.formula_guard IS 'Whether CSV cells that a spreadsheet would compute are made plain text.';
COMMENT ON COLUMN threadline.export_jobs.every_seconds IS 'From one scheduled_at to the next one of a recurring export; NULL for one that is made once.';
COMMENT ON COLUMN threadline.export_jobs.window_seconds IS 'Only changes captured in this time before scheduled_at; NULL for what the filter says.';
COMMENT ON COLUMN threadline.export_jobs.keep_seconds IS 'How long the file is kept; NULL for as long as the worker is configured to.';
COMMENT ON COLUMN threadline.export_jobs.state IS 'queued; running; completed, with a file; expired, its file gone or going; failed; cancelled.';
COMMENT ON COLUMN threadline.export_jobs.due_at IS 'From when on a worker may take it: its time while it is queued, the end of the lease while it is running.';
COMMENT ON COLUMN threadline.export_jobs.attempt IS 'How often it was taken; who took it under an earlier number does not hold it.';
COMMENT ON COLUMN threadline.export_jobs.failures IS 'How often an attempt failed, or ended without a word.';
COMMENT ON COLUMN threadline.export_jobs.max_failures IS 'With so many failures the job has failed.';
COMMENT ON COLUMN threadline.export_jobs.worker IS 'Who took it last: the name of an instance.';
COMMENT ON COLUMN threadline.export_jobs.backend_pid IS 'The server process that took it, for whoever looks into pg_stat_activity; means little behind a pooler.';
COMMENT ON COLUMN threadline.export_jobs.claimed_at IS 'When it was taken last.';
COMMENT ON COLUMN threadline.export_jobs.heartbeat_at IS 'When who holds it last said so.';
COMMENT ON COLUMN threadline.export_jobs.rows_written IS 'Progress of the latest attempt: changes written.';
COMMENT ON COLUMN threadline.export_jobs.bytes_written IS 'Progress of the latest attempt: bytes written.';
COMMENT ON COLUMN threadline.export_jobs.attempt_objects IS 'The name each attempt gave its file, a random part in it: no two attempts, and no two copies of a database, choose one name.';
COMMENT ON COLUMN threadline.export_jobs.object_name IS 'The file in the storage: the name of the attempt that completed.';
COMMENT ON COLUMN threadline.export_jobs.rows IS 'Changes in the file.';
COMMENT ON COLUMN threadline.export_jobs.bytes IS 'Length of the file.';
COMMENT ON COLUMN threadline.export_jobs.truncated IS 'Whether there were more changes than max_rows.';
COMMENT ON COLUMN threadline.export_jobs.sha256 IS 'SHA-256 of the file in lower-case hexadecimal digits.';
COMMENT ON COLUMN threadline.export_jobs.manifest IS 'What the file holds and how it came about.';
COMMENT ON COLUMN threadline.export_jobs.error IS 'Why the latest attempt failed, one of a few constant texts.';
COMMENT ON COLUMN threadline.export_jobs.finished_at IS 'When it came to be completed, failed or cancelled.';
COMMENT ON COLUMN threadline.export_jobs.expires_at IS 'Until when the file can be had, exclusive.';
COMMENT ON COLUMN threadline.export_jobs.cleaned_at IS 'When the storage was last found to have nothing of it; NULL while it may have.';

-- One job for each turn of a recurring export.
CREATE UNIQUE INDEX IF NOT EXISTS export_jobs_series_key ON threadline.export_jobs (series_id, scheduled_at);
CREATE INDEX IF NOT EXISTS export_jobs_due_idx ON threadline.export_jobs (due_at, id) WHERE state IN ('queued', 'running');
CREATE INDEX IF NOT EXISTS export_jobs_requester_idx ON threadline.export_jobs (requester_type, requester_id, id);
CREATE INDEX IF NOT EXISTS export_jobs_expiring_idx ON threadline.export_jobs (expires_at) WHERE state = 'completed';
CREATE INDEX IF NOT EXISTS export_jobs_unclean_idx ON threadline.export_jobs (id) WHERE state IN ('failed', 'expired', 'cancelled') AND cleaned_at IS NULL;
CREATE INDEX IF NOT EXISTS export_jobs_cleaned_idx ON threadline.export_jobs (finished_at) WHERE cleaned_at IS NOT NULL;

-- Deletes up to `batch` jobs that finished before `older_than` and of which the storage has nothing, the oldest first;
-- returns how many. A job whose file could not be removed yet stays, or nobody would know of the file.
CREATE OR REPLACE FUNCTION threadline.expire_exports(older_than timestamptz, batch integer) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    deleted bigint;
BEGIN
    IF older_than IS NULL OR batch IS NULL OR batch < 1 THEN
        RAISE EXCEPTION 'threadline: expire_exports takes an instant and a batch of at least 1' USING
            ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_invalid_batch', HINT = 'Give both.';
    END IF;
    DELETE FROM threadline.export_jobs WHERE id IN (
        SELECT j.id FROM threadline.export_jobs j WHERE j.cleaned_at IS NOT NULL AND j.finished_at < older_than
        ORDER BY j.finished_at LIMIT batch FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END
$$;
COMMENT ON FUNCTION threadline.expire_exports(timestamptz, integer) IS 'Deletes jobs that finished before an instant and of which the storage has nothing.';

REVOKE ALL ON FUNCTION threadline.expire_exports(timestamptz, integer) FROM PUBLIC;
