-- Group the dead letters that a filter means (dead_matching) by cause, the largest first.
-- Counts read dead_letters_cause_idx alone; the newest letter of each group, which stands for it, is read from the table.
-- Returns a row a group, with its counts in equal parts of the time from since until now.
WITH span AS (
    SELECT
        coalesce(%(since)s::timestamptz, min(died_at)) AS since,
        least(coalesce(%(until)s::timestamptz, now()), now()) AS until
    FROM matching
), counted AS (
    SELECT
        coalesce(fingerprint, 'unknown') AS fingerprint, queue_name, actor_name, reason,
        least(
            floor(%(parts)s * extract(epoch FROM died_at - since) / greatest(extract(epoch FROM until - since), 1)),
            %(parts)s - 1)::integer AS part,
        count(*) AS letters, min(died_at) AS first_at, max(died_at) AS last_at
    FROM matching CROSS JOIN span
    GROUP BY 1, 2, 3, 4, 5
), grouped AS (
    SELECT
        fingerprint, sum(letters)::bigint AS letters, min(first_at) AS first_at, max(last_at) AS last_at,
        array_agg(DISTINCT reason) AS reasons, array_agg(DISTINCT queue_name) AS queues,
        array_agg(DISTINCT coalesce(actor_name, '')) AS actors
    FROM counted
    GROUP BY fingerprint
    ORDER BY letters DESC, fingerprint
    LIMIT %(limit)s
)
SELECT
    grouped.fingerprint, sample.error_class, sample.error_place, sample.error_message, sample.message_id::text,
    grouped.reasons, grouped.queues, grouped.actors, grouped.letters, grouped.first_at, grouped.last_at,
    (SELECT array_agg(coalesce(filled.letters, 0) ORDER BY part.number)
        FROM generate_series(0, %(parts)s - 1) AS part (number)
        LEFT JOIN (
            SELECT counted.part, sum(counted.letters)::bigint AS letters
            FROM counted WHERE counted.fingerprint = grouped.fingerprint GROUP BY counted.part) AS filled
            ON filled.part = part.number),
    span.since, span.until
FROM grouped
CROSS JOIN span
CROSS JOIN LATERAL (
    SELECT message_id, error_class, error_place, error_message
    FROM matching
    WHERE died_at = grouped.last_at AND coalesce(matching.fingerprint, 'unknown') = grouped.fingerprint
    LIMIT 1
) AS sample
ORDER BY grouped.letters DESC, grouped.fingerprint
