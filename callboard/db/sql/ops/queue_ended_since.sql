-- Count what ended in the last window_s, to choose how far back the pace is taken.
-- Uses message_history_ended_idx (BRIN). Returns one number.
SELECT count(*)
FROM callboard.message_history
WHERE ended_at > now() - make_interval(secs => %(window_s)s)
