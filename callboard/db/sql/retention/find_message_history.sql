-- Find history that has outlived its time, as places in the table; one pass over what is that old.
-- Uses message_history_ended_idx (BRIN): sequential scans are off in this transaction. Returns an array of ctids.
SELECT ARRAY(
    SELECT ctid::text FROM callboard.message_history
    WHERE ended_at < now() - %(days)s * interval '1 day'
    LIMIT %(limit)s)
