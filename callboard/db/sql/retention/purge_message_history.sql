-- Delete history in the places that were found; what has been written there since is younger, and stays.
-- Reads the places themselves (TID scan). Returns how many rows.
WITH gone AS (
    DELETE FROM callboard.message_history
    WHERE ctid = ANY (%(places)s::tid[]) AND ended_at < now() - %(days)s * interval '1 day'
    RETURNING 1
)
SELECT count(*) FROM gone
