-- The actions of the design Threadline is compared with; the application inserts them and links them itself.
CREATE TABLE audit_actions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL,
    actor_ref jsonb NOT NULL,
    status text NOT NULL CHECK (status IN ('ok', 'error')),
    verb text,
    category text,
    reason text,
    comment text,
    correlation_id text,
    request_id text,
    job_id text,
    inserted_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX audit_actions_actor_ref_gin ON audit_actions USING gin (actor_ref);
CREATE INDEX audit_actions_inserted_at_idx ON audit_actions (inserted_at);
CREATE INDEX audit_actions_name_idx ON audit_actions (name);
ALTER TABLE audit_transactions ADD FOREIGN KEY (action_id) REFERENCES audit_actions ON DELETE SET NULL;
