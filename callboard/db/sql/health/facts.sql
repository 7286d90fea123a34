-- What the doctor asks the database about itself: its version and clock, whether commits are durable, autovacuum and
-- the queue's dead rows, the oldest open transaction, how full the notification queue is.
-- Returns one row. Sessions of other users show no xact_start without the role pg_read_all_stats.
SELECT
    current_setting('server_version') AS server_version,
    clock_timestamp() AS clock,
    current_setting('fsync')::boolean AND current_setting('full_page_writes')::boolean AS keeps_data,
    current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('autovacuum')::boolean AS autovacuum,
    pg_is_in_recovery() AS is_replica,
    current_setting('transaction_read_only')::boolean AS is_read_only,
    (SELECT n_dead_tup FROM pg_stat_user_tables WHERE schemaname = 'dramatiq' AND relname = 'queue') AS dead_rows,
    (SELECT n_live_tup FROM pg_stat_user_tables WHERE schemaname = 'dramatiq' AND relname = 'queue') AS live_rows,
    (SELECT extract(epoch FROM max(clock_timestamp() - xact_start))::float8 FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()) AS oldest_transaction_s,
    pg_notification_queue_usage() AS notification_queue_usage
