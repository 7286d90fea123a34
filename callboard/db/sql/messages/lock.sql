-- Lock messages in the order of their ids, so that two operators wait for each other in one order. A claim that comes
-- later passes them over. Uses the primary key. Returns nothing of use.
SELECT 1 FROM dramatiq.queue WHERE message_id = ANY(%(message_ids)s::uuid[]) ORDER BY message_id FOR UPDATE
