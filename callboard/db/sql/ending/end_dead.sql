-- Move messages that will not be tried again to the dead letters, with their reason and last error.
-- A letter of the same id is replaced, and so is an attempt: somebody sent a dead message's id once more.
-- Fenced like end_done. A row that somebody else has locked is left out, as in end_requeue. Returns the leases that still
-- held.
WITH verdict AS (
    SELECT * FROM unnest(
        %(message_ids)s::uuid[], %(lease_ids)s::bigint[], %(started_at)s::timestamptz[], %(reasons)s::text[],
        %(retries)s::integer[], %(error_classes)s::text[], %(error_messages)s::text[], %(tracebacks)s::text[],
        %(fingerprints)s::text[], %(places)s::text[])
        AS v (message_id, lease_id, started_at, reason, retries, error_class, error_message, traceback,
            fingerprint, error_place)
), held AS MATERIALIZED (
    SELECT verdict.*
    FROM verdict
    JOIN dramatiq.queue ON queue.message_id = ANY (ARRAY[verdict.message_id]) AND queue.lease_id = verdict.lease_id
    FOR UPDATE OF queue SKIP LOCKED
), ended AS (
    DELETE FROM dramatiq.queue USING held AS verdict
    WHERE queue.message_id = ANY (ARRAY[verdict.message_id]) AND queue.lease_id = verdict.lease_id
    RETURNING
        queue.message_id, queue.lease_id, queue.queue_name, queue.actor_name, queue.message, queue.priority, queue.attempt,
        coalesce(verdict.retries, queue.retries) AS retries, queue.lost_workers, queue.generation, queue.worker_id,
        queue.dedupe_key, queue.enqueued_at, queue.cancel_asked_at, verdict.started_at, verdict.reason, verdict.error_class,
        verdict.error_message, verdict.traceback, verdict.fingerprint, verdict.error_place
), settled AS (
    DELETE FROM callboard.cancellations USING ended
    WHERE ended.cancel_asked_at IS NOT NULL AND cancellations.message_id = ended.message_id
), kept AS (
    INSERT INTO callboard.attempts (
        message_id, generation, attempt, outcome, worker_id, started_at, error_class, error_message, traceback, reason,
        fingerprint)
    SELECT
        message_id, generation, attempt, 'dead', worker_id, started_at, error_class, error_message, traceback, reason,
        fingerprint
    FROM ended
    ON CONFLICT (message_id, generation, attempt) DO UPDATE SET
        outcome = EXCLUDED.outcome, worker_id = EXCLUDED.worker_id, started_at = EXCLUDED.started_at,
        ended_at = EXCLUDED.ended_at, error_class = EXCLUDED.error_class, error_message = EXCLUDED.error_message,
        traceback = EXCLUDED.traceback, reason = EXCLUDED.reason
    WHERE attempts.started_at < EXCLUDED.started_at
), died AS (
    INSERT INTO callboard.dead_letters (
        message_id, reason, queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation,
        dedupe_key, error_class, error_message, traceback, fingerprint, error_place, enqueued_at, first_failed_at)
    SELECT
        message_id, reason, queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation,
        dedupe_key, error_class, error_message, traceback, fingerprint, error_place, enqueued_at,
        coalesce((SELECT min(attempts.ended_at) FROM callboard.attempts WHERE attempts.message_id = ended.message_id), now())
    FROM ended
    ON CONFLICT (message_id) DO UPDATE SET
        reason = EXCLUDED.reason, queue_name = EXCLUDED.queue_name, actor_name = EXCLUDED.actor_name,
        message = EXCLUDED.message, priority = EXCLUDED.priority, attempt = EXCLUDED.attempt,
        retries = EXCLUDED.retries, lost_workers = EXCLUDED.lost_workers, generation = EXCLUDED.generation,
        dedupe_key = EXCLUDED.dedupe_key, error_class = EXCLUDED.error_class,
        error_message = EXCLUDED.error_message, traceback = EXCLUDED.traceback,
        fingerprint = EXCLUDED.fingerprint, error_place = EXCLUDED.error_place, enqueued_at = EXCLUDED.enqueued_at,
        first_failed_at = EXCLUDED.first_failed_at, died_at = EXCLUDED.died_at
)
SELECT lease_id FROM ended
