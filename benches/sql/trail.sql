-- A trail of any length, as capture would have written it, in bulk: load_trail(changes, months) makes three host tables
-- (posts, its child comments, and settings, which hardly ever change), audits them, spreads `changes` changes evenly over the
-- last `months` months, and leaves the tables as the trail says they are, so that folding back meets no gap.
--
-- Once in a database that holds the audit schema and nothing else. Run VACUUM afterwards, which no function can.

-- The columns of the other benchmarks' posts, and the tenant.
CREATE TABLE posts (
    id bigint PRIMARY KEY,
    title text NOT NULL,
    body text NOT NULL,
    views integer NOT NULL,
    price numeric(10, 2) NOT NULL,
    published boolean NOT NULL,
    author_id bigint NOT NULL,
    meta jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    tags text[] NOT NULL,
    slug text NOT NULL,
    score double precision NOT NULL,
    organization_id bigint NOT NULL
);

CREATE TABLE comments (
    id bigint PRIMARY KEY,
    post_id bigint NOT NULL REFERENCES posts,
    organization_id bigint NOT NULL,
    author_id bigint NOT NULL,
    body text NOT NULL,
    hidden boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE settings (
    name text PRIMARY KEY,
    value integer NOT NULL,
    updated_at timestamptz NOT NULL
);

-- One of 200 tenants. A comment (every fifth row) is its post's.
CREATE FUNCTION trail_organization(n bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT 1 + ((n - CASE WHEN n % 5 = 0 THEN 1 ELSE 0 END) / 5 * 7919) % 200
$$;

-- Row `n` after `version` updates. An update changes updated_at and one more column, each of five in turn, so column k
-- (from 0) has changed (version + 4 - k) / 5 times.
CREATE FUNCTION trail_post(n bigint, version integer, created_at timestamptz, updated_at timestamptz) RETURNS posts LANGUAGE sql STABLE AS $$
    SELECT ROW(n, 'Notes on the number ' || n || CASE WHEN version >= 2 THEN ', edition ' || (version + 3) / 5 + 1 ELSE '' END,
        repeat('All work and no play. ', 5), 7 + 13 * ((version + 4) / 5), 19.90 + n % 50 + 0.50 * ((version + 2) / 5),
        (version + 1) / 5 % 2 = 1, n % 1000, jsonb_build_object('lang', 'en', 'source', 'import', 'revision', version / 5),
        created_at, updated_at, '{rust,postgres}'::text[], 'notes-on-' || n, n * 0.25, trail_organization(n))::posts
$$;

-- Its post is an odd row, and odd rows are never deleted.
CREATE FUNCTION trail_comment(n bigint, version integer, created_at timestamptz, updated_at timestamptz) RETURNS comments LANGUAGE sql STABLE AS $$
    SELECT ROW(n, n - 1 - n % 2, trail_organization(n), n % 1000, 'I have read the notes and agree' || repeat('!', 1 + (version + 1) / 2 % 30),
        version / 2 % 2 = 1, created_at, updated_at)::comments
$$;

-- Who: nobody named, anonymous, or one of 1,000 whose numbers are 1 to 1000.
CREATE FUNCTION trail_actor_type(actor integer) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN actor IS NULL THEN NULL WHEN actor = 0 THEN 'anonymous' WHEN actor = 1 THEN 'service_account'
        WHEN actor <= 20 THEN 'admin' WHEN actor <= 30 THEN 'job' ELSE 'user' END
$$;

-- A number from 0 to 1048575 that looks random and is the same each time; another sequence for each `seed`.
CREATE FUNCTION trail_random(n bigint, seed integer) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT hashint8extended(n, seed) & 1048575
$$;

-- Months before the installed ones get partitions of their own, named as threadline.maintain names them. The first installed
-- one, empty so far, reaches back to MINVALUE: the oldest month takes that over.
CREATE FUNCTION trail_partitions(since timestamptz) RETURNS void LANGUAGE plpgsql SET TimeZone = 'UTC' AS $$
DECLARE
    parent record;
    first_month timestamptz;
    upper_bound text;
    month timestamptz;
BEGIN
    FOR parent IN
        SELECT c.relname AS name, leaf.relname AS leaf, pg_get_expr(leaf.relpartbound, leaf.oid) AS bound
        FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid JOIN pg_inherits i ON i.inhparent = c.oid JOIN pg_class leaf ON leaf.oid = i.inhrelid
        WHERE c.relnamespace = 'threadline'::regnamespace AND pg_get_expr(leaf.relpartbound, leaf.oid) LIKE '%FROM (MINVALUE)%'
        ORDER BY c.oid
    LOOP
        upper_bound := (regexp_match(parent.bound, 'TO \((.*)\)$'))[1];
        first_month := threadline.instant_of(trim('''' FROM upper_bound)::uuid) - interval '1 month';
        EXECUTE format('ALTER TABLE threadline.%I DETACH PARTITION threadline.%I', parent.name, parent.leaf);
        FOR month IN SELECT generate_series(date_trunc('month', since), first_month - interval '1 month', interval '1 month') LOOP
            EXECUTE format('CREATE TABLE threadline.%I PARTITION OF threadline.%I FOR VALUES FROM (%s) TO (%L)',
                parent.name || to_char(month, '"_"YYYY_MM'), parent.name,
                CASE WHEN month = date_trunc('month', since) THEN 'MINVALUE' ELSE quote_literal(threadline.first_id_at(month)) END,
                threadline.first_id_at(month + interval '1 month'));
        END LOOP;
        EXECUTE format('ALTER TABLE threadline.%I ATTACH PARTITION threadline.%I FOR VALUES FROM (%s) TO (%s)', parent.name, parent.leaf,
            CASE WHEN date_trunc('month', since) < first_month THEN quote_literal(threadline.first_id_at(first_month)) ELSE 'MINVALUE' END, upper_bound);
    END LOOP;
END
$$;

-- Loads the trail and returns how many transactions it has. `changes` is at least 3000.
--
-- Change number i (from 0) says by itself most of what it is: of ten, two are inserts, one is a delete, seven are updates, and
-- 300 make 100 transactions of 1 to 20. Only which version of its row a change made takes sorting.
CREATE FUNCTION load_trail(changes bigint, months integer DEFAULT 12) RETURNS bigint
LANGUAGE plpgsql
SET TimeZone = 'UTC'
SET work_mem = '1GB'
SET maintenance_work_mem = '1GB'
SET jit = off AS $$
DECLARE
    since CONSTANT timestamptz := now() - make_interval(months => months);
    transactions CONSTANT bigint := (changes + 299) / 300 * 100;
    step CONSTANT double precision := extract(epoch FROM now() - interval '1 minute' - since)::double precision / transactions;
    -- A row lives on, if it is one that is deleted, while twice as many others are inserted.
    lifetime CONSTANT bigint := least(1500, changes / 40);
    -- Rows 3, 13, 23 and so on have exactly 100 versions, spread over the whole time.
    busy_rows CONSTANT bigint := greatest(1, least(64, changes / 10 / 99 / 4));
    busy_from CONSTANT bigint := 5 * busy_rows + 20;
    busy_every CONSTANT bigint := (changes / 10 - busy_from - 1) / (99 * busy_rows);
    first_number CONSTANT bigint := pg_current_xact_id()::text::bigint;
    index_definitions text[];
    definition text;
    tables record;
BEGIN
    IF changes < 3000 THEN
        RAISE EXCEPTION 'a trail of % changes is too short; ask for 3000 or more', changes;
    END IF;
    PERFORM trail_partitions(since);

    -- Transactions number numbers that have been given out, so that none lies in the future of a reader in commit order.
    FOR number IN 1 .. transactions LOOP
        BEGIN
            PERFORM pg_logical_emit_message(true, 'threadline', '');
        EXCEPTION WHEN division_by_zero THEN
        END;
    END LOOP;

    -- The 300 changes of a block: which transaction of the block, place in it, its size.
    CREATE TEMP TABLE slots ON COMMIT DROP AS
    WITH sized AS (
        SELECT s.size, row_number() OVER (ORDER BY md5(format('%s/%s', s.size, copy))) - 1 AS transaction
        FROM (VALUES (1, 40), (2, 22), (3, 12), (4, 8), (5, 5), (6, 4), (7, 3), (8, 2), (10, 1), (12, 1), (20, 2)) s (size, copies),
            generate_series(1, s.copies) copy
    )
    SELECT row_number() OVER (ORDER BY sized.transaction, ordinal) - 1 AS place, sized.transaction, ordinal, sized.size,
        sized.transaction = min(sized.transaction) FILTER (WHERE sized.size = 5) OVER () AS may_be_slow,
        sized.transaction = min(sized.transaction) FILTER (WHERE sized.size = 20) OVER () AS may_be_long
    FROM sized, generate_series(1, sized.size) ordinal;

    -- Row numbers below 0 are settings, others that 5 divides are comments, the rest are posts. Odd rows are never deleted.
    CREATE TEMP TABLE planned ON COMMIT DROP AS
    SELECT c.i, c.transaction, c.ordinal, c.at,
        CASE WHEN c.setting < 5 THEN 'I' WHEN c.setting IS NOT NULL THEN 'U' WHEN c.i % 10 IN (0, 5) THEN 'I'
            WHEN c.i % 10 = 7 AND c.i / 10 > lifetime AND NOT c.is_long THEN 'D' ELSE 'U' END::"char" AS op,
        CASE WHEN c.setting IS NOT NULL THEN -1 - c.setting % 5
            WHEN c.i % 10 = 0 THEN c.inserted WHEN c.i % 10 = 5 THEN c.inserted
            WHEN c.i % 10 = 9 AND c.i / 10 >= busy_from AND (c.i / 10 - busy_from) % busy_every = 0 AND (c.i / 10 - busy_from) / busy_every < 99 * busy_rows
                THEN 10 * ((c.i / 10 - busy_from) / busy_every % busy_rows) + 3
            -- It began before rows of its own time were there.
            WHEN c.is_long THEN 10 * c.ordinal + 7
            WHEN c.i % 10 = 7 AND c.i / 10 > lifetime THEN 2 * (c.i / 10 - lifetime)
            ELSE c.picked + CASE WHEN c.picked % 10 = 3 AND c.picked < 10 * busy_rows THEN 4 ELSE 0 END END AS n
    FROM (
        SELECT t.*, CASE WHEN t.inserted < 60 THEN 1
                WHEN trail_random(t.i, 1) % 10 < 6 THEN t.inserted - 20 - trail_random(t.i, 2) % least(lifetime * 3 / 2, (t.inserted - 20) / 2)
                ELSE 1 + 2 * (trail_random(t.i, 2) % ((t.inserted - 20) / 2)) END AS picked,
            CASE WHEN t.i % 10 = 1 AND t.i / 10 % (changes / 10 / 50) = 0 AND t.i / 10 / (changes / 10 / 50) < 50 THEN t.i / 10 / (changes / 10 / 50) END AS setting
        FROM (
            SELECT i, 100 * (i / 300) + s.transaction AS transaction, s.ordinal, 2 * (i / 10) + CASE WHEN i % 10 < 5 THEN 1 ELSE 2 END AS inserted,
                s.may_be_long AND i / 300 = changes / 600 AS is_long,
                since + make_interval(secs => step * (100 * (i / 300) + s.transaction + trail_random(100 * (i / 300) + s.transaction, 3) / 2097152.0)
                    -- One of all transactions takes an hour, one of a thousand more than two seconds.
                    + CASE WHEN s.may_be_long AND i / 300 = changes / 600 THEN 190.0 * (s.ordinal - s.size)
                        WHEN s.may_be_slow AND i / 300 % 10 = 5 THEN 0.6 * (s.ordinal - s.size) ELSE 0.0017 * s.ordinal END) AS at
            FROM generate_series(0, changes - 1) i JOIN slots s ON s.place = i % 300
        ) t
    ) c;

    CREATE TEMP TABLE versions ON COMMIT DROP AS
    SELECT p.*, (row_number() OVER (PARTITION BY p.n ORDER BY p.at, p.i) - 1)::integer AS version,
        first_value(p.at) OVER (PARTITION BY p.n ORDER BY p.at, p.i) AS created_at,
        lag(p.at) OVER (PARTITION BY p.n ORDER BY p.at, p.i) AS was_updated_at,
        lead(p.i) OVER (PARTITION BY p.n ORDER BY p.at, p.i) IS NULL AS is_last
    FROM planned p ORDER BY p.i;
    DROP TABLE planned;
    ANALYZE versions;

    INSERT INTO posts SELECT post.* FROM versions v, LATERAL trail_post(v.n, v.version, v.created_at, v.at) post
        WHERE v.is_last AND v.op <> 'D' AND v.n > 0 AND v.n % 5 <> 0 ORDER BY v.n;
    INSERT INTO comments SELECT comment.* FROM versions v, LATERAL trail_comment(v.n, v.version, v.created_at, v.at) comment
        WHERE v.is_last AND v.op <> 'D' AND v.n > 0 AND v.n % 5 = 0 ORDER BY v.n;
    INSERT INTO settings SELECT 'setting_' || -v.n, v.version, v.at FROM versions v WHERE v.is_last AND v.n < 0;
    SELECT threadline.attach('posts', scope => 'organization_id') AS posts, threadline.attach('comments', scope => 'organization_id') AS comments,
        threadline.attach('settings') AS settings INTO tables;
    UPDATE threadline.capture_periods SET began_at = since - interval '2 hours';
    UPDATE threadline.table_layouts SET recorded_at = since - interval '2 hours';

    -- Built at the end an index takes a fraction of the time, and the definitions stay the migrations' own.
    SELECT array_agg(CASE WHEN k.oid IS NOT NULL THEN format('ALTER TABLE %s ADD CONSTRAINT %I %s', x.indrelid::regclass, k.conname, pg_get_constraintdef(k.oid))
            ELSE replace(pg_get_indexdef(x.indexrelid), ' ON ONLY ', ' ON ') END
            ORDER BY x.indexrelid) INTO index_definitions
        FROM pg_index x JOIN pg_partitioned_table p ON p.partrelid = x.indrelid JOIN pg_class c ON c.oid = x.indrelid
            LEFT JOIN pg_constraint k ON k.conindid = x.indexrelid AND k.conrelid = x.indrelid AND k.contype IN ('p', 'u')
        WHERE c.relnamespace = 'threadline'::regnamespace;
    FOR definition IN
        SELECT CASE WHEN k.oid IS NOT NULL THEN format('ALTER TABLE %s DROP CONSTRAINT %I', x.indrelid::regclass, k.conname)
            ELSE format('DROP INDEX %s', x.indexrelid::regclass) END
        FROM pg_index x JOIN pg_partitioned_table p ON p.partrelid = x.indrelid JOIN pg_class c ON c.oid = x.indrelid
            LEFT JOIN pg_constraint k ON k.conindid = x.indexrelid AND k.conrelid = x.indrelid AND k.contype IN ('p', 'u')
        WHERE c.relnamespace = 'threadline'::regnamespace
    LOOP
        EXECUTE definition;
    END LOOP;

    -- Ids in the layout of threadline.begin and insert_action. Every transaction of 20 changes has an action, of others three in ten.
    CREATE TEMP TABLE begun ON COMMIT DROP AS
    SELECT b.transaction, b.began_at, (b.milliseconds || '7' || substr(gen_random_uuid()::text, 16, 8) || lpad(b.number::text, 12, '0'))::uuid AS id, b.number::text::xid8 AS number,
        CASE WHEN b.size = 20 OR trail_random(b.transaction, 4) % 10 < 3 THEN (b.milliseconds || '7' || substr(gen_random_uuid()::text, 16))::uuid END AS action_id,
        -- One has a twentieth of all, a hundred have a few changes each, the rest have a share that falls from 1 % on.
        CASE WHEN b.transaction % greatest(1, transactions / 300) = 0 THEN 901 + (b.transaction / greatest(1, transactions / 300)) % 100
            WHEN trail_random(b.transaction, 5) % 100 < 5 THEN 1
            WHEN trail_random(b.transaction, 5) % 100 = 5 THEN 0
            WHEN trail_random(b.transaction, 5) % 100 = 6 THEN NULL
            ELSE 2 + floor(899 * power(trail_random(b.transaction, 6) / 1048576.0::double precision, 1.5)) END::integer AS actor,
        -- Of 55 transactions the first has a correlation of its own, the next two share one, and so on up to ten.
        md5(format('%s/%s', b.transaction / 55, floor((sqrt(8 * (b.transaction % 55) + 1) - 1) / 2))) AS correlation_id
    FROM (
        SELECT v.transaction, v.at - interval '2 milliseconds' AS began_at, s.size, first_number + 1 + v.transaction AS number,
            lpad(to_hex(floor(extract(epoch FROM v.at - interval '2 milliseconds') * 1000)::bigint), 12, '0') AS milliseconds
        FROM versions v JOIN slots s ON s.place = v.i % 300 WHERE v.ordinal = 1
    ) b;
    ANALYZE begun;

    INSERT INTO threadline.audit_transactions (id, occurred_at, xid, actor_type, actor_id, request_id, correlation_id, job_id, remote_addr,
        action_id, db_role, application_name, client_addr, meta)
    SELECT b.id, b.began_at, b.number, trail_actor_type(b.actor), NULLIF(b.actor, 0)::text, 'req-' || left(md5(b.transaction::text), 22), b.correlation_id,
        CASE WHEN b.actor BETWEEN 21 AND 30 THEN 'job-' || b.transaction END, '203.0.113.' || b.transaction % 250, b.action_id,
        'blog', 'blog', NULL, CASE WHEN b.transaction % 10 = 0 THEN '{"route": "/posts/{id}"}'::jsonb END
    FROM begun b ORDER BY b.transaction;

    INSERT INTO threadline.audit_actions (id, occurred_at, name, status, verb, category, reason, actor_type, actor_id, request_id, correlation_id,
        job_id, transaction_id, db_role, application_name)
    SELECT a.action_id, a.began_at + interval '1 millisecond', a.name, CASE WHEN a.failed THEN 'error' ELSE 'ok' END, split_part(a.name, '.', 2),
        split_part(a.name, '.', 1), CASE WHEN a.failed THEN 'the remote side did not answer' END, trail_actor_type(a.actor), NULLIF(a.actor, 0)::text,
        'req-' || left(md5(a.transaction::text), 22), a.correlation_id, CASE WHEN a.actor BETWEEN 21 AND 30 THEN 'job-' || a.transaction END, a.id, 'blog', 'blog'
    FROM (
        SELECT b.*, trail_random(b.transaction, 7) % 50 = 0 AS failed, (ARRAY['post.created', 'post.published', 'post.withdrawn', 'post.edited', 'post.tagged',
            'post.priced', 'post.imported', 'post.deleted', 'comment.created', 'comment.edited', 'comment.hidden', 'comment.deleted', 'comment.imported',
            'moderation.approved', 'moderation.rejected', 'moderation.escalated', 'billing.repriced', 'billing.corrected', 'cleanup.archived',
            'cleanup.expired'])[1 + trail_random(b.transaction, 8) % 20] AS name
        FROM begun b WHERE b.action_id IS NOT NULL
    ) a ORDER BY a.transaction;

    INSERT INTO threadline.audit_changes (captured_at, transaction_id, ordinal, table_id, layout, op, row_key, scope, row_data, diff)
    SELECT v.at, b.id, v.ordinal,
        CASE WHEN v.n < 0 THEN tables.settings WHEN v.n % 5 = 0 THEN tables.comments ELSE tables.posts END, 1, v.op,
        CASE WHEN v.n < 0 THEN 'setting_' || -v.n ELSE v.n::text END,
        CASE WHEN v.n > 0 THEN trail_organization(v.n)::text END,
        CASE
            WHEN v.op = 'U' THEN NULL
            WHEN v.n < 0 THEN json_build_object('name', 'setting_' || -v.n, 'value', 0, 'updated_at', v.at)
            -- A delete has the row as the change before it left it.
            WHEN v.n % 5 = 0 THEN row_to_json(trail_comment(v.n, v.version - CASE v.op WHEN 'D' THEN 1 ELSE 0 END, v.created_at, coalesce(v.was_updated_at, v.at)))
            ELSE row_to_json(trail_post(v.n, v.version - CASE v.op WHEN 'D' THEN 1 ELSE 0 END, v.created_at, coalesce(v.was_updated_at, v.at)))
        END,
        CASE WHEN v.op = 'U' THEN ('{' || CASE
            WHEN v.n < 0 THEN '"value": ' || json_build_array(v.version - 1, v.version)
            WHEN v.n % 5 = 0 AND v.version % 2 = 1 THEN '"body": ' || json_build_array(
                (trail_comment(v.n, v.version - 1, NULL, NULL)).body, (trail_comment(v.n, v.version, NULL, NULL)).body)
            WHEN v.n % 5 = 0 THEN '"hidden": ' || json_build_array((v.version - 1) / 2 % 2 = 1, v.version / 2 % 2 = 1)
            WHEN v.version % 5 = 1 THEN '"views": ' || json_build_array(7 + 13 * ((v.version + 3) / 5), 7 + 13 * ((v.version + 4) / 5))
            WHEN v.version % 5 = 2 THEN '"title": ' || json_build_array((trail_post(v.n, v.version - 1, NULL, NULL)).title, (trail_post(v.n, v.version, NULL, NULL)).title)
            WHEN v.version % 5 = 3 THEN '"price": ' || json_build_array((trail_post(v.n, v.version - 1, NULL, NULL)).price, (trail_post(v.n, v.version, NULL, NULL)).price)
            WHEN v.version % 5 = 4 THEN '"published": ' || json_build_array(v.version / 5 % 2 = 1, (v.version + 1) / 5 % 2 = 1)
            ELSE '"meta": ' || json_build_array((trail_post(v.n, v.version - 1, NULL, NULL)).meta, (trail_post(v.n, v.version, NULL, NULL)).meta)
            END || ', "updated_at": ' || json_build_array(v.was_updated_at, v.at) || '}')::json END
    FROM versions v JOIN begun b ON b.transaction = v.transaction ORDER BY v.i;

    -- As capture does beside each delete; all keys of posts and comments are bigint.
    INSERT INTO threadline.audit_departures (captured_at, transaction_id, ordinal, table_id, row_key, key_int8)
    SELECT v.at, b.id, v.ordinal, CASE WHEN v.n % 5 = 0 THEN tables.comments ELSE tables.posts END, v.n::text, v.n
    FROM versions v JOIN begun b ON b.transaction = v.transaction WHERE v.op = 'D';

    -- As threadline.note_long_transaction does.
    INSERT INTO threadline.audit_long_transactions
    SELECT DISTINCT floor(log(2, extract(epoch FROM v.at - b.began_at) / 2)) + 1, b.id
    FROM versions v JOIN begun b ON b.transaction = v.transaction WHERE v.at >= b.began_at + interval '2 seconds';

    FOREACH definition IN ARRAY index_definitions LOOP
        EXECUTE definition;
    END LOOP;
    FOR definition IN
        SELECT format('ANALYZE %s', p.partrelid::regclass) FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid WHERE c.relnamespace = 'threadline'::regnamespace
    LOOP
        EXECUTE definition;
    END LOOP;
    ANALYZE posts, comments, settings;
    RETURN (SELECT count(*) FROM begun);
END
$$;
