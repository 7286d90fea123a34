-- Declare what a row may hold. NOT VALID: no table is read while it is locked for this; schema.upgrade() proves the rows
-- that are there when all is committed. A name says the rule, since it is what a sender reads that meets it.
-- Moments are such that every client knows them and a span can be added: Python's end in the year 9999, and nothing can
-- be taken off infinity. Counters leave room for counting on. Names fit into an index entry together.
SET LOCAL lock_timeout = '5s';

ALTER TABLE dramatiq.queue
    ADD CONSTRAINT queue_name_has_1_to_255_bytes CHECK (
        octet_length(queue_name) BETWEEN 1 AND 255) NOT VALID,
    ADD CONSTRAINT actor_name_has_at_most_255_bytes CHECK (
        octet_length(actor_name) <= 255) NOT VALID,
    ADD CONSTRAINT dedupe_key_has_1_to_255_characters CHECK (
        length(dedupe_key) BETWEEN 1 AND 255) NOT VALID,
    ADD CONSTRAINT wait_reason_has_at_most_100000_bytes CHECK (
        octet_length(wait_reason) <= 100000) NOT VALID,
    ADD CONSTRAINT counters_lie_between_0_and_a_billion CHECK (
        attempt BETWEEN 0 AND 1000000000 AND retries BETWEEN 0 AND 1000000000
        AND lost_workers BETWEEN 0 AND 1000000000 AND generation BETWEEN 0 AND 1000000000) NOT VALID,
    ADD CONSTRAINT moments_lie_between_1900_and_9000 CHECK (
        mtime >= '1900-01-01 00:00:00+00' AND mtime < '9000-01-01 00:00:00+00'
        AND result_ttl >= '1900-01-01 00:00:00+00' AND result_ttl < '9000-01-01 00:00:00+00'
        AND available_at >= '1900-01-01 00:00:00+00' AND available_at < '9000-01-01 00:00:00+00'
        AND enqueued_at >= '1900-01-01 00:00:00+00' AND enqueued_at < '9000-01-01 00:00:00+00'
        AND claimed_at >= '1900-01-01 00:00:00+00' AND claimed_at < '9000-01-01 00:00:00+00'
        AND cancel_asked_at >= '1900-01-01 00:00:00+00' AND cancel_asked_at < '9000-01-01 00:00:00+00') NOT VALID;

ALTER TABLE callboard.workers
    ADD CONSTRAINT queues_are_a_plain_list CHECK (
        CASE WHEN array_ndims(queues) > 1 THEN false ELSE array_position(queues, NULL) IS NULL END) NOT VALID,
    ADD CONSTRAINT moments_lie_between_1900_and_9000 CHECK (
        started_at >= '1900-01-01 00:00:00+00' AND started_at < '9000-01-01 00:00:00+00'
        AND beat_at >= '1900-01-01 00:00:00+00' AND beat_at < '9000-01-01 00:00:00+00'
        AND suspected_at >= '1900-01-01 00:00:00+00' AND suspected_at < '9000-01-01 00:00:00+00') NOT VALID;

ALTER TABLE callboard.worker_history
    ADD CONSTRAINT queues_are_a_plain_list CHECK (
        CASE WHEN array_ndims(queues) > 1 THEN false ELSE array_position(queues, NULL) IS NULL END) NOT VALID,
    ADD CONSTRAINT moments_lie_between_1900_and_9000 CHECK (
        started_at >= '1900-01-01 00:00:00+00' AND started_at < '9000-01-01 00:00:00+00'
        AND ended_at >= '1900-01-01 00:00:00+00' AND ended_at < '9000-01-01 00:00:00+00') NOT VALID;

ALTER TABLE callboard.throughput_progress
    ADD CONSTRAINT moments_lie_between_1900_and_9000 CHECK (
        rolled_until >= '1900-01-01 00:00:00+00' AND rolled_until < '9000-01-01 00:00:00+00') NOT VALID;

ALTER TABLE callboard.throughput
    ADD CONSTRAINT figures_are_finite CHECK (
        enqueued BETWEEN 0 AND 1000000000000000 AND done BETWEEN 0 AND 1000000000000000
        AND retried BETWEEN 0 AND 1000000000000000 AND dead BETWEEN 0 AND 1000000000000000
        AND run_s BETWEEN -1e15 AND 1e15 AND wait_s BETWEEN -1e15 AND 1e15) NOT VALID,
    ADD CONSTRAINT moments_lie_between_1900_and_9000 CHECK (
        minute_at >= '1900-01-01 00:00:00+00' AND minute_at < '9000-01-01 00:00:00+00') NOT VALID;

ALTER TABLE callboard.schedules
    ADD CONSTRAINT kwargs_is_an_object CHECK (jsonb_typeof(kwargs) = 'object') NOT VALID,
    ADD CONSTRAINT names_have_at_most_255_bytes CHECK (
        octet_length(queue_name) <= 255 AND octet_length(actor_name) <= 255) NOT VALID,
    ADD CONSTRAINT moments_lie_between_1900_and_9000 CHECK (
        next_at >= '1900-01-01 00:00:00+00' AND next_at < '9000-01-01 00:00:00+00'
        AND last_slot_at >= '1900-01-01 00:00:00+00' AND last_slot_at < '9000-01-01 00:00:00+00'
        AND declared_at >= '1900-01-01 00:00:00+00' AND declared_at < '9000-01-01 00:00:00+00'
        AND changed_at >= '1900-01-01 00:00:00+00' AND changed_at < '9000-01-01 00:00:00+00') NOT VALID;

ALTER TABLE callboard.results
    ADD CONSTRAINT moments_lie_between_1900_and_9000 CHECK (
        stored_at >= '1900-01-01 00:00:00+00' AND stored_at < '9000-01-01 00:00:00+00'
        AND expires_at >= '1900-01-01 00:00:00+00' AND expires_at < '9000-01-01 00:00:00+00') NOT VALID;

ALTER TABLE callboard.reports
    ADD CONSTRAINT parameters_and_files_are_objects CHECK (jsonb_typeof(parameters) = 'object' AND jsonb_typeof(files) = 'object') NOT VALID,
    ADD CONSTRAINT formats_are_a_plain_list CHECK (
        CASE WHEN array_ndims(formats) > 1 THEN false ELSE array_position(formats, NULL) IS NULL END) NOT VALID,
    ADD CONSTRAINT moments_lie_between_1900_and_9000 CHECK (
        created_at >= '1900-01-01 00:00:00+00' AND created_at < '9000-01-01 00:00:00+00'
        AND finished_at >= '1900-01-01 00:00:00+00' AND finished_at < '9000-01-01 00:00:00+00') NOT VALID;

ALTER TABLE callboard.rate_limits
    ADD CONSTRAINT value_leaves_room_to_count CHECK (
        value BETWEEN -1000000000000000000 AND 1000000000000000000) NOT VALID,
    ADD CONSTRAINT moments_lie_between_1900_and_9000 CHECK (
        expires_at >= '1900-01-01 00:00:00+00' AND expires_at < '9000-01-01 00:00:00+00') NOT VALID;

ALTER TABLE callboard.queue_controls
    ADD CONSTRAINT moments_lie_between_1900_and_9000 CHECK (
        paused_until >= '1900-01-01 00:00:00+00' AND paused_until < '9000-01-01 00:00:00+00'
        AND changed_at >= '1900-01-01 00:00:00+00' AND changed_at < '9000-01-01 00:00:00+00') NOT VALID;

ALTER TABLE callboard.payments
    ADD CONSTRAINT metadata_is_an_object CHECK (jsonb_typeof(metadata) = 'object') NOT VALID,
    -- NaN is greater than zero, and than everything else.
    ADD CONSTRAINT amount_is_a_number CHECK (amount < 1000000000000) NOT VALID,
    ADD CONSTRAINT moments_lie_between_1900_and_9000 CHECK (
        first_called_at >= '1900-01-01 00:00:00+00' AND first_called_at < '9000-01-01 00:00:00+00'
        AND created_at >= '1900-01-01 00:00:00+00' AND created_at < '9000-01-01 00:00:00+00'
        AND updated_at >= '1900-01-01 00:00:00+00' AND updated_at < '9000-01-01 00:00:00+00'
        AND paid_at >= '1900-01-01 00:00:00+00' AND paid_at < '9000-01-01 00:00:00+00') NOT VALID;

ALTER TABLE callboard.payment_events
    ADD CONSTRAINT times_received_lies_between_0_and_a_billion CHECK (
        times_received BETWEEN 0 AND 1000000000) NOT VALID,
    ADD CONSTRAINT moments_lie_between_1900_and_9000 CHECK (
        received_at >= '1900-01-01 00:00:00+00' AND received_at < '9000-01-01 00:00:00+00'
        AND processed_at >= '1900-01-01 00:00:00+00' AND processed_at < '9000-01-01 00:00:00+00') NOT VALID;

ALTER TABLE callboard.message_history
    ADD CONSTRAINT names_have_at_most_255_bytes CHECK (
        octet_length(queue_name) <= 255 AND octet_length(actor_name) <= 255) NOT VALID,
    ADD CONSTRAINT moments_lie_between_1900_and_9000 CHECK (
        enqueued_at >= '1900-01-01 00:00:00+00' AND enqueued_at < '9000-01-01 00:00:00+00'
        AND available_at >= '1900-01-01 00:00:00+00' AND available_at < '9000-01-01 00:00:00+00'
        AND started_at >= '1900-01-01 00:00:00+00' AND started_at < '9000-01-01 00:00:00+00'
        AND ended_at >= '1900-01-01 00:00:00+00' AND ended_at < '9000-01-01 00:00:00+00') NOT VALID;

ALTER TABLE callboard.idempotency_keys
    ADD CONSTRAINT moments_lie_between_1900_and_9000 CHECK (
        locked_until >= '1900-01-01 00:00:00+00' AND locked_until < '9000-01-01 00:00:00+00'
        AND created_at >= '1900-01-01 00:00:00+00' AND created_at < '9000-01-01 00:00:00+00') NOT VALID;

ALTER TABLE callboard.emails
    ADD CONSTRAINT attempts_lie_between_0_and_a_billion CHECK (
        attempts BETWEEN 0 AND 1000000000) NOT VALID,
    ADD CONSTRAINT moments_lie_between_1900_and_9000 CHECK (
        created_at >= '1900-01-01 00:00:00+00' AND created_at < '9000-01-01 00:00:00+00'
        AND tried_since >= '1900-01-01 00:00:00+00' AND tried_since < '9000-01-01 00:00:00+00'
        AND sent_at >= '1900-01-01 00:00:00+00' AND sent_at < '9000-01-01 00:00:00+00') NOT VALID;

ALTER TABLE callboard.dead_letters
    ADD CONSTRAINT names_have_at_most_255_bytes CHECK (
        octet_length(queue_name) <= 255 AND octet_length(actor_name) <= 255) NOT VALID,
    ADD CONSTRAINT counters_lie_between_0_and_a_billion CHECK (
        attempt BETWEEN 0 AND 1000000000 AND retries BETWEEN 0 AND 1000000000
        AND lost_workers BETWEEN 0 AND 1000000000 AND generation BETWEEN 0 AND 1000000000) NOT VALID,
    ADD CONSTRAINT moments_lie_between_1900_and_9000 CHECK (
        enqueued_at >= '1900-01-01 00:00:00+00' AND enqueued_at < '9000-01-01 00:00:00+00'
        AND first_failed_at >= '1900-01-01 00:00:00+00' AND first_failed_at < '9000-01-01 00:00:00+00'
        AND died_at >= '1900-01-01 00:00:00+00' AND died_at < '9000-01-01 00:00:00+00') NOT VALID;

ALTER TABLE callboard.cancellations
    ADD CONSTRAINT moments_lie_between_1900_and_9000 CHECK (
        requested_at >= '1900-01-01 00:00:00+00' AND requested_at < '9000-01-01 00:00:00+00') NOT VALID;

ALTER TABLE callboard.audit_log
    ADD CONSTRAINT filter_and_details_are_objects CHECK (jsonb_typeof(filter) = 'object' AND jsonb_typeof(details) = 'object') NOT VALID,
    ADD CONSTRAINT moments_lie_between_1900_and_9000 CHECK (
        changed_at >= '1900-01-01 00:00:00+00' AND changed_at < '9000-01-01 00:00:00+00') NOT VALID;

ALTER TABLE callboard.attempts
    ADD CONSTRAINT moments_lie_between_1900_and_9000 CHECK (
        started_at >= '1900-01-01 00:00:00+00' AND started_at < '9000-01-01 00:00:00+00'
        AND ended_at >= '1900-01-01 00:00:00+00' AND ended_at < '9000-01-01 00:00:00+00') NOT VALID;

ALTER TABLE callboard.actors
    ADD CONSTRAINT moments_lie_between_1900_and_9000 CHECK (
        seen_at >= '1900-01-01 00:00:00+00' AND seen_at < '9000-01-01 00:00:00+00') NOT VALID;
