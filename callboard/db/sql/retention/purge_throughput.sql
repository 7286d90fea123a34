-- Delete minutes that have outlived their time. Uses the primary key (minute_at, …). Returns how many rows.
WITH expired AS (
    SELECT minute_at, queue_name, actor_name FROM callboard.throughput
    WHERE minute_at < now() - %(days)s * interval '1 day'
    ORDER BY minute_at, queue_name, actor_name
    LIMIT %(limit)s
), gone AS (
    DELETE FROM callboard.throughput USING expired
    WHERE throughput.minute_at = expired.minute_at AND throughput.queue_name = expired.queue_name
        AND throughput.actor_name = expired.actor_name
    RETURNING 1
)
SELECT count(*) FROM gone
