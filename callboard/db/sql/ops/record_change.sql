-- Write one row of the audit log. Returns its id.
INSERT INTO callboard.audit_log (operator, via, action, filter, count, reason, details)
VALUES (
    %(operator)s, %(via)s, %(action)s, %(filter)s::jsonb, %(count)s, %(reason)s, %(details)s::jsonb)
RETURNING audit_id
