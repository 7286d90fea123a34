-- Register this worker process, or again after it was taken for dead, and take its liveness lock.
-- Returns whether the lock is ours: FALSE while an older session of the same process still holds it.
WITH registered AS (
    INSERT INTO callboard.workers (worker_id, hostname, pid, queues, threads, version)
    VALUES (%(worker_id)s, %(hostname)s, %(pid)s, %(queues)s, %(threads)s, %(version)s)
    ON CONFLICT (worker_id) DO UPDATE SET beat_at = now(), suspected_at = NULL
    RETURNING lock_key
), known AS (
    INSERT INTO callboard.worker_history (worker_id, hostname, pid, queues, threads, version)
    VALUES (%(worker_id)s, %(hostname)s, %(pid)s, %(queues)s, %(threads)s, %(version)s)
    ON CONFLICT (worker_id) DO UPDATE SET ended_at = NULL, end_cause = NULL
)
SELECT pg_try_advisory_lock(hashtext('callboard.worker'), lock_key) FROM registered
