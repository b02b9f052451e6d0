-- The design Threadline is compared with, written here from its description: a generic row trigger that upserts the
-- transaction's row for every changed row and reads its id back, finds the changed columns by joining the jsonb_each of
-- both rows and then collects their old values, keeps random uuids as keys, a foreign key between the two tables, and the
-- whole new row. In its favour, each row becomes jsonb once, however often it is used.
CREATE TABLE audit_transactions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    txid bigint NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    source text,
    meta jsonb,
    actor_ref jsonb,
    action_id uuid,
    CONSTRAINT audit_transactions_txid_key UNIQUE (txid)
);
CREATE INDEX audit_transactions_txid_idx ON audit_transactions (txid);
CREATE INDEX audit_transactions_actor_ref_gin ON audit_transactions USING gin (actor_ref);

CREATE TABLE audit_changes (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    transaction_id uuid NOT NULL REFERENCES audit_transactions ON DELETE CASCADE,
    table_schema text NOT NULL,
    table_name text NOT NULL,
    table_pk jsonb NOT NULL,
    op text NOT NULL CHECK (op IN ('insert', 'update', 'delete')),
    data_after jsonb,
    changed_fields text[],
    changed_from jsonb,
    captured_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX audit_changes_transaction_id_idx ON audit_changes (transaction_id);
CREATE INDEX audit_changes_table_name_idx ON audit_changes (table_name);
CREATE INDEX audit_changes_captured_at_idx ON audit_changes (captured_at);
CREATE INDEX audit_changes_row_history_idx ON audit_changes (table_schema, table_name, table_pk, captured_at DESC, id DESC);

-- Argument: the key column.
CREATE FUNCTION row_upsert_capture() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    number CONSTANT bigint := txid_current();
    old_row jsonb;
    new_row jsonb;
    transaction_id uuid;
    changed_fields text[];
    changed_from jsonb;
BEGIN
    INSERT INTO audit_transactions (id, txid, occurred_at, actor_ref)
    VALUES (gen_random_uuid(), number, clock_timestamp(), NULLIF(current_setting('threadline.actor_ref', true), '')::jsonb)
    ON CONFLICT (txid) DO NOTHING;
    SELECT t.id INTO transaction_id FROM audit_transactions t WHERE t.txid = number;

    IF TG_OP <> 'INSERT' THEN
        old_row := to_jsonb(OLD);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        new_row := to_jsonb(NEW);
    END IF;
    IF TG_OP = 'UPDATE' THEN
        SELECT array_agg(after.key ORDER BY after.key) INTO changed_fields
        FROM jsonb_each(old_row) before JOIN jsonb_each(new_row) after USING (key) WHERE before.value IS DISTINCT FROM after.value;
        changed_from := (SELECT jsonb_object_agg(field, old_row -> field) FROM unnest(changed_fields) field);
    END IF;

    INSERT INTO audit_changes (id, transaction_id, table_schema, table_name, table_pk, op, data_after, changed_fields, changed_from, captured_at)
    VALUES (gen_random_uuid(), transaction_id, TG_TABLE_SCHEMA, TG_TABLE_NAME,
        jsonb_build_object(TG_ARGV[0], coalesce(new_row, old_row) ->> TG_ARGV[0]), lower(TG_OP), new_row, changed_fields, changed_from, clock_timestamp());
    RETURN NULL;
END
$$;

CREATE TRIGGER row_upsert AFTER INSERT OR UPDATE OR DELETE ON posts FOR EACH ROW EXECUTE FUNCTION row_upsert_capture('id');
