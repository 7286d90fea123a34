-- Tell whether anything is left of a message whose row is gone. Uses the primary key of attempts.
SELECT EXISTS (SELECT 1 FROM callboard.attempts WHERE message_id = %(message_id)s)
