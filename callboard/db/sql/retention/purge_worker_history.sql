-- Delete worker processes that ended long ago, or were never seen to end and are gone.
-- Uses worker_history_started_idx. Returns how many rows.
WITH expired AS (
    SELECT worker_id FROM callboard.worker_history
    WHERE started_at < now() - %(days)s * interval '1 day'
        AND coalesce(ended_at, started_at) < now() - %(days)s * interval '1 day'
        AND NOT EXISTS (SELECT 1 FROM callboard.workers WHERE workers.worker_id = worker_history.worker_id)
    LIMIT %(limit)s
), gone AS (
    DELETE FROM callboard.worker_history USING expired
    WHERE worker_history.worker_id = expired.worker_id
    RETURNING 1
)
SELECT count(*) FROM gone
