-- Close a report that cannot be made; one that is ready stays ready.
-- Uses the primary key. Returns a row where it changed something.
UPDATE callboard.reports
SET state = 'failed', error = %(error)s, finished_at = now()
WHERE report_id = %(report_id)s AND state <> 'ready'
RETURNING report_id
