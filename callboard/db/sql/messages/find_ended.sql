-- Find which of these messages have ended, well or not. Uses message_history_pkey and the dead letters' primary key.
SELECT message_id::text FROM callboard.message_history WHERE message_id = ANY(%(message_ids)s::uuid[])
UNION
SELECT message_id::text FROM callboard.dead_letters WHERE message_id = ANY(%(message_ids)s::uuid[])
