-- Take a mail on before its SMTP conversation: a new row, or one more attempt of a row that is not sent.
-- Uses emails_pkey. Returns whether the mail was sent before, its reply then, and for how long it has been tried, s.
-- A refused mail that an operator brings back begins anew, also its time.
INSERT INTO callboard.emails AS kept (message_id, state, template, recipient, subject, message_id_header)
VALUES (%(message_id)s, 'sending', %(template)s, %(recipient)s, %(subject)s, %(message_id_header)s)
ON CONFLICT (message_id) DO UPDATE SET
    state = CASE WHEN kept.state = 'sent' THEN 'sent' ELSE 'sending' END,
    recipient = CASE WHEN kept.state = 'sent' THEN kept.recipient ELSE excluded.recipient END,
    subject = CASE WHEN kept.state = 'sent' THEN kept.subject ELSE excluded.subject END,
    template = CASE WHEN kept.state = 'sent' THEN kept.template ELSE excluded.template END,
    message_id_header = CASE WHEN kept.state = 'sent' THEN kept.message_id_header ELSE excluded.message_id_header END,
    attempts = least(kept.attempts, 999999999) + CASE WHEN kept.state = 'sent' THEN 0 ELSE 1 END,
    tried_since = CASE WHEN kept.state = 'refused' THEN now() ELSE kept.tried_since END
RETURNING state = 'sent' AS is_sent, reply, extract(epoch FROM now() - tried_since)::float8 AS tried_for_s
