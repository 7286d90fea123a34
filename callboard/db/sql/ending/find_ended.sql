-- Tell whether the message ended well under this lease.
SELECT 1 FROM callboard.message_history
WHERE message_id = %(message_id)s AND lease_id = %(lease_id)s AND outcome = 'done'
