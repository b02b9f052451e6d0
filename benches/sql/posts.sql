-- The audited table: 13 columns as an application's main table has them. The first thousand rows are for the one-row
-- updates; a contender's trigger is created after them, so they are in nobody's trail.
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
    score double precision NOT NULL
);

-- Cheap on purpose: what making the row costs is in every contender's time.
CREATE FUNCTION new_posts(first bigint, last bigint) RETURNS SETOF posts LANGUAGE sql AS $$
    SELECT n, 'Notes on the number ' || n, repeat('All work and no play. ', 5), 7, 19.90, true, n % 100,
        '{"lang": "en", "source": "import"}'::jsonb, now(), now(), '{rust,postgres}'::text[], 'notes-on-' || n, n * 0.25
    FROM generate_series(first, last) n
$$;

INSERT INTO posts SELECT * FROM new_posts(1, 1000);
