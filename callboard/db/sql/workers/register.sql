-- Register this worker process, or again after it was taken for dead or lost its connection, and take its liveness
-- lock where one proves anything.
-- Each time under a new key: an older session of the same process, which Postgres still believes in, may keep its own.
-- Returns whether the lock is ours: FALSE where the key is somebody else's (the sequence began anew); the next try
-- draws another one.
WITH registered AS (
    INSERT INTO callboard.workers (worker_id, hostname, pid, queues, threads, version, holds_lock)
    VALUES (%(worker_id)s, %(hostname)s, %(pid)s, %(queues)s, %(threads)s, %(version)s, %(holds_lock)s)
    ON CONFLICT (worker_id) DO UPDATE SET
        beat_at = now(), suspected_at = NULL, lock_key = DEFAULT, holds_lock = EXCLUDED.holds_lock
    RETURNING lock_key
), known AS (
    INSERT INTO callboard.worker_history (worker_id, hostname, pid, queues, threads, version)
    VALUES (%(worker_id)s, %(hostname)s, %(pid)s, %(queues)s, %(threads)s, %(version)s)
    ON CONFLICT (worker_id) DO UPDATE SET ended_at = NULL, end_cause = NULL
), mended AS (
    -- Rows of the migration, which a restore without data leaves out: nobody would lead then, without a word.
    INSERT INTO callboard.duties (duty_name) VALUES ('lead'), ('alone') ON CONFLICT (duty_name) DO NOTHING
)
SELECT CASE WHEN %(holds_lock)s THEN pg_try_advisory_lock(hashtext('callboard.worker'), lock_key) ELSE true END
FROM registered
