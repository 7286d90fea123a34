-- Move one message that cannot be claimed, ended or taken back to the dead letters, content and all, with what stood in
-- the way; whatever else its row holds is brought within the limits of the table. Only as long as it is where it was
-- found: waiting (may_wait), held by this worker, or under the lease.
-- Uses the primary key. Returns queue, actor and attempt, or no row.
WITH found AS (
    SELECT queue.ctid AS row_at
    FROM dramatiq.queue
    WHERE queue.message_id = %(message_id)s
        AND ((%(may_wait)s AND queue.state = 'queued') OR queue.worker_id = %(worker_id)s::uuid
            OR queue.lease_id = %(lease_id)s::bigint)
    FOR UPDATE SKIP LOCKED
), ended AS (
    DELETE FROM dramatiq.queue USING found WHERE queue.ctid = found.row_at RETURNING queue.*
), settled AS (
    DELETE FROM callboard.cancellations USING ended WHERE cancellations.message_id = ended.message_id
), letter AS (
    SELECT
        message_id, left(queue_name, 63) AS queue_name, left(actor_name, 63) AS actor_name,
        coalesce(message, 'null') AS message, priority,
        least(greatest(attempt, 0), 1000000000) AS attempt, least(greatest(retries, 0), 1000000000) AS retries,
        least(greatest(lost_workers, 0), 1000000000) AS lost_workers,
        least(greatest(generation, 0), 1000000000) AS generation,
        left(dedupe_key, 255) AS dedupe_key,
        least(greatest(enqueued_at, '1900-01-01 00:00:00+00'), now()) AS enqueued_at
    FROM ended
), kept AS (
    INSERT INTO callboard.attempts (
        message_id, generation, attempt, outcome, worker_id, error_class, error_message, reason, fingerprint)
    SELECT
        message_id, generation, attempt, 'dead', %(worker_id)s::uuid, %(error_class)s, %(error_message)s, 'invalid',
        %(fingerprint)s
    FROM letter
    ON CONFLICT DO NOTHING
), died AS (
    INSERT INTO callboard.dead_letters (
        message_id, reason, queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation,
        dedupe_key, error_class, error_message, fingerprint, enqueued_at, first_failed_at)
    SELECT
        message_id, 'invalid', queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation,
        dedupe_key, %(error_class)s, %(error_message)s, %(fingerprint)s, enqueued_at, now()
    FROM letter
    ON CONFLICT (message_id) DO UPDATE SET
        reason = EXCLUDED.reason, queue_name = EXCLUDED.queue_name, actor_name = EXCLUDED.actor_name,
        message = EXCLUDED.message, priority = EXCLUDED.priority, attempt = EXCLUDED.attempt,
        retries = EXCLUDED.retries, lost_workers = EXCLUDED.lost_workers, generation = EXCLUDED.generation,
        dedupe_key = EXCLUDED.dedupe_key, error_class = EXCLUDED.error_class, error_message = EXCLUDED.error_message,
        traceback = NULL, fingerprint = EXCLUDED.fingerprint, error_place = NULL, enqueued_at = EXCLUDED.enqueued_at,
        first_failed_at = EXCLUDED.first_failed_at, died_at = now()
)
SELECT queue_name, actor_name, attempt FROM letter
