-- Change the arguments of one dead letter; what is not named stays to the last digit. Uses the primary key.
-- Returns the size of the whole message, bytes.
UPDATE callboard.dead_letters SET message = message
    || CASE
        WHEN %(kwargs)s::jsonb IS NULL THEN '{}'
        WHEN %(replaces_kwargs)s OR jsonb_typeof(message -> 'kwargs') IS DISTINCT FROM 'object' THEN
            jsonb_build_object('kwargs', %(kwargs)s::jsonb)
        ELSE jsonb_build_object('kwargs', (message -> 'kwargs') || %(kwargs)s::jsonb)
    END
    || CASE WHEN %(args)s::jsonb IS NULL THEN '{}' ELSE jsonb_build_object('args', %(args)s::jsonb) END
WHERE message_id = %(message_id)s
RETURNING octet_length(message::text)
