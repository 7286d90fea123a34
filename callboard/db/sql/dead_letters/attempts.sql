-- List a message's attempts, oldest first, with the machine of each where it is known.
-- Uses the primary keys of attempts and worker_history. Returns one row an attempt.
SELECT
    attempts.generation, attempts.attempt, attempts.outcome, attempts.started_at, attempts.ended_at,
    attempts.error_class, attempts.error_message, attempts.traceback, attempts.reason, attempts.fingerprint,
    attempts.worker_id::text, worker_history.hostname, worker_history.pid
FROM callboard.attempts
LEFT JOIN callboard.worker_history USING (worker_id)
WHERE attempts.message_id = %(message_id)s
ORDER BY attempts.generation, attempts.attempt
