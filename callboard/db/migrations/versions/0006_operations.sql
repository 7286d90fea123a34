-- What operators see and do: causes of dead letters, who changed what, cancellations, schedules, throughput.
SET LOCAL lock_timeout = '5s';

-- Dead letters of one cause share a fingerprint; NULL for those from before this revision.
ALTER TABLE callboard.dead_letters
    ADD COLUMN fingerprint text,
    -- Where it failed: the innermost frame of ours, as "callboard/mail/smtp.py in send".
    ADD COLUMN error_place text;
-- Groups read nothing but this: a letter and its traceback are kilobytes.
CREATE INDEX dead_letters_cause_idx ON callboard.dead_letters (fingerprint, died_at)
    INCLUDE (queue_name, actor_name, reason);
CREATE INDEX dead_letters_queue_idx ON callboard.dead_letters (queue_name, died_at);

ALTER TABLE callboard.attempts
    DROP CONSTRAINT outcome_is_known,
    ADD COLUMN fingerprint text,
    ADD CONSTRAINT outcome_is_known
        CHECK (outcome IN ('retry', 'dead', 'postponed', 'released', 'lost', 'discarded'));

-- Every change that an operator makes, through whichever door.
CREATE TABLE callboard.audit_log (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    changed_at timestamptz NOT NULL DEFAULT now(),
    -- Who: user@host of a command, the name of an API client or of a dashboard's user.
    operator text NOT NULL,
    via text NOT NULL CONSTRAINT via_is_known CHECK (via IN ('cli', 'api', 'dashboard')),
    -- As the command is called: "dead retry", "queues pause".
    action text NOT NULL,
    -- What it was asked for, as it was asked: ids, a filter, a name.
    filter jsonb NOT NULL DEFAULT '{}',
    -- How many things it changed.
    count bigint NOT NULL,
    reason text,
    details jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_log_changed_idx ON callboard.audit_log (changed_at);

ALTER TABLE callboard.workers ADD COLUMN rss_bytes bigint;

-- Who paused or resumed the queue.
ALTER TABLE callboard.queue_controls ADD COLUMN changed_by text;

CREATE OR REPLACE VIEW callboard.queue_overview AS
SELECT
    live.queue_name, live.ready, live.delayed, live.running, live.oldest_ready_at,
    control.queue_name IS NOT NULL AS is_paused, control.paused_until, control.reason AS pause_reason
FROM (
    SELECT
        queue_name,
        count(*) FILTER (WHERE state = 'queued' AND available_at <= now()) AS ready,
        count(*) FILTER (WHERE state = 'queued' AND available_at > now()) AS delayed,
        count(*) FILTER (WHERE state = 'running') AS running,
        min(available_at) FILTER (WHERE state = 'queued' AND available_at <= now()) AS oldest_ready_at
    FROM dramatiq.queue
    GROUP BY queue_name
) AS live
LEFT JOIN callboard.queue_controls AS control
    ON control.queue_name = live.queue_name AND control.is_paused
    AND (control.paused_until IS NULL OR control.paused_until > now());

-- Every worker process that ever registered: whoever reads an attempt wants its machine, not a number that is gone.
CREATE TABLE callboard.worker_history (
    worker_id uuid PRIMARY KEY,
    hostname text NOT NULL,
    pid integer NOT NULL,
    queues text[] NOT NULL,
    threads integer NOT NULL,
    version text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    -- stopped: in order; died: its lock came free; silent: frozen or cut off.
    end_cause text CONSTRAINT end_cause_is_known CHECK (end_cause IN ('stopped', 'died', 'silent'))
);
CREATE INDEX worker_history_started_idx ON callboard.worker_history (started_at);

-- When an operator asked for this running message to stop. On the row itself, so that whatever takes it out of "running"
-- at that very moment waits for the lock and then sees it.
ALTER TABLE dramatiq.queue ADD COLUMN cancel_asked_at timestamptz;

-- Running messages that an operator asked to stop; a row goes with the message's end.
CREATE TABLE callboard.cancellations (
    message_id uuid PRIMARY KEY,
    worker_id uuid NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    requested_by text NOT NULL,
    reason text
);
CREATE INDEX cancellations_worker_idx ON callboard.cancellations (worker_id);

-- Periodic messages; declared in code, paused and run by operators.
CREATE TABLE callboard.schedules (
    schedule_name text PRIMARY KEY,
    actor_name text NOT NULL,
    queue_name text NOT NULL,
    priority integer NOT NULL DEFAULT 0,
    kwargs jsonb NOT NULL DEFAULT '{}',
    dedupe_key text,
    cron text NOT NULL,
    timezone text NOT NULL,
    -- What becomes of slots that passed while nobody was there: none, the latest one, or all of them.
    catch_up text NOT NULL CONSTRAINT catch_up_is_known CHECK (catch_up IN ('none', 'latest', 'all')),
    is_paused boolean NOT NULL DEFAULT false,
    -- The next slot to send; whoever sends it moves this, in one transaction.
    next_at timestamptz NOT NULL,
    -- The last slot that was sent, and its message.
    last_slot_at timestamptz,
    last_message_id uuid,
    -- When the worker process started whose declaration this is: of several, the one that started last counts.
    declared_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- Which living workers declare which schedule; one that nobody declares is not sent.
CREATE TABLE callboard.schedule_declarations (
    schedule_name text NOT NULL REFERENCES callboard.schedules ON DELETE CASCADE,
    worker_id uuid NOT NULL REFERENCES callboard.workers ON DELETE CASCADE,
    PRIMARY KEY (schedule_name, worker_id)
);
CREATE INDEX schedule_declarations_worker_idx ON callboard.schedule_declarations (worker_id);

-- How many messages came and ended in each minute; run_s and wait_s are sums over the done ones.
CREATE TABLE callboard.throughput (
    minute_at timestamptz NOT NULL,
    queue_name text NOT NULL,
    actor_name text NOT NULL,
    enqueued bigint NOT NULL DEFAULT 0,
    done bigint NOT NULL DEFAULT 0,
    retried bigint NOT NULL DEFAULT 0,
    dead bigint NOT NULL DEFAULT 0,
    run_s double precision NOT NULL DEFAULT 0,
    wait_s double precision NOT NULL DEFAULT 0,
    PRIMARY KEY (minute_at, queue_name, actor_name)
);

-- One row: all minutes before it are in callboard.throughput, those without messages too.
CREATE TABLE callboard.throughput_progress (
    rolled_until timestamptz NOT NULL,
    is_only boolean PRIMARY KEY DEFAULT true CONSTRAINT one_row CHECK (is_only)
);

-- Retention and roll-up find their rows by these indexes: what was written last must be in them without a vacuum first,
-- and what retention deletes must become free before a fifth of a large table is dead.
ALTER INDEX callboard.message_history_ended_idx SET (autosummarize = on);
ALTER INDEX callboard.attempts_ended_idx SET (autosummarize = on);
ALTER TABLE callboard.message_history SET (autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE callboard.attempts SET (autovacuum_vacuum_scale_factor = 0.02);
