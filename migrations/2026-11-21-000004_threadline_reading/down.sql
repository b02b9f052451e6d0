-- Takes reading away again; the trail itself stays.
DROP FUNCTION threadline.decode_image(anyelement, jsonb, text[]);
DROP FUNCTION threadline.table_reading(integer, boolean);
DROP FUNCTION threadline.since_attributes(integer);
DROP FUNCTION threadline.since_layout(integer, integer);
DROP FUNCTION threadline.rules_of(integer);
DROP FUNCTION threadline.todays_columns(integer);
DROP FUNCTION threadline.changes_of_row(integer, text, timestamptz, timestamptz, integer);
DROP FUNCTION threadline.present_row(integer, jsonb);
DROP FUNCTION threadline.row_key(integer, jsonb);
DROP FUNCTION threadline.key_in(threadline.audited_tables, regclass, boolean, jsonb);
DROP FUNCTION threadline.present_policy(threadline.audited_tables, regclass);
DROP FUNCTION threadline.is_stale(threadline.audited_tables, regclass);
DROP FUNCTION threadline.key_now(threadline.audited_tables);
DROP FUNCTION threadline.find_table(text, regclass);
