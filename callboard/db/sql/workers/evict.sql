-- End this worker's own session from before a broken connection: Postgres still believes in it, and it holds the lock.
SELECT pg_terminate_backend(held.pid)
FROM pg_locks AS held
JOIN callboard.workers ON workers.lock_key = held.objid::bigint
WHERE workers.worker_id = %(worker_id)s AND held.locktype = 'advisory' AND held.granted AND held.objsubid = 2
    AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND held.classid::bigint = (hashtext('callboard.worker')::bigint & 4294967295) AND held.pid <> pg_backend_pid()
