-- Payments as YooKassa knows them, the webhooks that announced changes, and the API's idempotency keys.
SET LOCAL lock_timeout = '5s';

CREATE TABLE callboard.payments (
    payment_id uuid PRIMARY KEY,
    -- created -> pending -> waiting_for_capture -> succeeded | canceled; only forward.
    status text NOT NULL DEFAULT 'created'
        CONSTRAINT status_is_known CHECK (status IN ('created', 'pending', 'waiting_for_capture', 'succeeded', 'canceled')),
    order_id text NOT NULL,
    amount numeric(14, 2) NOT NULL CONSTRAINT amount_is_positive CHECK (amount > 0),
    currency text NOT NULL CONSTRAINT currency_is_iso CHECK (currency ~ '^[A-Z]{3}$'),
    description text NOT NULL DEFAULT '',
    customer_email text,
    return_url text NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}',
    -- Stored before the first call to YooKassa, so that a repeat can never create a second payment.
    idempotence_key text NOT NULL UNIQUE,
    -- YooKassa forgets the key 24 h after the first call; repeats stop at 20 h.
    first_called_at timestamptz NOT NULL DEFAULT now(),
    provider_id text UNIQUE,
    confirmation_url text,
    cancellation_reason text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    paid_at timestamptz
);
CREATE INDEX payments_created_idx ON callboard.payments (created_at);
CREATE INDEX payments_open_idx ON callboard.payments (created_at) WHERE status NOT IN ('succeeded', 'canceled');

-- The inbox of webhooks: one row an announcement, however often it comes.
CREATE TABLE callboard.payment_events (
    event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider_object_id text NOT NULL,
    event text NOT NULL,
    received_from inet,
    times_received integer NOT NULL DEFAULT 1,
    received_at timestamptz NOT NULL DEFAULT now(),
    processed_at timestamptz,
    -- What processing it did the last time.
    outcome text CONSTRAINT outcome_is_known
        CHECK (outcome IN ('moved', 'unchanged', 'unknown_payment', 'mismatch', 'unsupported')),
    CONSTRAINT one_row_an_announcement UNIQUE (provider_object_id, event)
);

CREATE TABLE callboard.idempotency_keys (
    key text PRIMARY KEY,
    request_sha256 text NOT NULL,
    payment_id uuid NOT NULL REFERENCES callboard.payments (payment_id),
    -- Set while a request with this key is being answered.
    locked_until timestamptz,
    response_status integer,
    response jsonb,
    created_at timestamptz NOT NULL DEFAULT now()
);
