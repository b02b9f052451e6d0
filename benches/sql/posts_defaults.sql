-- For requests: a new post is a title, a body and an author, and its id comes from a sequence.
CREATE SEQUENCE post_ids START 100000;
ALTER TABLE posts ALTER id SET DEFAULT nextval('post_ids'), ALTER views SET DEFAULT 0, ALTER price SET DEFAULT 0,
    ALTER published SET DEFAULT false, ALTER meta SET DEFAULT '{}', ALTER created_at SET DEFAULT now(),
    ALTER updated_at SET DEFAULT now(), ALTER tags SET DEFAULT '{}', ALTER slug SET DEFAULT '', ALTER score SET DEFAULT 0;
