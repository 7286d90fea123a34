-- Register this worker process, or again after it was taken for dead or lost its connection, and take its liveness
-- lock where one proves anything.
-- Each time under a new key: an older session of the same process, which Postgres still believes in, may keep its own.
-- A key that another worker has is passed over, as after a restore, which sets the sequence back; so is one whose lock
-- a session holds that has no row any more. 1,000 draws at the most.
-- Returns whether the lock is ours: FALSE where somebody else was faster; the next try draws another one. No row where
-- no key was free among those drawn.
WITH taken AS (
    SELECT lock_key::bigint FROM callboard.workers
    UNION ALL
    SELECT objid::bigint FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 2
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND classid::bigint = (hashtext('callboard.worker')::bigint & 4294967295)
), drawn AS (
    SELECT draw.lock_key
    FROM (SELECT nextval('callboard.workers_lock_key_seq') AS lock_key FROM generate_series(1, 1000)) AS draw
    WHERE draw.lock_key <> ALL (ARRAY(SELECT taken.lock_key FROM taken))
    LIMIT 1
), registered AS (
    INSERT INTO callboard.workers (worker_id, lock_key, hostname, pid, queues, threads, version, holds_lock)
    SELECT
        %(worker_id)s, drawn.lock_key, %(hostname)s, %(pid)s, %(queues)s, %(threads)s, %(version)s, %(holds_lock)s
    FROM drawn
    ON CONFLICT (worker_id) DO UPDATE SET
        beat_at = now(), suspected_at = NULL, lock_key = EXCLUDED.lock_key, holds_lock = EXCLUDED.holds_lock
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
