-- Find the verdicts that are written already, by a commit whose answer was lost: ends in the history by their lease,
-- the others among the attempts by worker and beginning. A release leaves no trace to be found.
-- Uses message_history_pkey and the primary key of attempts. Returns their lease ids, and whether the
-- message was discarded.
SELECT verdict.lease_id, EXISTS (
    SELECT 1 FROM callboard.message_history
    WHERE message_history.message_id = verdict.message_id AND message_history.lease_id = verdict.lease_id
        AND message_history.outcome = 'discarded')
FROM unnest(%(message_ids)s::uuid[], %(lease_ids)s::bigint[], %(started_at)s::timestamptz[])
    AS verdict (message_id, lease_id, started_at)
WHERE EXISTS (
        SELECT 1 FROM callboard.message_history
        WHERE message_history.message_id = verdict.message_id AND message_history.lease_id = verdict.lease_id)
    OR EXISTS (
        SELECT 1 FROM callboard.attempts
        WHERE attempts.message_id = verdict.message_id AND attempts.worker_id = %(worker_id)s
            AND attempts.started_at = verdict.started_at AND attempts.outcome <> 'lost')
