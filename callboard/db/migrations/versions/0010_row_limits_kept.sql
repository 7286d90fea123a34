-- Bring rows from before the limits within them; none is lost. Reads each table once, and locks only the rows that it
-- changes. Before the limits are declared, and again where one came in meanwhile: each row is brought within all limits of
-- its table at once.
SET LOCAL lock_timeout = '5s';

CREATE OR REPLACE FUNCTION callboard.kept_moment(moment timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE
RETURN CASE WHEN moment IS NOT NULL THEN
    least(greatest(moment, timestamptz '1900-01-01 00:00:00+00'), timestamptz '8999-12-31 00:00:00+00') END;
CREATE OR REPLACE FUNCTION callboard.kept_count(number integer) RETURNS integer LANGUAGE sql IMMUTABLE
RETURN least(greatest(number, 0), 1000000000);
-- The digest keeps names apart that begin alike.
CREATE OR REPLACE FUNCTION callboard.kept_name(name text) RETURNS text LANGUAGE sql IMMUTABLE
RETURN CASE WHEN octet_length(name) > 255 THEN left(name, 40) || ':' || md5(name) ELSE name END;

-- No actor has such a name, and a generated column cannot be shortened: a dead letter, as a worker would make it.
WITH nameless AS (
    DELETE FROM dramatiq.queue WHERE octet_length(actor_name) > 255 RETURNING queue.*
)
INSERT INTO callboard.dead_letters (
    message_id, reason, queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation,
    error_class, error_message, enqueued_at)
SELECT
    message_id, 'invalid', callboard.kept_name(queue_name), callboard.kept_name(actor_name), message, priority,
    callboard.kept_count(attempt), callboard.kept_count(retries), callboard.kept_count(lost_workers),
    callboard.kept_count(generation), 'InvalidMessage', 'The name of its actor is longer than 255 bytes.',
    callboard.kept_moment(enqueued_at)
FROM nameless
ON CONFLICT (message_id) DO NOTHING;

UPDATE dramatiq.queue SET
    queue_name = coalesce(nullif(callboard.kept_name(queue_name), ''), '(unnamed)'),
    dedupe_key = CASE WHEN length(dedupe_key) NOT BETWEEN 1 AND 255 THEN md5(dedupe_key) ELSE dedupe_key END,
    wait_reason = left(wait_reason, 2000),
    attempt = callboard.kept_count(attempt),
    retries = callboard.kept_count(retries),
    lost_workers = callboard.kept_count(lost_workers),
    generation = callboard.kept_count(generation),
    available_at = callboard.kept_moment(available_at),
    enqueued_at = callboard.kept_moment(enqueued_at),
    claimed_at = callboard.kept_moment(claimed_at),
    cancel_asked_at = callboard.kept_moment(cancel_asked_at),
    mtime = callboard.kept_moment(mtime),
    result_ttl = callboard.kept_moment(result_ttl)
WHERE octet_length(queue_name) NOT BETWEEN 1 AND 255 OR length(dedupe_key) NOT BETWEEN 1 AND 255
    OR octet_length(wait_reason) > 100000
    -- All of these leave NULLs out.
    OR least(attempt, retries, lost_workers, generation) < 0
    OR greatest(attempt, retries, lost_workers, generation) > 1000000000
    OR least(available_at, enqueued_at, claimed_at, cancel_asked_at, mtime, result_ttl) < '1900-01-01 00:00:00+00'
    OR greatest(available_at, enqueued_at, claimed_at, cancel_asked_at, mtime, result_ttl) >= '9000-01-01 00:00:00+00';

UPDATE callboard.dead_letters SET
    queue_name = callboard.kept_name(queue_name),
    actor_name = callboard.kept_name(actor_name),
    attempt = callboard.kept_count(attempt),
    retries = callboard.kept_count(retries),
    lost_workers = callboard.kept_count(lost_workers),
    generation = callboard.kept_count(generation),
    enqueued_at = callboard.kept_moment(enqueued_at),
    first_failed_at = callboard.kept_moment(first_failed_at),
    died_at = callboard.kept_moment(died_at)
WHERE octet_length(queue_name) > 255 OR octet_length(actor_name) > 255
    OR least(attempt, retries, lost_workers, generation) < 0
    OR greatest(attempt, retries, lost_workers, generation) > 1000000000
    OR least(enqueued_at, first_failed_at, died_at) < '1900-01-01 00:00:00+00'
    OR greatest(enqueued_at, first_failed_at, died_at) >= '9000-01-01 00:00:00+00';

UPDATE callboard.message_history SET
    queue_name = callboard.kept_name(queue_name),
    actor_name = callboard.kept_name(actor_name),
    enqueued_at = callboard.kept_moment(enqueued_at),
    available_at = callboard.kept_moment(available_at),
    started_at = callboard.kept_moment(started_at),
    ended_at = callboard.kept_moment(ended_at)
WHERE octet_length(queue_name) > 255 OR octet_length(actor_name) > 255
    OR least(enqueued_at, available_at, started_at, ended_at) < '1900-01-01 00:00:00+00'
    OR greatest(enqueued_at, available_at, started_at, ended_at) >= '9000-01-01 00:00:00+00';

UPDATE callboard.schedules SET
    kwargs = CASE WHEN jsonb_typeof(kwargs) <> 'object' THEN jsonb_build_object('value', kwargs) ELSE kwargs END,
    queue_name = callboard.kept_name(queue_name),
    actor_name = callboard.kept_name(actor_name),
    next_at = callboard.kept_moment(next_at),
    last_slot_at = callboard.kept_moment(last_slot_at),
    declared_at = callboard.kept_moment(declared_at),
    changed_at = callboard.kept_moment(changed_at)
WHERE octet_length(queue_name) > 255 OR octet_length(actor_name) > 255
    OR jsonb_typeof(kwargs) <> 'object'
    OR least(next_at, last_slot_at, declared_at, changed_at) < '1900-01-01 00:00:00+00'
    OR greatest(next_at, last_slot_at, declared_at, changed_at) >= '9000-01-01 00:00:00+00';
UPDATE callboard.rate_limits SET
    value = least(greatest(value, -1000000000000000000), 1000000000000000000),
    expires_at = callboard.kept_moment(expires_at)
WHERE value NOT BETWEEN -1000000000000000000 AND 1000000000000000000
    OR expires_at < '1900-01-01 00:00:00+00' OR expires_at >= '9000-01-01 00:00:00+00';
UPDATE callboard.emails SET
    attempts = callboard.kept_count(attempts),
    created_at = callboard.kept_moment(created_at),
    tried_since = callboard.kept_moment(tried_since),
    sent_at = callboard.kept_moment(sent_at)
WHERE attempts NOT BETWEEN 0 AND 1000000000
    OR least(created_at, tried_since, sent_at) < '1900-01-01 00:00:00+00'
    OR greatest(created_at, tried_since, sent_at) >= '9000-01-01 00:00:00+00';
UPDATE callboard.payment_events SET
    times_received = callboard.kept_count(times_received),
    received_at = callboard.kept_moment(received_at),
    processed_at = callboard.kept_moment(processed_at)
WHERE times_received NOT BETWEEN 0 AND 1000000000
    OR least(received_at, processed_at) < '1900-01-01 00:00:00+00'
    OR greatest(received_at, processed_at) >= '9000-01-01 00:00:00+00';
UPDATE callboard.workers SET
    queues = CASE WHEN array_ndims(queues) > 1 THEN '{}' ELSE array_remove(queues, NULL) END,
    started_at = callboard.kept_moment(started_at),
    beat_at = callboard.kept_moment(beat_at),
    suspected_at = callboard.kept_moment(suspected_at)
WHERE CASE WHEN array_ndims(queues) > 1 THEN true ELSE array_position(queues, NULL) IS NOT NULL END;
UPDATE callboard.worker_history SET
    queues = CASE WHEN array_ndims(queues) > 1 THEN '{}' ELSE array_remove(queues, NULL) END,
    started_at = callboard.kept_moment(started_at),
    ended_at = callboard.kept_moment(ended_at)
WHERE CASE WHEN array_ndims(queues) > 1 THEN true ELSE array_position(queues, NULL) IS NOT NULL END;
UPDATE callboard.reports SET
    formats = CASE WHEN array_ndims(formats) > 1 THEN '{}' ELSE array_remove(formats, NULL) END,
    created_at = callboard.kept_moment(created_at),
    finished_at = callboard.kept_moment(finished_at)
WHERE CASE WHEN array_ndims(formats) > 1 THEN true ELSE array_position(formats, NULL) IS NOT NULL END;
UPDATE callboard.audit_log SET
    filter = CASE WHEN jsonb_typeof(filter) <> 'object' THEN jsonb_build_object('value', filter) ELSE filter END,
    details = CASE WHEN jsonb_typeof(details) <> 'object' THEN jsonb_build_object('value', details) ELSE details END,
    changed_at = callboard.kept_moment(changed_at)
WHERE jsonb_typeof(filter) <> 'object' OR jsonb_typeof(details) <> 'object';
UPDATE callboard.reports SET
    parameters = CASE WHEN jsonb_typeof(parameters) <> 'object' THEN jsonb_build_object('value', parameters) ELSE parameters END,
    files = CASE WHEN jsonb_typeof(files) <> 'object' THEN jsonb_build_object('value', files) ELSE files END,
    created_at = callboard.kept_moment(created_at),
    finished_at = callboard.kept_moment(finished_at)
WHERE jsonb_typeof(parameters) <> 'object' OR jsonb_typeof(files) <> 'object';
UPDATE callboard.payments SET
    metadata = CASE WHEN jsonb_typeof(metadata) <> 'object' THEN jsonb_build_object('value', metadata) ELSE metadata END,
    first_called_at = callboard.kept_moment(first_called_at),
    created_at = callboard.kept_moment(created_at),
    updated_at = callboard.kept_moment(updated_at),
    paid_at = callboard.kept_moment(paid_at)
WHERE jsonb_typeof(metadata) <> 'object';
-- Minutes are a key: two that are brought to one end would be the same one. No figure is asked for so far away, and
-- nobody can add up with those that are none.
DELETE FROM callboard.throughput
WHERE minute_at < '1900-01-01 00:00:00+00' OR minute_at >= '9000-01-01 00:00:00+00'
    OR least(enqueued, done, retried, dead) < 0 OR greatest(enqueued, done, retried, dead) > 1000000000000000
    OR run_s NOT BETWEEN -1e15 AND 1e15 OR wait_s NOT BETWEEN -1e15 AND 1e15;
-- No amount that was ever asked for.
UPDATE callboard.payments SET amount = 999999999999.99 WHERE amount >= 1000000000000;

-- The other tables have limits for moments alone.
DO $$
DECLARE
    moments record;
BEGIN
    FOR moments IN
        SELECT
            format('%I.%I', nspname, relname) AS table_name,
            string_agg(format('%I = callboard.kept_moment(%1$I)', attname), ', ') AS kept,
            string_agg(format('%I <> callboard.kept_moment(%1$I)', attname), ' OR ') AS broken
        FROM pg_class
        JOIN pg_namespace ON pg_namespace.oid = relnamespace
        JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
        WHERE relkind = 'r' AND atttypid = 'timestamptz'::regtype AND nspname = 'callboard' AND relname NOT IN (
            'dead_letters', 'message_history', 'schedules', 'rate_limits', 'emails', 'payment_events', 'throughput')
        GROUP BY 1
    LOOP
        EXECUTE format('UPDATE %s SET %s WHERE %s', moments.table_name, moments.kept, moments.broken);
    END LOOP;
END $$;
DROP FUNCTION callboard.kept_moment, callboard.kept_count, callboard.kept_name;
