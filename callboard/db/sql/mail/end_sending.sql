-- Close an attempt: sent or refused for good, or still sending with the server's last answer.
-- Uses emails_pkey. A row that is sent stays so: the late answer of a slower attempt changes nothing.
-- An outage, which no mail is to blame for, begins the mail's days anew.
UPDATE callboard.emails SET
    state = %(state)s,
    reply = coalesce(%(reply)s, reply),
    tried_since = CASE WHEN %(counts)s THEN tried_since ELSE now() END,
    sent_at = CASE WHEN %(state)s = 'sent' THEN now() ELSE sent_at END
WHERE message_id = %(message_id)s AND state <> 'sent'
