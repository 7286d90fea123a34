-- One row a mail that an actor took on, written before the SMTP conversation and closed after it.
SET LOCAL lock_timeout = '5s';

CREATE TABLE callboard.emails (
    -- The id of the queue's message: its Message-ID header and this row stay the same over all attempts.
    message_id uuid PRIMARY KEY,
    -- sending -> sent | refused; a crash in between leaves "sending": the outcome is unknown.
    state text NOT NULL CONSTRAINT state_is_known CHECK (state IN ('sending', 'sent', 'refused')),
    template text NOT NULL,
    recipient text NOT NULL,
    subject text NOT NULL,
    message_id_header text NOT NULL,
    attempts integer NOT NULL DEFAULT 1,
    -- The mail server's last answer, or what kept us from getting one; e.g. "550 5.1.1 no such mailbox".
    reply text,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- Since when the mail is tried; moves only when an operator brings a refused mail back.
    tried_since timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    CONSTRAINT sent_mail_has_its_time CHECK ((state = 'sent') = (sent_at IS NOT NULL))
);
CREATE INDEX emails_created_idx ON callboard.emails (created_at);
CREATE INDEX emails_recipient_idx ON callboard.emails (recipient, created_at);

-- For people with a SQL prompt: what mail waits, newest first.
CREATE VIEW callboard.pending_emails AS
SELECT
    message_id, enqueued_at, message #>> '{kwargs,to}' AS recipient, message #>> '{kwargs,template}' AS template,
    state, attempt, available_at, wait_reason
FROM dramatiq.queue
WHERE queue_name = 'emails'
ORDER BY enqueued_at DESC;
