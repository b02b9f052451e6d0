-- Drops the audit trail with everything in it. The host's own tables are not touched.
DROP FUNCTION threadline.maintain();
DROP FUNCTION threadline.instant_of(uuid);
DROP FUNCTION threadline.first_id_at(timestamptz);
DROP TABLE threadline.capture_periods;
DROP TABLE threadline.redacted_columns;
DROP TABLE threadline.table_layouts;
DROP TABLE threadline.audited_tables;
DROP TABLE threadline.audit_departures;
DROP TABLE threadline.audit_long_transactions;
DROP TABLE threadline.audit_key_changes;
DROP TABLE threadline.audit_changes;
DROP TABLE threadline.audit_actions;
DROP TABLE threadline.audit_transactions;
DROP SCHEMA threadline;
