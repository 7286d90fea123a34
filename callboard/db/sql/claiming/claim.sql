-- Claim due messages of the named queues, which stand in order of their turn: up to limit in all and per_queue of each
-- queue; within a queue by priority, then oldest first. Concurrent claims never block each other. A worker that was
-- taken for dead, and does not know it yet, claims nothing. Messages that lost two workers are left to claim_alone.
-- bounds: where the last claims of a queue and priority ended; index entries before that belong to rows that are gone,
-- and are not looked at again but for the full look that the caller makes now and then. Priorities with a bound are
-- known, so that only the gaps between them are looked through for others: dead entries lie outside of those.
-- Uses queue_ready_idx (queue_name, priority, available_at, seq) WHERE state = 'queued': one probe a queue and priority,
-- whatever number of delayed messages lies between them (a loose scan by hand, for Postgres 15).
-- Returns the claimed messages, without its text where one is larger than a row may be, and one row without an id, which holds the moment of the claim as claimed_at, in how
-- many seconds the next message falls due, whether one waits that must run alone, and which queues were looked at.
WITH RECURSIVE wanted AS (
    SELECT names.queue_name, names.turn
    FROM unnest(%(queue_names)s::text[]) WITH ORDINALITY AS names (queue_name, turn)
    WHERE NOT EXISTS (
        SELECT 1 FROM callboard.queue_controls AS control
        WHERE control.queue_name = names.queue_name AND control.is_paused
            AND (control.paused_until IS NULL OR control.paused_until > now()))
        AND EXISTS (SELECT 1 FROM callboard.workers WHERE workers.worker_id = %(worker_id)s)
), known AS (
    SELECT wanted.queue_name, wanted.turn, bound.priority, bound.available_at
    FROM unnest(%(bound_queues)s::text[], %(bound_priorities)s::integer[], %(bound_moments)s::timestamptz[])
        AS bound (queue_name, priority, available_at)
    JOIN wanted USING (queue_name)
), gap AS (
    SELECT
        edge.queue_name, edge.turn, edge.priority AS above,
        lead(edge.priority, 1, 2147483648) OVER (PARTITION BY edge.queue_name ORDER BY edge.priority) AS below
    FROM (
        SELECT wanted.queue_name, wanted.turn, -2147483649 AS priority FROM wanted
        UNION ALL
        SELECT known.queue_name, known.turn, known.priority FROM known
    ) AS edge
), found AS (
    SELECT gap.queue_name, gap.turn, gap.below, first.priority
    FROM gap
    CROSS JOIN LATERAL (
        SELECT queue.priority FROM dramatiq.queue
        WHERE queue.queue_name = gap.queue_name AND queue.state = 'queued'
            AND queue.priority > gap.above AND queue.priority < gap.below
        ORDER BY queue.priority
        LIMIT 1
    ) AS first
    UNION ALL
    SELECT found.queue_name, found.turn, found.below, next.priority
    FROM found
    CROSS JOIN LATERAL (
        SELECT queue.priority FROM dramatiq.queue
        WHERE queue.queue_name = found.queue_name AND queue.state = 'queued'
            AND queue.priority > found.priority AND queue.priority < found.below
        ORDER BY queue.priority
        LIMIT 1
    ) AS next
), level AS (
    SELECT known.queue_name, known.turn, known.priority, known.available_at FROM known
    UNION ALL
    SELECT found.queue_name, found.turn, found.priority, '-infinity' FROM found
), due AS (
    SELECT ready.row_at
    FROM (SELECT DISTINCT level.queue_name, level.turn FROM level ORDER BY level.turn) AS served
    CROSS JOIN LATERAL (
        SELECT head.row_at
        FROM (SELECT * FROM level WHERE level.queue_name = served.queue_name ORDER BY level.priority) AS bounded
        CROSS JOIN LATERAL (
            SELECT queue.ctid AS row_at
            FROM dramatiq.queue
            WHERE queue.queue_name = bounded.queue_name AND queue.priority = bounded.priority
                AND queue.state = 'queued' AND queue.available_at <= now() AND queue.available_at >= bounded.available_at
                AND queue.lost_workers < 2
            ORDER BY queue.available_at, queue.seq
            LIMIT %(per_queue)s
            FOR UPDATE SKIP LOCKED
        ) AS head
        LIMIT %(per_queue)s
    ) AS ready
    LIMIT %(limit)s
), claimed AS (
    UPDATE dramatiq.queue SET
        state = 'running',
        attempt = least(attempt, 999999999) + 1,
        lease_id = nextval('callboard.lease_id_seq'),
        worker_id = %(worker_id)s,
        claimed_at = now(),
        wait_reason = NULL,
        mtime = now()
    FROM due
    -- The rows are locked, so their places hold still; this saves a look into the primary key for each.
    WHERE queue.ctid = due.row_at
    RETURNING
        queue.message_id::text, queue.queue_name,
        -- A row from before there was a limit may hold so much that making text of it takes seconds.
        CASE WHEN pg_column_size(queue.message) <= 8388608 THEN queue.message::text END AS message,
        queue.priority, queue.available_at, queue.seq,
        queue.lease_id, queue.attempt, queue.retries, queue.lost_workers, queue.generation, queue.enqueued_at,
        queue.claimed_at
), next_due AS (
    SELECT extract(epoch FROM min(least(later.available_at, now() + interval '1 day')) - now())::float8 AS seconds
    FROM level
    CROSS JOIN LATERAL (
        SELECT queue.available_at FROM dramatiq.queue
        WHERE queue.queue_name = level.queue_name AND queue.priority = level.priority
            AND queue.state = 'queued' AND queue.available_at > now()
        ORDER BY queue.available_at
        LIMIT 1
    ) AS later
), suspect AS (
    SELECT EXISTS (
        SELECT 1
        FROM wanted
        JOIN dramatiq.queue USING (queue_name)
        WHERE queue.state = 'queued' AND queue.lost_workers >= 2 AND queue.available_at <= now()) AS waits
)
SELECT
    message_id, queue_name, CASE WHEN octet_length(message) <= 1048576 THEN message END, priority, available_at,
    seq, lease_id, attempt, retries, lost_workers, generation, enqueued_at, claimed_at,
    NULL::float8, NULL::boolean, NULL::text[]
FROM claimed
UNION ALL
SELECT
    NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, now(), next_due.seconds, suspect.waits,
    ARRAY(SELECT wanted.queue_name FROM wanted)
FROM next_due, suspect
