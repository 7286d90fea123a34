-- Write one row of the audit log. An id that the sequence gives a second time, as after a restore, is passed over: it must
-- not keep an operator from a change. Returns its id.
WITH drawn AS MATERIALIZED (
    SELECT nextval(pg_get_serial_sequence('callboard.audit_log', 'audit_id')) AS number
)
INSERT INTO callboard.audit_log (audit_id, operator, via, action, filter, count, reason, details)
OVERRIDING SYSTEM VALUE
SELECT
    CASE WHEN EXISTS (SELECT 1 FROM callboard.audit_log WHERE audit_id = drawn.number)
        THEN (SELECT max(audit_id) FROM callboard.audit_log) + drawn.number ELSE drawn.number END,
    %(operator)s, %(via)s, %(action)s, %(filter)s::jsonb, %(count)s, %(reason)s, %(details)s::jsonb
FROM drawn
RETURNING audit_id
