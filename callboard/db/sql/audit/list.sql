-- List changes of operators, newest first. Uses the primary key.
SELECT audit_id, changed_at, operator, via, action, filter, count, reason, details
FROM callboard.audit_log
WHERE (%(before_id)s::bigint IS NULL OR audit_id < %(before_id)s)
    AND (%(action)s::text IS NULL OR action = %(action)s OR action LIKE %(action)s || ' %%')
    AND (%(since)s::timestamptz IS NULL OR changed_at >= %(since)s)
ORDER BY audit_id DESC
LIMIT %(limit)s
