-- Tell how the database itself is: version, size, sessions and their limit, oldest open transaction of anybody (it keeps
-- vacuum from cleaning up behind the queue), dead letters of the last hour. Uses dead_letters_died_idx.
SELECT
    current_setting('server_version'),
    pg_database_size(current_database()),
    (SELECT count(*) FROM pg_stat_activity WHERE usesysid IS NOT NULL AND datid IS NOT NULL),
    current_setting('max_connections')::integer,
    (SELECT extract(epoch FROM now() - min(xact_start))::float8 FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()),
    (SELECT count(*) FROM callboard.dead_letters WHERE died_at > now() - interval '1 hour')
