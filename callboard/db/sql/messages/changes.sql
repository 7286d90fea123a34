-- List what operators did to one message: changes since it was sent that name its id. Uses audit_log_changed_idx.
SELECT changed_at, operator, via, action, reason
FROM callboard.audit_log
WHERE changed_at >= %(since)s
    AND (strpos(filter::text, %(message_id)s) > 0 OR strpos(details::text, %(message_id)s) > 0)
ORDER BY audit_id
LIMIT 100
