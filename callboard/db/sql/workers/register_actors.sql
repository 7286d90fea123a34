-- Tell the database which actors this worker knows, for senders that use SQL and for the operator's tools.
INSERT INTO callboard.actors (actor_name, queue_name, priority)
SELECT * FROM unnest(%(actor_names)s::text[], %(queue_names)s::text[], %(priorities)s::integer[])
ON CONFLICT (actor_name) DO UPDATE SET
    queue_name = EXCLUDED.queue_name, priority = EXCLUDED.priority, seen_at = now()
