-- Takes the feed away again; the trail itself stays.
DROP TRIGGER IF EXISTS threadline_feed ON threadline.audit_actions;
DROP TRIGGER IF EXISTS threadline_feed ON threadline.audit_transactions;
DROP FUNCTION threadline.disable_feed_notify();
DROP FUNCTION threadline.enable_feed_notify();
DROP FUNCTION threadline.notify_feed();
DROP FUNCTION threadline.adopt_upgraded_cluster();
DROP FUNCTION threadline.adopt_restored_trail(timestamptz);
DROP FUNCTION threadline.feed_page(bigint, timestamptz, integer, bigint, integer, xid8, uuid, integer);
DROP FUNCTION threadline.feed_horizon();
DROP TABLE threadline.trail_clusters;
DROP INDEX threadline.audit_actions_xid_idx;
ALTER TABLE threadline.audit_actions DROP COLUMN xid;
DROP INDEX threadline.audit_transactions_xid_idx;
