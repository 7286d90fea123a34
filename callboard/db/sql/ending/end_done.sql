-- Move messages that succeeded to the history, also those that an operator asked to stop.
-- Fenced: a row whose lease has passed on is left alone, and so is one
-- that nobody holds, as it has no lease_id. Its state is not asked for: that would let the planner take the index of
-- the running ones, which is full of entries that have just died, for the primary key. The row is asked for by
-- = ANY (ARRAY[…]), here and wherever rows of the queue are looked up by their ids: no merge can be made of that, and so
-- no plan that reads all of the table, which looks the cheapest while autovacuum knows it as drained.
-- Returns the leases that still held; one that is missing there was lost. Leases, not messages: a batch may hold the
-- verdicts of two leases of one message.
WITH verdict AS (
    SELECT * FROM unnest(%(message_ids)s::uuid[], %(lease_ids)s::bigint[], %(started_at)s::timestamptz[])
        AS v (message_id, lease_id, started_at)
), ended AS (
    DELETE FROM dramatiq.queue USING verdict
    WHERE queue.message_id = ANY (ARRAY[verdict.message_id]) AND queue.lease_id = verdict.lease_id
    RETURNING queue.*, verdict.started_at
), settled AS (
    DELETE FROM callboard.cancellations USING ended
    WHERE ended.cancel_asked_at IS NOT NULL AND cancellations.message_id = ended.message_id
)
INSERT INTO callboard.message_history (
    message_id, outcome, queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation,
    lease_id, worker_id, dedupe_key, enqueued_at, available_at, started_at)
SELECT
    message_id, 'done', queue_name, actor_name, message, priority, attempt, retries, lost_workers, generation,
    lease_id, worker_id, dedupe_key, enqueued_at, available_at, started_at
FROM ended
RETURNING lease_id
