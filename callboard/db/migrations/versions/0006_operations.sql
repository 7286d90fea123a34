-- What operators see and do: causes of dead letters, who changed what, cancellations, schedules, throughput.
SET LOCAL lock_timeout = '5s';

-- Dead letters of one cause share a fingerprint; NULL for those from before this revision.
ALTER TABLE callboard.dead_letters
    ADD COLUMN fingerprint text,
    -- Where it failed: the innermost frame of ours, as "callboard/mail/smtp.py in send".
    ADD COLUMN error_place text;
CREATE INDEX dead_letters_cause_idx ON callboard.dead_letters (fingerprint, died_at);
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
    cron text NOT NULL,
    timezone text NOT NULL,
    -- What becomes of slots that passed while nobody was there: none, the latest one, or all of them.
    catch_up text NOT NULL CONSTRAINT catch_up_is_known CHECK (catch_up IN ('none', 'latest', 'all')),
    is_paused boolean NOT NULL DEFAULT false,
    next_at timestamptz NOT NULL,
    -- The last slot that was sent, and its message.
    last_slot_at timestamptz,
    last_message_id uuid,
    -- The last worker that declared it; one that no code declares any more ends.
    declared_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- How many messages came and ended in each minute; kept when the history is gone.
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
