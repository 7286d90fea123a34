-- Lock the one row that says which minutes are rolled up; made at the first call, some minutes back. A second roll-up at
-- the same time waits here. Returns until when it is rolled up, and the beginning of the current minute.
INSERT INTO callboard.throughput_progress AS progress (rolled_until)
VALUES (date_trunc('minute', now()) - %(first_minutes)s * interval '1 minute')
ON CONFLICT (is_only) DO UPDATE SET rolled_until = least(progress.rolled_until, date_trunc('minute', now()))
RETURNING rolled_until, date_trunc('minute', now())
