-- The feed: reading the trail in the order of transaction numbers, so that nothing which commits late is skipped.
--
-- A transaction gets its number when it first writes, and numbers are handed out in order. Once every number below n has
-- ended, what is visible below n is complete: no reader that goes on from n misses anything.

-- With the id, so that partitions are merged in the order of the feed and nothing is sorted.
CREATE INDEX IF NOT EXISTS audit_transactions_xid_idx ON threadline.audit_transactions (xid, id);

-- Actions recorded on their own have no transaction row to take a number from. Those of before stay without one, and are
-- not in the feed.
ALTER TABLE threadline.audit_actions ADD COLUMN IF NOT EXISTS xid xid8;
ALTER TABLE threadline.audit_actions ALTER COLUMN xid SET DEFAULT pg_current_xact_id();
COMMENT ON COLUMN threadline.audit_actions.xid IS 'As in audit_transactions; NULL for an action recorded before there was a feed.';
CREATE INDEX IF NOT EXISTS audit_actions_xid_idx ON threadline.audit_actions (xid, id) WHERE transaction_id IS NULL;

-- Numbers begin anew in another cluster, and a restore brings rows along whose numbers mean nothing there. Which row has a
-- number of which cluster is told by its id, whose time is that of the transaction.
CREATE TABLE IF NOT EXISTS threadline.trail_clusters (
    place integer PRIMARY KEY,
    cluster bigint NOT NULL,
    numbering integer NOT NULL,
    first_id uuid NOT NULL,
    adopted_at timestamptz NOT NULL
);
COMMENT ON TABLE threadline.trail_clusters IS 'The clusters the trail has been written in, in order; more than one after a restore or pg_upgrade.';
COMMENT ON COLUMN threadline.trail_clusters.place IS 'Place in that order, from 1.';
COMMENT ON COLUMN threadline.trail_clusters.cluster IS 'system_identifier of the cluster.';
COMMENT ON COLUMN threadline.trail_clusters.numbering IS 'Clusters with the same one share transaction numbers: pg_upgrade keeps them, a restore does not.';
COMMENT ON COLUMN threadline.trail_clusters.first_id IS 'Transactions and actions from this id on, up to the first_id of the next numbering, have its numbers.';
COMMENT ON COLUMN threadline.trail_clusters.adopted_at IS 'When this row was written.';

INSERT INTO threadline.trail_clusters
SELECT 1, c.system_identifier, 1, '00000000-0000-0000-0000-000000000000', now() FROM pg_control_system() c
WHERE NOT EXISTS (SELECT FROM threadline.trail_clusters);

-- Where the numbers stand, in the snapshot of the calling statement. `problem` is NULL, or `moved` when the trail is in a
-- cluster that has not been adopted: then the numbering is the one before.
CREATE OR REPLACE FUNCTION threadline.feed_horizon(OUT cluster bigint, OUT numbering integer, OUT horizon xid8, OUT next_number xid8, OUT problem text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT here.system_identifier, last.numbering, pg_snapshot_xmin(pg_current_snapshot()), pg_snapshot_xmax(pg_current_snapshot()),
        CASE WHEN last.cluster IS DISTINCT FROM here.system_identifier THEN 'moved' END
    FROM pg_control_system() here LEFT JOIN LATERAL (SELECT c.* FROM threadline.trail_clusters c ORDER BY c.place DESC LIMIT 1) last ON true
$$;
COMMENT ON FUNCTION threadline.feed_horizon() IS 'Cluster, numbering, and the transaction number below which everything has ended.';

-- The next page of the feed after a position: ids in order, which of them are actions recorded on their own, for each
-- transaction the ordinals of its changes that are on the page (after the one, up to and including the other), and the
-- position after it. A transaction is split only when it is more than a page by itself, in changes or in bytes.
--
-- A position is (numbering, xid, id, ordinal): everything up to transaction `id` is behind it; with an ordinal, that
-- transaction only up to the ordinal; without an id, everything before number `xid`. `from_cluster` and `cluster` are the
-- clusters of the numbering; without the first the page begins at the instant `since`, or with the trail.
--
-- STABLE, and therefore of one snapshot, that of the calling statement: the horizon and what lies below it fit together.
-- All its plans are generic ones that walk indexes. There are few, and planning one over years of partitions takes longer
-- than running it.
CREATE OR REPLACE FUNCTION threadline.feed_page(from_cluster bigint, since timestamptz, max_changes integer, max_bytes bigint,
    INOUT numbering integer, INOUT xid xid8, INOUT id uuid, INOUT ordinal integer, OUT cluster bigint,
    OUT ids uuid[], OUT xids xid8[], OUT are_actions boolean[], OUT after_ordinals integer[], OUT upto_ordinals integer[],
    OUT caught_up boolean, OUT purged boolean, OUT problem text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
SET jit = off AS $$
DECLARE
    before_first CONSTANT integer := -2147483648;
    nil CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
    here CONSTANT record := threadline.feed_horizon();
    ahead boolean := false;
    lowest uuid;
    position_id uuid;
    part record;
    entry record;
    change record;
    used integer := 0;
    used_bytes bigint := 0;
    taken integer;
    taken_bytes bigint;
    after_ordinal integer;
    upto integer;
    overflows boolean;
BEGIN
    cluster := here.cluster;
    ids := '{}';
    xids := '{}';
    are_actions := '{}';
    after_ordinals := '{}';
    upto_ordinals := '{}';
    caught_up := true;
    purged := false;
    problem := here.problem;
    IF problem IS NOT NULL THEN
        RETURN;
    END IF;

    IF from_cluster IS NULL THEN
        -- A change captured before `since` belongs to a number that was assigned before it, and every transaction that
        -- began later has a higher one. The minute is for clocks that are set back.
        numbering := coalesce((SELECT c.numbering FROM threadline.trail_clusters c
            WHERE c.first_id <= threadline.first_id_at(since) ORDER BY c.place DESC LIMIT 1), 1);
        lowest := (SELECT min(c.first_id::text)::uuid FROM threadline.trail_clusters c WHERE c.numbering = feed_page.numbering);
        xid := coalesce((SELECT (t.xid::text::numeric + 1)::text::xid8 FROM threadline.audit_changes c JOIN threadline.audit_transactions t ON t.id = c.transaction_id
            WHERE c.captured_at < since - interval '1 minute' AND c.captured_at >= threadline.instant_of(lowest) AND t.id >= lowest
            ORDER BY c.captured_at DESC LIMIT 1), '0');
        id := NULL;
        ordinal := NULL;
    ELSIF NOT EXISTS (SELECT FROM threadline.trail_clusters c WHERE c.cluster = from_cluster AND c.numbering = feed_page.numbering) THEN
        problem := 'elsewhere';
        RETURN;
    ELSIF xid > here.next_number AND numbering = here.numbering THEN
        ahead := true;
    ELSIF id IS NOT NULL AND right(id::text, 12) = right('00000000000' || xid::text, 12)
            AND NOT EXISTS (SELECT FROM threadline.audit_transactions t WHERE t.id = feed_page.id) THEN
        purged := NOT EXISTS (SELECT FROM threadline.audit_transactions t WHERE t.id < feed_page.id);
    ELSIF id IS NOT NULL AND right(id::text, 12) <> right('00000000000' || xid::text, 12)
            AND NOT EXISTS (SELECT FROM threadline.audit_actions a WHERE a.id = feed_page.id) THEN
        purged := NOT EXISTS (SELECT FROM threadline.audit_actions a WHERE a.id < feed_page.id);
    ELSE
        purged := NULL;
    END IF;
    IF NOT purged AND EXISTS (SELECT FROM threadline.retention_numbers n WHERE n.numbering = feed_page.numbering AND n.newest >= feed_page.xid) THEN
        purged := true;
    END IF;
    -- What was delivered last is gone though older rows are there: not purged, then, but never written in this history.
    -- Numbers of an older cluster are not given out again, so nothing can hide behind them.
    ahead := ahead OR coalesce(NOT purged AND from_cluster IS NOT NULL AND numbering = here.numbering, false);
    -- Or something has gone that lies behind the position.
    purged := coalesce(purged, false) OR ((from_cluster IS NOT NULL OR since IS NOT NULL) AND EXISTS (SELECT FROM threadline.retention_numbers n
        WHERE n.numbering > feed_page.numbering OR (n.numbering = feed_page.numbering
            AND (n.newest > feed_page.xid OR (n.newest = feed_page.xid AND (id IS NULL OR ordinal IS NOT NULL))))));
    IF ahead THEN
        -- A standby that has not got that far yet has nothing to deliver, and will.
        problem := CASE WHEN NOT pg_is_in_recovery() THEN 'rewound' END;
        cluster := from_cluster;
        RETURN;
    END IF;

    FOR part IN SELECT c.numbering, (array_agg(c.cluster ORDER BY c.place DESC))[1] AS cluster, min(c.first_id::text)::uuid AS lowest,
            coalesce((SELECT min(n.first_id::text)::uuid FROM threadline.trail_clusters n WHERE n.numbering > c.numbering),
                'ffffffff-ffff-ffff-ffff-ffffffffffff') AS end_id,
            -- Everything of an older cluster has ended.
            CASE c.numbering WHEN here.numbering THEN here.horizon ELSE '18446744073709551615'::xid8 END AS horizon
        FROM threadline.trail_clusters c WHERE c.numbering >= feed_page.numbering GROUP BY c.numbering ORDER BY c.numbering
    LOOP
        cluster := part.cluster;
        IF part.numbering > numbering THEN
            numbering := part.numbering;
            xid := '0';
            id := NULL;
            ordinal := NULL;
        END IF;
        position_id := coalesce(id, nil);
        -- CASE keeps the planner from walking the index of the ids: it knows nothing of the numbers' range, and would take
        -- the one for as good as the other. LIMIT: one more than a page has, and the one the position is at.
        FOR entry IN
            (SELECT t.xid, t.id, false AS is_action FROM threadline.audit_transactions t
            WHERE t.xid >= feed_page.xid AND t.xid < part.horizon
                AND CASE WHEN t.id >= part.lowest AND t.id < part.end_id THEN t.xid > feed_page.xid OR t.id >= position_id END
            ORDER BY t.xid, t.id LIMIT 10002)
            UNION ALL
            (SELECT a.xid, a.id, true FROM threadline.audit_actions a
            WHERE a.transaction_id IS NULL AND a.xid >= feed_page.xid AND a.xid < part.horizon
                AND CASE WHEN a.id >= part.lowest AND a.id < part.end_id THEN a.xid > feed_page.xid OR a.id >= position_id END
            ORDER BY a.xid, a.id LIMIT 10002)
            ORDER BY 1, 2 LIMIT 10002
        LOOP
            CONTINUE WHEN entry.id = id AND ordinal IS NULL;
            after_ordinal := CASE WHEN entry.id = id THEN ordinal ELSE before_first END;
            upto := after_ordinal;
            taken := 0;
            taken_bytes := 0;
            overflows := used >= max_changes;
            IF NOT overflows AND NOT entry.is_action THEN
                FOR change IN SELECT c.ordinal, coalesce(octet_length(c.row_data::text), 0) + coalesce(octet_length(c.diff::text), 0) AS bytes
                    FROM threadline.audit_changes c WHERE c.transaction_id = entry.id AND c.ordinal > after_ordinal
                    ORDER BY c.ordinal LIMIT 10001
                LOOP
                    IF used + taken >= max_changes OR (used + taken > 0 AND used_bytes + taken_bytes + change.bytes > max_bytes) THEN
                        overflows := true;
                        EXIT;
                    END IF;
                    taken := taken + 1;
                    taken_bytes := taken_bytes + change.bytes;
                    upto := change.ordinal;
                END LOOP;
            END IF;
            IF overflows AND used > 0 THEN
                caught_up := false;
                RETURN;
            END IF;
            xid := entry.xid;
            id := entry.id;
            ordinal := CASE WHEN overflows THEN upto END;
            ids := ids || id;
            xids := xids || xid;
            are_actions := are_actions || entry.is_action;
            after_ordinals := after_ordinals || after_ordinal;
            upto_ordinals := upto_ordinals || CASE WHEN overflows THEN upto ELSE 2147483647 END;
            IF overflows THEN
                caught_up := false;
                RETURN;
            END IF;
            used := used + greatest(taken, 1);
            used_bytes := used_bytes + taken_bytes;
        END LOOP;
    END LOOP;
END
$$;
COMMENT ON FUNCTION threadline.feed_page(bigint, timestamptz, integer, bigint, integer, xid8, uuid, integer) IS
    'The next page of the feed after a position: what is on it, and the position after it.';

-- After the trail was restored from a dump into this cluster, whose numbers began anew: says from where on transactions have
-- numbers of this one. Without an instant, that is after everything there is now; call it before the application writes. Else
-- any instant between the dump and the first write in this cluster. Does nothing when the cluster is adopted.
CREATE OR REPLACE FUNCTION threadline.adopt_restored_trail(written_since timestamptz DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    here CONSTANT bigint := (SELECT c.system_identifier FROM pg_control_system() c);
    last threadline.trail_clusters;
    newest timestamptz;
    own timestamptz;
BEGIN
    LOCK TABLE threadline.trail_clusters IN EXCLUSIVE MODE;
    SELECT c.* INTO last FROM threadline.trail_clusters c ORDER BY c.place DESC LIMIT 1;
    IF last.cluster = here THEN
        RETURN;
    END IF;
    IF written_since IS NULL THEN
        -- A row that was written here, and not by a restore, was written by the transaction whose number it has.
        SELECT min(t.occurred_at) INTO own FROM threadline.audit_transactions t WHERE t.xmin::text = (t.xid::text::numeric % 4294967296)::text;
        SELECT threadline.instant_of(greatest((SELECT t.id FROM threadline.audit_transactions t ORDER BY t.id DESC LIMIT 1),
            (SELECT a.id FROM threadline.audit_actions a ORDER BY a.id DESC LIMIT 1))) + interval '1 millisecond' INTO newest;
        IF own IS NOT NULL THEN
            RAISE EXCEPTION 'threadline: transactions have been captured in this cluster, the first one began at %', own USING
                ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_feed_written',
                HINT = 'After a restore, call adopt_restored_trail with an instant between the dump and that one; after pg_upgrade, call adopt_upgraded_cluster.';
        ELSIF newest > clock_timestamp() THEN
            RAISE EXCEPTION 'threadline: the restored trail has a transaction of %, which is still to come', newest USING
                ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_feed_clock', HINT = 'Set the clock, or wait until then.';
        END IF;
        written_since := coalesce(newest, now());
    END IF;
    INSERT INTO threadline.trail_clusters
    VALUES (coalesce(last.place, 0) + 1, here, coalesce(last.numbering, 0) + 1, threadline.first_id_at(written_since), clock_timestamp());
END
$$;
COMMENT ON FUNCTION threadline.adopt_restored_trail(timestamptz) IS 'Lets the feed go on after the trail was restored from a dump into another cluster.';

-- After pg_upgrade, which gives a cluster a new identifier and keeps its transaction numbers.
CREATE OR REPLACE FUNCTION threadline.adopt_upgraded_cluster() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    here CONSTANT bigint := (SELECT c.system_identifier FROM pg_control_system() c);
    last threadline.trail_clusters;
BEGIN
    LOCK TABLE threadline.trail_clusters IN EXCLUSIVE MODE;
    SELECT c.* INTO last FROM threadline.trail_clusters c ORDER BY c.place DESC LIMIT 1;
    IF last.cluster = here THEN
        RETURN;
    ELSIF last.place IS NULL OR EXISTS (SELECT FROM threadline.audit_transactions t WHERE t.xid > pg_current_xact_id() AND t.id >= last.first_id) THEN
        RAISE EXCEPTION 'threadline: the trail has transaction numbers this cluster has not reached, so it was restored and not upgraded' USING
            ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_feed_restored', HINT = 'Call adopt_restored_trail.';
    END IF;
    INSERT INTO threadline.trail_clusters VALUES (last.place + 1, here, last.numbering, last.first_id, clock_timestamp());
END
$$;
COMMENT ON FUNCTION threadline.adopt_upgraded_cluster() IS 'Lets the feed go on after pg_upgrade.';

CREATE OR REPLACE FUNCTION threadline.notify_feed() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('threadline_feed', '');
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION threadline.notify_feed() IS 'Sends a notification on channel threadline_feed when the transaction commits.';

-- Has every audited transaction, and every action recorded on its own, notify channel threadline_feed when it commits.
--
-- Commits that notify take turns on one lock of the whole cluster, and a transaction that notifies cannot be prepared
-- (PREPARE TRANSACTION fails). Polling has neither cost; this is for feeds that cannot wait for a poll. Waits for writers
-- half a second at most; call it again then.
CREATE OR REPLACE FUNCTION threadline.enable_feed_notify() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
BEGIN
    CREATE OR REPLACE TRIGGER threadline_feed AFTER INSERT ON threadline.audit_transactions
        FOR EACH STATEMENT EXECUTE FUNCTION threadline.notify_feed();
    CREATE OR REPLACE TRIGGER threadline_feed AFTER INSERT ON threadline.audit_actions
        FOR EACH STATEMENT EXECUTE FUNCTION threadline.notify_feed();
END
$$;
COMMENT ON FUNCTION threadline.enable_feed_notify() IS 'Has what is in the feed notify channel threadline_feed when it commits; PREPARE TRANSACTION fails then.';

CREATE OR REPLACE FUNCTION threadline.disable_feed_notify() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
BEGIN
    DROP TRIGGER IF EXISTS threadline_feed ON threadline.audit_transactions;
    DROP TRIGGER IF EXISTS threadline_feed ON threadline.audit_actions;
END
$$;
COMMENT ON FUNCTION threadline.disable_feed_notify() IS 'Undoes enable_feed_notify.';


REVOKE ALL ON FUNCTION threadline.feed_horizon(), threadline.feed_page(bigint, timestamptz, integer, bigint, integer, xid8, uuid, integer),
    threadline.adopt_restored_trail(timestamptz), threadline.adopt_upgraded_cluster(), threadline.notify_feed(),
    threadline.enable_feed_notify(), threadline.disable_feed_notify() FROM PUBLIC;
-- Reading takes SELECT on the tables.
GRANT EXECUTE ON FUNCTION threadline.feed_horizon(),
    threadline.feed_page(bigint, timestamptz, integer, bigint, integer, xid8, uuid, integer) TO PUBLIC;
