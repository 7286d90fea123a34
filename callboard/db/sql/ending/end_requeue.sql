-- Put messages back into their queues: after a failure (retry), to run later (postponed) or unstarted (released). What an
-- operator cancelled while it ran goes to the history instead, whichever of these it was.
-- A release is not an attempt. An attempt replaces one of the same number from before its id was sent anew. Fenced like
-- end_done. held locks first, so that a cancellation that comes at the same moment is seen: no row of another table would
-- be. A row that somebody else has locked is left out (find_locked): an error would write these texts into Postgres's log.
-- Returns the leases that still held, and whether each message was discarded.
WITH verdict AS (
    SELECT * FROM unnest(
        %(message_ids)s::uuid[], %(lease_ids)s::bigint[], %(started_at)s::timestamptz[], %(outcomes)s::text[],
        %(waits_s)s::float8[], %(retries)s::integer[], %(messages)s::text[], %(reasons)s::text[],
        %(error_classes)s::text[], %(error_messages)s::text[], %(tracebacks)s::text[], %(fingerprints)s::text[])
        AS v (message_id, lease_id, started_at, outcome, wait_s, retries, message, reason,
            error_class, error_message, traceback, fingerprint)
), held AS MATERIALIZED (
    SELECT verdict.*, verdict.outcome = 'discarded' OR queue.cancel_asked_at IS NOT NULL AS is_discarded
    FROM verdict
    JOIN dramatiq.queue ON queue.message_id = ANY (ARRAY[verdict.message_id]) AND queue.lease_id = verdict.lease_id
    FOR UPDATE OF queue SKIP LOCKED
), requeued AS (
    UPDATE dramatiq.queue SET
        state = 'queued',
        available_at = now() + verdict.wait_s * interval '1 second',
        attempt = greatest(queue.attempt, 1) - (verdict.outcome = 'released')::integer,
        retries = coalesce(verdict.retries, queue.retries),
        message = coalesce(verdict.message::jsonb, queue.message),
        wait_reason = verdict.reason,
        lease_id = NULL,
        worker_id = NULL,
        claimed_at = NULL,
        mtime = now()
    FROM held AS verdict
    WHERE queue.message_id = ANY (ARRAY[verdict.message_id]) AND NOT verdict.is_discarded
    RETURNING
        verdict.lease_id, queue.message_id, queue.generation, queue.attempt, verdict.outcome, verdict.started_at,
        verdict.reason, verdict.error_class, verdict.error_message, verdict.traceback, verdict.fingerprint
), cancelled AS (
    DELETE FROM dramatiq.queue USING held AS verdict
    WHERE queue.message_id = ANY (ARRAY[verdict.message_id]) AND verdict.is_discarded
    RETURNING
        queue.*, verdict.started_at, verdict.error_class, verdict.error_message, verdict.traceback, verdict.fingerprint,
        (verdict.outcome = 'released') AS is_unstarted
), discarded AS (
    INSERT INTO callboard.message_history (
        message_id, outcome, queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation,
        lease_id, worker_id, dedupe_key, enqueued_at, available_at, started_at)
    SELECT
        message_id, 'discarded', queue_name, actor_name, message, priority,
        greatest(attempt, 1) - is_unstarted::integer, retries,
        lost_workers, generation, lease_id, worker_id, dedupe_key, enqueued_at, available_at,
        CASE WHEN NOT is_unstarted THEN started_at END
    FROM cancelled
), settled AS (
    DELETE FROM callboard.cancellations USING cancelled WHERE cancellations.message_id = cancelled.message_id
), kept AS (
    INSERT INTO callboard.attempts (
        message_id, generation, attempt, outcome, worker_id, started_at, error_class, error_message, traceback, reason,
        fingerprint)
    SELECT
        message_id, generation, attempt, outcome, %(worker_id)s, started_at, error_class, error_message, traceback,
        reason, fingerprint
    FROM requeued
    WHERE outcome <> 'released'
    UNION ALL
    SELECT
        message_id, generation, attempt, 'discarded', worker_id, started_at, error_class, error_message, traceback,
        NULL, fingerprint
    FROM cancelled
    WHERE NOT is_unstarted
    ON CONFLICT (message_id, generation, attempt) DO UPDATE SET
        outcome = EXCLUDED.outcome, worker_id = EXCLUDED.worker_id, started_at = EXCLUDED.started_at,
        ended_at = EXCLUDED.ended_at, error_class = EXCLUDED.error_class, error_message = EXCLUDED.error_message,
        traceback = EXCLUDED.traceback, reason = EXCLUDED.reason
    WHERE attempts.started_at < EXCLUDED.started_at
)
SELECT lease_id, false, pg_notify('callboard', '') FROM requeued
UNION ALL
SELECT lease_id, true, NULL FROM cancelled
