-- Find the next letters of a change: those a filter means (dead_matching), oldest first, after the last one looked at.
-- Returns id, generation and moment of death.
SELECT message_id::text, generation, died_at
FROM matching
WHERE %(after_at)s::timestamptz IS NULL
    OR (died_at, message_id) > (%(after_at)s::timestamptz, %(after_id)s::uuid)
ORDER BY died_at, message_id
LIMIT %(limit)s
