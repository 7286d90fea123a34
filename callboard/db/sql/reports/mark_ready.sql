-- Close a report with its files, also one that had failed: an operator may retry a dead letter.
-- Uses the primary key. Returns a row only to the first who closes it as ready.
UPDATE callboard.reports
SET state = 'ready', files = %(files)s, error = NULL, finished_at = now()
WHERE report_id = %(report_id)s AND state <> 'ready'
RETURNING report_id
