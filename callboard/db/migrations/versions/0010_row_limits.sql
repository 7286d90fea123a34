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
