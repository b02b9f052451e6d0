-- Saved views: questions that somebody who investigates keeps, to ask them again. They are a person's own, and hold nothing of the
-- trail: whoever opens one sees what they may see then.

CREATE TABLE IF NOT EXISTS threadline.saved_views (
    id uuid PRIMARY KEY,
    owner_type text COLLATE "C" NOT NULL CHECK (owner_type IN ('user', 'admin', 'service_account', 'job', 'system')),
    owner_id text COLLATE "C" NOT NULL CHECK (btrim(owner_id) <> '' AND octet_length(owner_id) <= 256),
    name text COLLATE "C" NOT NULL CHECK (btrim(name) <> '' AND char_length(name) <= 80),
    page text COLLATE "C" NOT NULL CHECK (page ~ '^[a-z_]{1,40}$'),
    question text COLLATE "C" NOT NULL CHECK (octet_length(question) <= 4096),
    saved_at timestamptz NOT NULL
);

COMMENT ON TABLE threadline.saved_views IS 'Questions that people keep to ask them again.';
COMMENT ON COLUMN threadline.saved_views.id IS 'Random UUID.';
COMMENT ON COLUMN threadline.saved_views.owner_type IS 'Type of the actor it belongs to.';
COMMENT ON COLUMN threadline.saved_views.owner_id IS 'The actor''s id.';
COMMENT ON COLUMN threadline.saved_views.name IS 'What its owner calls it, once each.';
COMMENT ON COLUMN threadline.saved_views.page IS 'The page of the operator surface that answers it.';
COMMENT ON COLUMN threadline.saved_views.question IS 'What is asked of that page, as its address has it; never a row''s values but those asked for.';
COMMENT ON COLUMN threadline.saved_views.saved_at IS 'When it was saved last.';

CREATE UNIQUE INDEX IF NOT EXISTS saved_views_name_key ON threadline.saved_views (owner_type, owner_id, name);
