-- Tell whether other mails wait, and whether the server served one lately: then a mail's trouble is its own.
-- Uses emails_created_idx over one day. Asked only for a mail that failed for five days. Returns one row.
SELECT
    coalesce(bool_or(state = 'sending'), false) AS do_others_wait,
    coalesce(bool_or(state <> 'sending'), false) AS are_others_served
FROM callboard.emails
WHERE created_at > now() - interval '1 day' AND message_id <> %(message_id)s
