-- Note that a report was asked for; a repeat of the same request changes nothing.
-- Uses the primary key. Returns nothing.
INSERT INTO callboard.reports (report_id, kind, parameters, formats, notify_to, created_at)
VALUES (%(report_id)s, %(kind)s, %(parameters)s, %(formats)s, %(notify_to)s, %(created_at)s)
ON CONFLICT (report_id) DO NOTHING
