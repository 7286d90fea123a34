-- List a message's attempts, oldest first.
SELECT generation, attempt, outcome, started_at, ended_at, error_class, error_message, traceback, reason
FROM callboard.attempts
WHERE message_id = %(message_id)s
ORDER BY generation, attempt
