-- Takes the evidence away with its table.
CREATE OR REPLACE FUNCTION threadline.schema_version() RETURNS integer
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT 1 $$;
DROP FUNCTION threadline.expire_evidence(timestamptz, integer);
DROP FUNCTION threadline.record_application_evidence(jsonb);
DROP FUNCTION threadline.record_evidence(jsonb);
DROP FUNCTION threadline.insert_evidence(jsonb, text);
DROP FUNCTION threadline.evidence_problems(jsonb);
DROP TRIGGER threadline_guard_truncate ON threadline.evidence_records;
DROP TRIGGER threadline_guard ON threadline.evidence_records;
DROP FUNCTION threadline.guard_evidence();
DROP TABLE threadline.evidence_records;
