-- Takes recorded baselines away again; the trail itself stays.
DROP FUNCTION threadline.expire_baselines(jsonb, integer);
DROP FUNCTION threadline.baselines_of_row(integer, text);
DROP FUNCTION threadline.record_baseline(regclass, timestamptz, jsonb, text);
DROP TABLE threadline.audit_baseline_rows;
DROP TABLE threadline.audit_baselines;
