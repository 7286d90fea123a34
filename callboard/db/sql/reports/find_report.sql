-- Read one report.
-- Uses the primary key. Returns no row for an unknown id.
SELECT report_id::text, state, kind, parameters, formats, files, notify_to, error, created_at, finished_at
FROM callboard.reports
WHERE report_id = %(report_id)s
