-- Tell the database which actors this worker knows, for senders that use SQL and for the operator's tools. Where two
-- services use one actor name on two queues, the last to register wins: an actor may move to another queue that way.
-- In the order of names, so that two workers that register the same actors wait for each other in one order.
-- Returns the actors that were known on another queue, which living workers serve still: name, queue, that queue.
WITH own AS (
    SELECT * FROM unnest(%(actor_names)s::text[], %(queue_names)s::text[], %(priorities)s::integer[])
        AS own (actor_name, queue_name, priority)
), elsewhere AS (
    SELECT own.actor_name, own.queue_name, known.queue_name AS served_queue
    FROM own
    JOIN callboard.actors AS known ON known.actor_name = own.actor_name AND known.queue_name <> own.queue_name
    WHERE EXISTS (SELECT 1 FROM callboard.workers WHERE known.queue_name = ANY (workers.queues))
), registered AS (
    INSERT INTO callboard.actors (actor_name, queue_name, priority)
    SELECT actor_name, queue_name, priority FROM own ORDER BY actor_name
    ON CONFLICT (actor_name) DO UPDATE SET
        queue_name = EXCLUDED.queue_name, priority = EXCLUDED.priority, seen_at = now()
)
SELECT actor_name, queue_name, served_queue FROM elsewhere
