-- Tell which worker holds a running message, whether it seems to live, and whether an operator asked it to stop.
-- Uses the primary keys. Returns host, pid, seconds of silence, whether it is suspected, who asked and when.
SELECT
    workers.hostname, workers.pid, extract(epoch FROM now() - workers.beat_at)::float8, workers.suspected_at IS NOT NULL,
    cancellation.requested_by, cancellation.requested_at
FROM (SELECT 1) AS always
LEFT JOIN callboard.workers ON workers.worker_id = %(worker_id)s::uuid
LEFT JOIN callboard.cancellations AS cancellation ON cancellation.message_id = %(message_id)s
