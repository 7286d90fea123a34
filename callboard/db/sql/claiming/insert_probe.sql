-- Store a message with nothing odd in it, in a transaction that is rolled back: whether it can be claimed tells a row's
-- fault from the database's. Returns its id.
INSERT INTO dramatiq.queue (message_id, queue_name, state, message, priority, available_at)
VALUES (
    gen_random_uuid(), 'callboard.probe', 'queued',
    '{"queue_name": "callboard.probe", "actor_name": "проба", "args": [], "kwargs": {}, "options": {}}', 0, now())
RETURNING message_id::text
