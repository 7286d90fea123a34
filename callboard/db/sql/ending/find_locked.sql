-- Tell which of these leases hold still although their verdict changed nothing: somebody else has locked the row.
-- Uses the primary key. Returns their lease ids.
SELECT queue.lease_id
FROM unnest(%(message_ids)s::uuid[], %(lease_ids)s::bigint[]) AS verdict (message_id, lease_id)
JOIN dramatiq.queue ON queue.message_id = ANY (ARRAY[verdict.message_id]) AND queue.lease_id = verdict.lease_id
