-- One row a report that somebody asked for; its files lie in REPORT_STORAGE_URL.
SET LOCAL lock_timeout = '5s';

CREATE TABLE callboard.reports (
    -- The id of the queue's message unless the caller chose one: all attempts work on one row.
    report_id uuid PRIMARY KEY,
    -- requested -> ready | failed; failed -> ready when an operator retries the dead letter.
    state text NOT NULL DEFAULT 'requested' CONSTRAINT state_is_known CHECK (state IN ('requested', 'ready', 'failed')),
    kind text NOT NULL,
    -- Complete: "today" is two moments here, so that a retry tomorrow reports the same day.
    parameters jsonb NOT NULL DEFAULT '{}',
    formats text[] NOT NULL,
    -- {"pdf": {"path": "…", "size_bytes": 1, "sha256": "…"}, …}
    files jsonb NOT NULL DEFAULT '{}',
    notify_to text,
    error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    CONSTRAINT final_states_have_a_moment CHECK ((state = 'requested') = (finished_at IS NULL))
);
CREATE INDEX reports_created_idx ON callboard.reports (created_at);
