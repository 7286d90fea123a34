-- What holds behind a pooler that lends one session to many clients: whether a worker's lock proves anything, and who
-- does what only one worker does.
SET LOCAL lock_timeout = '5s';

ALTER TABLE callboard.workers
    -- Whether its lock, once it is free, says that the worker is dead; else only an overdue heartbeat does. The worker
    -- looks at each beat. True for workers from before this revision, which hold their locks or wait.
    ADD COLUMN holds_lock boolean NOT NULL DEFAULT true;

CREATE TABLE callboard.duties (
    -- lead: rescue, schedules, expiry. alone: messages that lost two workers.
    duty_name text PRIMARY KEY,
    -- Who has it; free when that worker's row is gone, its heartbeat late, or its lock free.
    worker_id uuid
);
INSERT INTO callboard.duties (duty_name) VALUES ('lead'), ('alone');
