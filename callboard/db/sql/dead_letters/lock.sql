-- Look one dead letter up and keep others from changing it. Uses the primary key.
-- Returns its generation, whether it holds a message, and its arguments by name.
SELECT generation, jsonb_typeof(message) = 'object', message -> 'kwargs'
FROM callboard.dead_letters
WHERE message_id = %(message_id)s
FOR UPDATE
