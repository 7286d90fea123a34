-- Count what ended in the last window_s, to choose how far back the pace is taken.
-- Uses message_history_ended_idx (BRIN). Returns one number.
-- Counts a column that the primary key lacks, which Postgres would sometimes read whole in place of the BRIN index.
SELECT count(outcome)
FROM callboard.message_history
WHERE ended_at > now() - make_interval(secs => %(window_s)s)
