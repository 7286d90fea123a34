-- Store one message that has no dedupe key and was not sent before: what nearly every send is, without the looks that
-- enqueue.sql takes for the others. A known id changes nothing, and is no error: Postgres would write the message into
-- its log. Returns nothing; the count of rows tells whether it is stored.
INSERT INTO dramatiq.queue (message_id, queue_name, state, message, priority, available_at)
VALUES (
    %(message_id)s, %(queue_name)s, 'queued', %(message)s::jsonb, %(priority)s,
    now() + %(delay_ms)s * interval '1 millisecond')
ON CONFLICT DO NOTHING
