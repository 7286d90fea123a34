-- Find reports that have outlived their time, but those of a message that waits, runs or is dead
-- and some that were tried already.
-- Uses reports_created_idx and the primary keys of queue and dead letters. Returns their ids, the oldest first.
SELECT reports.report_id::text FROM callboard.reports
WHERE reports.created_at < now() - %(days)s * interval '1 day' AND reports.report_id <> ALL (%(besides)s::uuid[])
    AND NOT EXISTS (SELECT 1 FROM dramatiq.queue WHERE queue.message_id = reports.report_id)
    AND NOT EXISTS (SELECT 1 FROM callboard.dead_letters WHERE dead_letters.message_id = reports.report_id)
ORDER BY reports.created_at
LIMIT %(limit)s
