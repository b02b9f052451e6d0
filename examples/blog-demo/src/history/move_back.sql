-- Moves what was captured a moment ago back to when it is told to have happened.
--
-- The demo's database is its own, and this runs as the owner of the trail: no application can do it, and nobody should. All
-- else about the changes is as capture wrote it: rows, differences, masks, actors, order.
--
-- `moves` has for each transaction, and each action that stands alone, its id and its instant. Ids begin with the milliseconds
-- of their instant, so they change with it, wherever they are written.

CREATE FUNCTION pg_temp.moved(id uuid, at timestamptz) RETURNS uuid LANGUAGE sql AS $$
    SELECT (left(threadline.first_id_at(at)::text, 13) || substr(id::text, 14))::uuid
$$;

-- The month of the installation reaches back to the beginning: it leaves the months before it to partitions of their own.
DO $$
DECLARE
    since CONSTANT timestamptz := (SELECT date_trunc('month', min(at), 'UTC') FROM moves);
    parent text;
    leaf record;
    first_month timestamptz;
    month timestamptz;
BEGIN
    FOREACH parent IN ARRAY threadline.trail_tables() LOOP
        SELECT c.relname AS name, (regexp_match(b.bound, 'TO \(''([0-9a-f-]{36})''\)'))[1]::uuid AS end_id INTO STRICT leaf
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid CROSS JOIN LATERAL (SELECT pg_get_expr(c.relpartbound, c.oid)) b (bound)
            WHERE i.inhparent = format('threadline.%I', parent)::regclass AND b.bound LIKE '%FROM (MINVALUE)%';
        first_month := date_trunc('month', threadline.instant_of(leaf.end_id) - interval '1 hour', 'UTC');
        CONTINUE WHEN since >= first_month;
        EXECUTE format('ALTER TABLE threadline.%I DETACH PARTITION threadline.%I', parent, leaf.name);
        month := since;
        WHILE month < first_month LOOP
            EXECUTE format('CREATE TABLE threadline.%I PARTITION OF threadline.%I FOR VALUES FROM (%s) TO (%L)',
                parent || to_char(month AT TIME ZONE 'UTC', '"_"YYYY_MM'), parent,
                CASE WHEN month = since THEN 'MINVALUE' ELSE quote_literal(threadline.first_id_at(month)) END,
                threadline.first_id_at((month AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC'));
            month := (month AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC';
        END LOOP;
        EXECUTE format('ALTER TABLE threadline.%I ATTACH PARTITION threadline.%I FOR VALUES FROM (%L) TO (%L)',
            parent, leaf.name, threadline.first_id_at(first_month), leaf.end_id);
    END LOOP;
END
$$;

-- The transactions come last: the offsets of their changes are from when they began.
UPDATE threadline.audit_changes c SET transaction_id = pg_temp.moved(m.id, m.at), captured_at = m.at + (c.captured_at - t.occurred_at)
    FROM moves m JOIN threadline.audit_transactions t ON t.id = m.id WHERE c.transaction_id = m.id;
UPDATE threadline.audit_departures d SET transaction_id = pg_temp.moved(m.id, m.at), captured_at = m.at + (d.captured_at - t.occurred_at)
    FROM moves m JOIN threadline.audit_transactions t ON t.id = m.id WHERE d.transaction_id = m.id;
UPDATE threadline.audit_key_changes k SET transaction_id = pg_temp.moved(m.id, m.at) FROM moves m WHERE k.transaction_id = m.id;
UPDATE threadline.audit_long_transactions l SET transaction_id = pg_temp.moved(m.id, m.at) FROM moves m WHERE l.transaction_id = m.id;
UPDATE threadline.audit_actions a SET id = pg_temp.moved(a.id, m.at), transaction_id = pg_temp.moved(m.id, m.at),
        occurred_at = m.at + (a.occurred_at - t.occurred_at)
    FROM moves m JOIN threadline.audit_transactions t ON t.id = m.id WHERE a.transaction_id = m.id;
UPDATE threadline.audit_actions a SET id = pg_temp.moved(m.id, m.at), occurred_at = m.at
    FROM moves m WHERE a.id = m.id AND a.transaction_id IS NULL;
UPDATE threadline.audit_transactions t SET id = pg_temp.moved(m.id, m.at), occurred_at = m.at, action_id = pg_temp.moved(t.action_id, m.at)
    FROM moves m WHERE t.id = m.id;

-- And the tables have been captured since before it all began.
UPDATE threadline.capture_periods SET began_at = began.at FROM (SELECT min(at) - interval '1 day' AS at FROM moves) began WHERE began_at > began.at;
UPDATE threadline.table_layouts SET recorded_at = began.at FROM (SELECT min(at) - interval '1 day' AS at FROM moves) began WHERE recorded_at > began.at;
ANALYZE threadline.audit_transactions, threadline.audit_actions, threadline.audit_changes;
