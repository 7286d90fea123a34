-- Count what one more transaction of a change did. Uses the primary key. Returns nothing.
UPDATE callboard.audit_log SET count = count + %(count)s WHERE audit_id = %(audit_id)s
