-- Delete reports whose files were removed. Uses the primary key. Returns how many rows.
WITH gone AS (
    DELETE FROM callboard.reports WHERE report_id = ANY (%(report_ids)s::uuid[])
    RETURNING 1
)
SELECT count(*) FROM gone
