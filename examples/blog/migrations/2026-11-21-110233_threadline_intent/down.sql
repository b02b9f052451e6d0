-- Drops the audited transaction and the recording of actions; what was recorded stays.
DROP FUNCTION threadline.record_action(jsonb, jsonb);
DROP FUNCTION threadline.finish(uuid, integer, boolean);
DROP FUNCTION threadline.begin(jsonb, jsonb, boolean);
DROP FUNCTION threadline.insert_action(jsonb, jsonb, uuid);
DROP FUNCTION threadline.action_problems(jsonb);
