-- What a loaded trail (trail.sql) is asked about: up to `wanted` subjects at random, each with an instant that goes with it. After
-- setseed() the same ones each time.

-- Where the trail begins and how long it is, for instants spread evenly over it.
CREATE FUNCTION pick_instants(wanted integer) RETURNS TABLE (at timestamptz) LANGUAGE sql VOLATILE AS $$
    WITH trail AS MATERIALIZED (SELECT min(captured_at) AS began, max(captured_at) - min(captured_at) AS length FROM threadline.audit_changes)
    SELECT trail.began + trail.length * (0.02 + 0.96 * random()) FROM trail, generate_series(1, wanted)
$$;

CREATE FUNCTION pick_instants_alone(wanted integer) RETURNS TABLE (subject text, at timestamptz) LANGUAGE sql VOLATILE AS $$
    SELECT '', instant.at FROM pick_instants(wanted) instant
$$;

-- Ids of posts with exactly 100 versions.
CREATE FUNCTION pick_busy_posts(wanted integer) RETURNS TABLE (subject text, at timestamptz) LANGUAGE sql VOLATILE AS $$
    SELECT candidate.id::text, now() FROM generate_series(3, 633, 10) candidate (id)
    WHERE (SELECT count(*) FROM threadline.audit_changes c
        WHERE c.table_id = threadline.table_id('posts'::regclass) AND c.row_key = candidate.id::text) = 100
    ORDER BY random() LIMIT wanted
$$;

-- Ids of posts, each with the instant of one of its changes.
CREATE FUNCTION pick_post_changes(wanted integer) RETURNS TABLE (subject text, at timestamptz) LANGUAGE sql VOLATILE AS $$
    SELECT change.row_key, change.captured_at FROM pick_instants(wanted) instant, LATERAL (
        SELECT c.row_key, c.captured_at FROM threadline.audit_changes c
        WHERE c.table_id = threadline.table_id('posts'::regclass) AND c.captured_at >= instant.at AND c.op <> 'D' ORDER BY c.captured_at LIMIT 1) change
$$;

-- Transactions of exactly 20 changes; each has an action.
CREATE FUNCTION pick_incidents(wanted integer) RETURNS TABLE (subject text, at timestamptz) LANGUAGE sql VOLATILE SET max_parallel_workers_per_gather = 0 AS $$
    SELECT c.transaction_id::text, c.captured_at FROM threadline.audit_changes c WHERE c.ordinal = 20 ORDER BY random() LIMIT wanted
$$;

-- Actors as type:id, each as likely as any other.
CREATE FUNCTION pick_actors(wanted integer) RETURNS TABLE (subject text, at timestamptz) LANGUAGE sql VOLATILE SET max_parallel_workers_per_gather = 0 AS $$
    SELECT actor.type || ':' || actor.id, now()
    FROM (SELECT DISTINCT t.actor_type AS type, t.actor_id AS id FROM threadline.audit_transactions t WHERE t.actor_id IS NOT NULL ORDER BY 1, 2) actor
    ORDER BY random() LIMIT wanted
$$;

-- Correlation ids, each with an instant it was in use.
CREATE FUNCTION pick_correlations(wanted integer) RETURNS TABLE (subject text, at timestamptz) LANGUAGE sql VOLATILE AS $$
    SELECT begun.correlation_id, begun.occurred_at FROM pick_instants(wanted) instant, LATERAL (
        SELECT t.correlation_id, t.occurred_at FROM threadline.audit_transactions t
        WHERE t.id >= threadline.first_id_at(instant.at) ORDER BY t.id LIMIT 1) begun
$$;

-- The two tables with many changes in turn, each with an instant.
CREATE FUNCTION pick_tables(wanted integer) RETURNS TABLE (subject text, at timestamptz) LANGUAGE sql VOLATILE AS $$
    SELECT (ARRAY['posts', 'comments'])[1 + row_number() OVER () % 2], instant.at FROM pick_instants(wanted) instant
$$;
