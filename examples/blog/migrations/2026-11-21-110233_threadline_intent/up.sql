-- Intent: the audited transaction, and the actions an application records. Applications call these three functions; they
-- get no right on any table.

-- Every problem of an action, as "action name: what is wrong", in the order of the fields; empty for a sound one.
CREATE OR REPLACE FUNCTION threadline.action_problems(action jsonb) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF jsonb_typeof(action) <> 'object' THEN
        RETURN ARRAY['action: not an object'];
    END IF;
    RETURN array_remove(ARRAY[
        CASE WHEN octet_length(convert_from(convert_to(action::text, getdatabaseencoding()), getdatabaseencoding())) > 32768
            THEN 'action: larger than 32768 bytes' END,
        CASE WHEN action - '{category,comment,name,reason,status,verb}'::text[] <> '{}' THEN 'action: has an unknown key' END,
        CASE WHEN jsonb_typeof(action -> 'category') NOT IN ('string', 'null') THEN 'action category: not a text'
            WHEN octet_length(action ->> 'category') > 256 THEN 'action category: longer than 256 bytes' END,
        CASE WHEN jsonb_typeof(action -> 'comment') NOT IN ('string', 'null') THEN 'action comment: not a text'
            WHEN octet_length(action ->> 'comment') > 4096 THEN 'action comment: longer than 4096 bytes' END,
        CASE WHEN jsonb_typeof(action -> 'name') IS DISTINCT FROM 'string' OR action ->> 'name' = '' THEN 'action name: not a text, or empty'
            WHEN octet_length(action ->> 'name') > 256 THEN 'action name: longer than 256 bytes' END,
        CASE WHEN jsonb_typeof(action -> 'reason') NOT IN ('string', 'null') THEN 'action reason: not a text'
            WHEN octet_length(action ->> 'reason') > 4096 THEN 'action reason: longer than 4096 bytes' END,
        CASE WHEN coalesce(action ->> 'status', 'ok') NOT IN ('ok', 'error') THEN 'action status: neither ok nor error' END,
        CASE WHEN jsonb_typeof(action -> 'verb') NOT IN ('string', 'null') THEN 'action verb: not a text'
            WHEN octet_length(action ->> 'verb') > 256 THEN 'action verb: longer than 256 bytes' END
    ], NULL);
END
$$;
COMMENT ON FUNCTION threadline.action_problems(jsonb) IS 'Every problem of an action, as "action name: what is wrong".';

-- Inserts an audit_actions row and returns its id, which has the time of the transaction, so that both are in partitions of
-- the same month.
CREATE OR REPLACE FUNCTION threadline.insert_action(context jsonb, action jsonb, of_transaction uuid) RETURNS uuid
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    problems CONSTANT text[] := CASE WHEN context IS NULL THEN ARRAY['context: NULL'] ELSE threadline.context_problems(context) END
        || threadline.action_problems(action);
    id CONSTANT uuid := lpad(to_hex(floor(extract(epoch FROM now()) * 1000)::bigint), 12, '0') || '7' || substr(gen_random_uuid()::text, 16);
BEGIN
    IF problems <> '{}' THEN
        RAISE EXCEPTION 'threadline: invalid action: %', array_to_string(problems, '; ') USING
            ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_invalid_action',
            HINT = 'The shape is {"name": "post.published", "status": "ok", "verb": "…", "category": "…", "reason": "…", "comment": "…"}; only the name is needed.';
    END IF;
    INSERT INTO threadline.audit_actions (id, occurred_at, name, status, verb, category, reason, comment, actor_type, actor_id,
        request_id, correlation_id, job_id, transaction_id, db_role, application_name, client_addr)
    VALUES (id, clock_timestamp(), action ->> 'name', coalesce(action ->> 'status', 'ok'), action ->> 'verb', action ->> 'category',
        action ->> 'reason', action ->> 'comment', context #>> '{actor,type}', context #>> '{actor,id}', context ->> 'request_id',
        context ->> 'correlation_id', context ->> 'job_id', of_transaction, session_user,
        NULLIF(current_setting('application_name'), ''), inet_client_addr());
    RETURN id;
END
$$;
COMMENT ON FUNCTION threadline.insert_action(jsonb, jsonb, uuid) IS 'Inserts an audit_actions row and returns its id.';

-- Begins an audited transaction inside the database transaction that has just begun: hands over the context, records the
-- action if there is one, and returns {"id", "action_id", "changes"}: the id of its audit_transactions row, known before the
-- first write, and how many changes it has captured so far. With an action the row is written here, so that an action
-- without changes has its transaction; without one it is written by the first captured change.
--
-- The id is kept in the local setting threadline.begun, after a digest of the context as it was handed over. `nested` says
-- that the caller has opened a savepoint: then there has to be an audited transaction around it, under whose context and id
-- it runs, and whatever it says of who and why has to be what that one said.
CREATE OR REPLACE FUNCTION threadline.begin(context jsonb, action jsonb DEFAULT NULL, nested boolean DEFAULT false) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- First, and before a number is assigned: whoever has one has written already, or is in a BEGIN of their own.
    has_written CONSTANT boolean := pg_current_xact_id_if_assigned() IS NOT NULL;
    number CONSTANT text := right('00000000000' || pg_current_xact_id()::text, 12);
    begun CONSTANT text := current_setting('threadline.begun', true);
    captured CONSTANT text := current_setting('threadline.transaction', true);
    id CONSTANT uuid := lpad(to_hex(floor(extract(epoch FROM now()) * 1000)::bigint), 12, '0')
        || '7' || substr(gen_random_uuid()::text, 16, 8) || number;
    action_id uuid;
    ignored text;
BEGIN
    IF right(begun, 12) = number THEN
        IF action IS NOT NULL THEN
            RAISE EXCEPTION 'threadline: an audited transaction is running already and has its action' USING
                ERRCODE = 'invalid_transaction_state', CONSTRAINT = 'threadline_nested_action',
                HINT = 'Leave the action out of the inner transaction, or record it with record_action.';
        ELSIF left(begun, 32) IS DISTINCT FROM md5(current_setting('threadline.context', true)) OR EXISTS (
            SELECT FROM jsonb_each(context) given WHERE current_setting('threadline.context')::jsonb -> given.key IS DISTINCT FROM given.value) THEN
            RAISE EXCEPTION 'threadline: an audited transaction is running already under another context' USING
                ERRCODE = 'invalid_transaction_state', CONSTRAINT = 'threadline_nested_context',
                HINT = 'Run the inner transaction with the context of the outer one: what one database transaction changes has one actor.';
        END IF;
        RETURN jsonb_build_object('id', right(begun, 36), 'action_id', current_setting('threadline.context')::jsonb -> 'action_id',
            'changes', CASE WHEN right(captured, 12) = number THEN current_setting('threadline.ordinal')::integer ELSE 0 END);
    ELSIF nested OR has_written THEN
        RAISE EXCEPTION 'threadline: the connection is in a transaction that is not audited' USING
            ERRCODE = 'invalid_transaction_state', CONSTRAINT = 'threadline_not_outermost',
            HINT = 'Begin the audited transaction outermost: what was written before it would carry its actor, or nobody.';
    ELSIF action IS NULL THEN
        PERFORM threadline.set_context(context);
        ignored := set_config('threadline.begun', md5(current_setting('threadline.context')) || id, true);
    ELSE
        action_id := threadline.insert_action(context, action, id);
        context := context || jsonb_build_object('action_id', action_id);
        ignored := set_config('threadline.context', context::text, true);
        ignored := set_config('threadline.begun', md5(ignored) || id, true);
        ignored := threadline.insert_transaction(id, context, context -> 'actor', NULL);
    END IF;
    RETURN jsonb_build_object('id', id, 'action_id', action_id, 'changes', 0);
END
$$;
COMMENT ON FUNCTION threadline.begin(jsonb, jsonb, boolean) IS
    'Begins an audited transaction: context, action (or NULL), whether it is a savepoint in one. Returns {"id", "action_id", "changes"}.';

-- The last statement of an audited transaction before its COMMIT. Fails when the body has ended the transaction or replaced
-- its context, or nothing was captured since `changes_before` though `require_changes`. In a transaction that PostgreSQL has
-- aborted it fails as any statement does, where COMMIT would quietly roll back. Returns the number of changes captured.
CREATE OR REPLACE FUNCTION threadline.finish(transaction_id uuid, changes_before integer, require_changes boolean) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    number CONSTANT text := right('00000000000' || pg_current_xact_id_if_assigned()::text, 12);
    begun CONSTANT text := current_setting('threadline.begun', true);
    changes integer;
BEGIN
    IF (right(begun, 36) = transaction_id::text AND right(begun, 12) = number) IS NOT TRUE THEN
        RAISE EXCEPTION 'threadline: the audited transaction was ended, or its context replaced, before its body returned' USING
            ERRCODE = 'invalid_transaction_state', CONSTRAINT = 'threadline_transaction_ended',
            HINT = 'Leave BEGIN, COMMIT, ROLLBACK and RESET of threadline''s settings to the audited transaction.';
    ELSIF left(begun, 32) IS DISTINCT FROM md5(current_setting('threadline.context', true)) THEN
        RAISE EXCEPTION 'threadline: the context of the audited transaction was replaced in its body' USING
            ERRCODE = 'invalid_transaction_state', CONSTRAINT = 'threadline_context_replaced',
            HINT = 'Do not set threadline.context in the body of an audited transaction.';
    END IF;
    changes := CASE WHEN right(current_setting('threadline.transaction', true), 12) = number
        THEN current_setting('threadline.ordinal')::integer ELSE 0 END - changes_before;
    IF require_changes AND changes = 0 THEN
        RAISE EXCEPTION 'threadline: the audited transaction changed no audited row' USING
            ERRCODE = 'check_violation', CONSTRAINT = 'threadline_no_changes',
            HINT = 'Its changes are required: check that the table is attached and that the statement matched a row.';
    END IF;
    RETURN changes;
END
$$;
COMMENT ON FUNCTION threadline.finish(uuid, integer, boolean) IS 'Ends an audited transaction before its COMMIT; returns the number of changes captured.';

-- Records an action and returns its id. It belongs to the current transaction if that one is audited or has captured
-- changes, and stands alone otherwise.
CREATE OR REPLACE FUNCTION threadline.record_action(context jsonb, action jsonb) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    number CONSTANT text := right('00000000000' || pg_current_xact_id()::text, 12);
    begun CONSTANT text := current_setting('threadline.begun', true);
    captured CONSTANT text := current_setting('threadline.transaction', true);
BEGIN
    RETURN threadline.insert_action(context, action,
        CASE WHEN right(begun, 12) = number THEN right(begun, 36) WHEN right(captured, 12) = number THEN captured END::uuid);
END
$$;
COMMENT ON FUNCTION threadline.record_action(jsonb, jsonb) IS 'Records an action with the context it happened in; returns its id.';


REVOKE ALL ON FUNCTION threadline.action_problems(jsonb), threadline.insert_action(jsonb, jsonb, uuid),
    threadline.begin(jsonb, jsonb, boolean), threadline.finish(uuid, integer, boolean), threadline.record_action(jsonb, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION threadline.begin(jsonb, jsonb, boolean), threadline.finish(uuid, integer, boolean),
    threadline.record_action(jsonb, jsonb) TO PUBLIC;
