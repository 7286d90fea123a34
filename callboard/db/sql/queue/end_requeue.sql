-- Put messages back into their queues: after a failure (retry), to run later (postponed) or unstarted (released).
-- A release is not an attempt. Fenced like end_done. Returns the leases that still held.
WITH verdict AS (
    SELECT * FROM unnest(
        %(message_ids)s::uuid[], %(lease_ids)s::bigint[], %(started_at)s::timestamptz[], %(outcomes)s::text[],
        %(waits_s)s::float8[], %(retries)s::integer[], %(messages)s::text[], %(reasons)s::text[],
        %(error_classes)s::text[], %(error_messages)s::text[], %(tracebacks)s::text[], %(fingerprints)s::text[])
        AS v (message_id, lease_id, started_at, outcome, wait_s, retries, message, reason,
            error_class, error_message, traceback, fingerprint)
), requeued AS (
    UPDATE dramatiq.queue SET
        state = 'queued',
        available_at = now() + verdict.wait_s * interval '1 second',
        attempt = queue.attempt - (verdict.outcome = 'released')::integer,
        retries = coalesce(verdict.retries, queue.retries),
        message = coalesce(verdict.message::jsonb, queue.message),
        wait_reason = verdict.reason,
        lease_id = NULL,
        worker_id = NULL,
        claimed_at = NULL,
        mtime = now()
    FROM verdict
    WHERE queue.message_id = verdict.message_id AND queue.lease_id = verdict.lease_id
    RETURNING verdict.lease_id, queue.message_id, queue.generation, queue.attempt, verdict.outcome, verdict.started_at, verdict.reason,
        verdict.error_class, verdict.error_message, verdict.traceback, verdict.fingerprint
), kept AS (
    INSERT INTO callboard.attempts (
        message_id, generation, attempt, outcome, worker_id, started_at, error_class, error_message, traceback, reason,
        fingerprint)
    SELECT
        message_id, generation, attempt, outcome, %(worker_id)s, started_at, error_class, error_message, traceback, reason,
        fingerprint
    FROM requeued
    WHERE outcome <> 'released'
    ON CONFLICT (message_id, generation, attempt) DO NOTHING
)
SELECT requeued.lease_id, pg_notify('callboard', '') FROM requeued
