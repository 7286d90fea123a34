-- What a row may hold, where a CHECK cannot say it or says it too late: size, and what stock producers put into options.
SET LOCAL lock_timeout = '5s';

-- jsonb takes 256 MB, and a claim takes hundreds of rows. Asked at the door only: a CHECK would read the message again
-- with each claim.
CREATE OR REPLACE FUNCTION callboard.refuse_large_message() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'message % has % bytes, a row may have 1048576', NEW.message_id, octet_length(NEW.message::text)
        USING ERRCODE = 'program_limit_exceeded', HINT = 'Store the data in a table and send its id.';
END $$;
DROP TRIGGER IF EXISTS refuse_large_insert ON dramatiq.queue;
DROP TRIGGER IF EXISTS refuse_large_update ON dramatiq.queue;
CREATE TRIGGER refuse_large_insert BEFORE INSERT ON dramatiq.queue
    FOR EACH ROW WHEN (octet_length(NEW.message::text) > 1048576) EXECUTE FUNCTION callboard.refuse_large_message();
CREATE TRIGGER refuse_large_update BEFORE UPDATE OF message ON dramatiq.queue
    FOR EACH ROW WHEN (octet_length(NEW.message::text) > 1048576) EXECUTE FUNCTION callboard.refuse_large_message();

-- As in 0001, and for whatever stands in options.eta: what is no moment means at once, one too far away the last one.
-- A message that is no object stays as it is; a worker makes a dead letter of it.
CREATE OR REPLACE FUNCTION callboard.adopt_stock_message() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    eta text := NEW.message #>> '{options,eta}';
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.state = 'running' THEN
        RETURN OLD;  -- The upsert of a stock retry: whoever holds the lease decides, nobody else.
    END IF;
    IF NEW.queue_name LIKE '%.DQ' THEN
        IF eta ~ '^\d{1,30}(\.\d{1,30})?$' THEN
            NEW.available_at := to_timestamp(least(eta::numeric / 1000, 221845391999));
        END IF;
        NEW.queue_name := left(NEW.queue_name, -3);
        IF jsonb_typeof(NEW.message) = 'object' THEN
            NEW.message := jsonb_set(NEW.message #- '{options,eta}', '{queue_name}', to_jsonb(NEW.queue_name));
        END IF;
    END IF;
    RETURN NEW;
END $$;

-- As in 0005, with limits for names and depth. Send a message from SQL. It exists when the caller's transaction commits, and a worker starts it then.
-- Returns the message's id, or that of the message that holds the dedupe_key. SECURITY INVOKER (the default): the
-- caller needs the grants that docs/sending-from-sql.md lists, and can read nobody's messages with them.
CREATE OR REPLACE FUNCTION callboard.enqueue(
    actor text,
    kwargs jsonb DEFAULT '{}',
    args jsonb DEFAULT '[]',
    delay interval DEFAULT NULL,
    priority integer DEFAULT NULL,
    dedupe_key text DEFAULT NULL,
    queue text DEFAULT NULL
) RETURNS uuid LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = pg_catalog, pg_temp
-- Longest wait for another transaction that sends with the same dedupe_key.
SET lock_timeout = '2s' AS $$
#variable_conflict use_column
DECLARE
    target_queue text := enqueue.queue;
    default_priority integer;
    wait interval := coalesce(enqueue.delay, interval '0');
    options jsonb := jsonb_strip_nulls(jsonb_build_object('priority', enqueue.priority, 'dedupe_key', enqueue.dedupe_key));
    new_id uuid := gen_random_uuid();
    stored_id uuid;
    content jsonb;
    inserted bigint;
BEGIN
    IF enqueue.actor IS NULL OR enqueue.actor = '' THEN
        RAISE EXCEPTION 'actor is missing' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Name the actor, such as actor => ''send_email''.';
    ELSIF jsonb_typeof(enqueue.kwargs) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'kwargs for actor "%" must be a JSON object, got %', enqueue.actor,
            coalesce(jsonb_typeof(enqueue.kwargs), 'NULL') USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Give the actor''s arguments by name: kwargs => ''{"to": "…"}''.';
    ELSIF jsonb_typeof(enqueue.args) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'args for actor "%" must be a JSON array, got %', enqueue.actor,
            coalesce(jsonb_typeof(enqueue.args), 'NULL') USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Give the actor''s arguments in order: args => ''["A-17"]''. Or leave args out and use kwargs.';
    ELSIF wait < interval '0' OR wait > interval '10 years' THEN
        RAISE EXCEPTION 'delay for actor "%" must be between 0 and 10 years, got %', enqueue.actor, wait
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave delay out to run the message at once.';
    ELSIF length(enqueue.dedupe_key) NOT BETWEEN 1 AND 255 THEN
        RAISE EXCEPTION 'dedupe_key for actor "%" must have 1 to 255 characters, got %', enqueue.actor,
            length(enqueue.dedupe_key) USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Use a digest of the long key, or leave dedupe_key out.';
    ELSIF octet_length(enqueue.actor) > 255 THEN
        RAISE EXCEPTION 'actor "%…" has % bytes, the limit is 255', left(enqueue.actor, 40), octet_length(enqueue.actor)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Name the actor, such as actor => ''send_email''.';
    ELSIF octet_length(target_queue) > 255 THEN
        RAISE EXCEPTION 'queue "%…" has % bytes, the limit is 255', left(target_queue, 40), octet_length(target_queue)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Name the queue that the actor''s workers serve.';
    ELSIF target_queue = '' OR target_queue LIKE '%.DQ' THEN
        RAISE EXCEPTION 'queue "%" for actor "%" is no queue to send to', target_queue, enqueue.actor
            USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Name the queue that the actor''s workers serve; for a later start give delay.';
    END IF;

    SELECT coalesce(target_queue, known.queue_name), known.priority INTO target_queue, default_priority
    FROM (SELECT 1) AS always
    LEFT JOIN callboard.actors AS known
        ON known.actor_name = enqueue.actor AND known.queue_name = coalesce(target_queue, known.queue_name);
    IF target_queue IS NULL THEN
        RAISE EXCEPTION 'no worker has registered an actor "%"', enqueue.actor USING ERRCODE = 'undefined_object',
            HINT = 'Check the name against callboard.actors, start a worker that knows the actor, '
                'or name its queue: queue => ''…''.';
    END IF;

    content := jsonb_build_object(
        'queue_name', target_queue, 'actor_name', enqueue.actor, 'args', enqueue.args, 'kwargs', enqueue.kwargs,
        'options', options, 'message_id', new_id,
        'message_timestamp', floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint);
    IF octet_length(content::text) > 262144 THEN
        RAISE EXCEPTION 'message for actor "%" has % bytes, the limit is 262144', enqueue.actor,
            octet_length(content::text) USING ERRCODE = 'program_limit_exceeded',
            HINT = 'Store the data in a table and send its id.';
    END IF;

    -- The message is the first level. Workers refuse more, as every sender does.
    IF octet_length(content::text) > 200
        AND jsonb_path_exists(content, 'strict $.**{100} ? (@.type() == "object" || @.type() == "array")') THEN
        RAISE EXCEPTION 'message for actor "%" nests deeper than 100 levels', enqueue.actor
            USING ERRCODE = 'program_limit_exceeded', HINT = 'Store the data in a table and send its id.';
    END IF;

    IF enqueue.dedupe_key IS NULL THEN
        INSERT INTO dramatiq.queue (message_id, queue_name, state, message, priority, available_at)
        VALUES (new_id, target_queue, 'queued', content, coalesce(enqueue.priority, default_priority, 0), now() + wait);
        PERFORM pg_notify('callboard', '');
        RETURN new_id;
    END IF;
    -- A statement that waited for another sender of the same key does not see what that one stored; the next one does.
    FOR look IN 1..5 LOOP
        BEGIN  -- A subtransaction costs, so only senders with a key have one.
            INSERT INTO dramatiq.queue (message_id, queue_name, state, message, priority, available_at, dedupe_key)
            VALUES (new_id, target_queue, 'queued', content, coalesce(enqueue.priority, default_priority, 0),
                now() + wait, enqueue.dedupe_key)
            ON CONFLICT DO NOTHING;
            GET DIAGNOSTICS inserted = ROW_COUNT;
        EXCEPTION WHEN lock_not_available THEN
            RAISE EXCEPTION 'another transaction sends with dedupe_key "%" to queue "%" and has not ended within 2 s',
                enqueue.dedupe_key, target_queue USING ERRCODE = 'lock_not_available',
                HINT = 'Send again when it has ended; keep transactions that send with a dedupe_key short.';
        END;
        IF inserted = 1 THEN
            PERFORM pg_notify('callboard', '');
            RETURN new_id;
        END IF;
        SELECT message_id INTO stored_id
        FROM dramatiq.queue WHERE queue_name = target_queue AND dedupe_key = enqueue.dedupe_key;
        IF stored_id IS NOT NULL THEN
            RETURN stored_id;
        END IF;
    END LOOP;
    RAISE EXCEPTION 'dedupe_key "%" of queue "%" changed hands during each of 5 looks', enqueue.dedupe_key, target_queue
        USING ERRCODE = 'serialization_failure', HINT = 'Send the message again.';
END $$;
