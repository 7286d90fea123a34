-- What retention deletes is found by its age.
SET LOCAL lock_timeout = '5s';

CREATE INDEX payment_events_received_idx ON callboard.payment_events (received_at);
CREATE INDEX idempotency_keys_created_idx ON callboard.idempotency_keys (created_at);
