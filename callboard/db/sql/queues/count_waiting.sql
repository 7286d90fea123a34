-- Count a queue's waiting messages and tell the newest one's seq, so that a discard leaves alone what comes later.
-- Uses queue_ready_idx. Returns count and seq.
SELECT count(*), coalesce(max(seq), 0) FROM dramatiq.queue WHERE queue_name = %(queue_name)s AND state = 'queued'
