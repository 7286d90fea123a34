-- Close an attempt: sent or refused for good, or still sending with the server's last answer.
-- Uses emails_pkey. A row that is sent stays so: the late answer of a slower attempt changes nothing.
UPDATE callboard.emails SET
    state = %(state)s,
    reply = coalesce(%(reply)s, reply),
    sent_at = CASE WHEN %(state)s = 'sent' THEN now() ELSE sent_at END
WHERE message_id = %(message_id)s AND state <> 'sent'
