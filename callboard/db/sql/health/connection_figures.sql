-- What the connection budget is made of. Reads settings, the list of sessions (sessions without a user or a database
-- are Postgres' own and take no connection), and the few rows of callboard.workers.
-- Returns max_connections, reserved ones, sessions of other programs, and worker processes that beat lately.
SELECT
    current_setting('max_connections')::integer,
    current_setting('superuser_reserved_connections')::integer
        -- Postgres 16 and newer.
        + coalesce(current_setting('reserved_connections', true)::integer, 0),
    (SELECT count(*) FROM pg_stat_activity
        WHERE usesysid IS NOT NULL AND datid IS NOT NULL AND application_name NOT LIKE 'callboard%%'),
    (SELECT count(*) FROM callboard.workers
        WHERE beat_at > now() - make_interval(secs => %(beat_overdue_s)s))
