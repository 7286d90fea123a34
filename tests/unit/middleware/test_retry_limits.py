"""Retry limits: which failure means what, and how long a retry waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import Shutdown
from hypothesis import given
from hypothesis import strategies as st

from callboard.broker import DeadReason, Outcome
from callboard.errors import ConfigurationError, PermanentError, Postponed, TemporaryError
from callboard.settings import load_settings
from middleware.retry_limits import RETRY_AFTER_MAX_S, RetryLimits, backoff_s


def decide(error, retries=0, limit=5, retrying_s=0.0, **options):
    limits = RetryLimits(lambda _queue: limit)
    return limits._decide(error, retries, options, "emails", retrying_s=retrying_s)


def test_the_waits_double_from_one_second_to_a_minute():
    assert [backoff_s(n) for n in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


@given(st.integers(min_value=0, max_value=10_000))
def test_no_number_of_retries_makes_a_wait_longer_than_the_cap(retries):
    assert 0 < backoff_s(retries) <= 60


@given(st.integers(min_value=0, max_value=4))
def test_the_jitter_only_shortens_a_wait(retries):
    decision = decide(RuntimeError("x"), retries)
    assert backoff_s(retries) * 0.8 <= decision.wait_s <= backoff_s(retries)
    assert (decision.outcome, decision.retries) == (Outcome.RETRY, retries + 1)


def test_an_unknown_exception_is_temporary_until_the_limit():
    assert decide(KeyError("x"), retries=4).outcome is Outcome.RETRY
    assert decide(KeyError("x"), retries=5).reason == DeadReason.MAX_RETRIES


def test_a_permanent_error_dies_at_once():
    decision = decide(PermanentError("no such mailbox"))
    assert (decision.outcome, decision.reason) == (Outcome.DEAD, DeadReason.PERMANENT)


def test_an_expected_class_in_throws_dies_at_once():
    assert decide(KeyError("x"), throws=(KeyError,)).reason == DeadReason.PERMANENT


def test_a_postponement_counts_no_retry_and_knows_no_cap():
    decision = decide(Postponed("paused", wait_s=86_400), retries=5)
    assert (decision.outcome, decision.wait_s, decision.retries) == (Outcome.POSTPONED, 86_400, None)


def test_a_postponement_until_a_past_moment_runs_now():
    decision = decide(Postponed("paused", until=datetime.now(UTC) - timedelta(hours=1)))
    assert decision.wait_s == 0


def test_an_attempt_interrupted_by_a_shutdown_is_handed_back():
    assert decide(Shutdown(), retries=5).outcome is Outcome.RELEASED


def test_a_named_wait_is_honoured():
    assert decide(dramatiq.errors.Retry("busy", delay=90_000)).wait_s == 90
    assert decide(TemporaryError("busy", retry_after_s=120)).wait_s == 120


@pytest.mark.parametrize("asked_s", [3_601, 1e9, float("inf"), float("nan")])
def test_another_system_puts_a_message_off_for_an_hour_at_the_most(asked_s):
    assert decide(TemporaryError("busy", retry_after_s=asked_s)).wait_s == RETRY_AFTER_MAX_S


def test_message_options_come_before_the_queues_limit():
    assert decide(KeyError("x"), retries=1, max_retries=1).reason == DeadReason.MAX_RETRIES
    assert decide(KeyError("x"), retries=99, max_retries=None).outcome is Outcome.RETRY


def test_retry_when_replaces_the_count():
    assert decide(KeyError("x"), retries=99, retry_when=lambda _n, _e: True).outcome is Outcome.RETRY
    assert decide(KeyError("x"), retries=0, retry_when=lambda _n, _e: False).outcome is Outcome.DEAD


def test_postponed_needs_exactly_one_moment():
    with pytest.raises(ValueError, match="exactly one"):
        Postponed("x")


def test_it_works_on_dramatiqs_own_brokers_too():
    # Given a stub broker with our middleware in place of Retries
    broker = StubBroker(middleware=[RetryLimits(lambda _queue: 2, min_backoff=1, max_backoff=1)])
    runs = []

    @dramatiq.actor(broker=broker, queue_name="emails")
    def fails():
        runs.append(1)
        raise RuntimeError("x")

    worker = dramatiq.Worker(broker, worker_timeout=10, worker_threads=1)
    worker.start()
    # When the message fails for good
    fails.send()
    with pytest.raises(RuntimeError):
        broker.join("emails", fail_fast=True, timeout=10_000)
    worker.stop()
    # Then it ran once and twice again
    assert len(runs) == 3


def test_retry_for_ends_retrying_when_the_next_attempt_would_start_too_late():
    assert decide(KeyError("x"), retry_for=60_000, retrying_s=58.9).outcome is Outcome.RETRY
    decision = decide(KeyError("x"), retry_for=60_000, retrying_s=59.3)
    assert (decision.outcome, decision.reason) == (Outcome.DEAD, DeadReason.MAX_RETRIES)
    # Also where the other side names the wait
    assert decide(TemporaryError("busy", retry_after_s=61), retry_for=60_000).outcome is Outcome.DEAD
    # And where only the time is limited
    unlimited = {"max_retries": None, "retry_for": 60_000}
    assert decide(KeyError("x"), retries=99, retrying_s=0, **unlimited).outcome is Outcome.RETRY
    assert decide(KeyError("x"), retries=99, retrying_s=20, **unlimited).outcome is Outcome.DEAD


def test_retry_for_does_not_end_what_is_nobodys_failure():
    assert decide(Postponed("paused", wait_s=3600), retry_for=1, retrying_s=9).outcome is Outcome.POSTPONED
    assert decide(Shutdown(), retry_for=1, retrying_s=9).outcome is Outcome.RELEASED


def test_the_count_ends_retrying_also_while_there_is_time():
    assert decide(KeyError("x"), retries=5, retry_for=3_600_000).reason == DeadReason.MAX_RETRIES


@pytest.mark.parametrize("value", [-1, "1h", True, float("nan")])
def test_a_span_that_cannot_be_meant_is_refused_by_name_and_value(value):
    with pytest.raises(ConfigurationError, match="retry_for"):
        RetryLimits(retry_for=value)
    # In a row that was edited by hand it limits nothing.
    assert decide(KeyError("x"), retry_for=value, retrying_s=1e9).outcome is Outcome.RETRY


def test_the_queues_limit_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("MAX_EMAIL_RETRY_ATTEMPTS", "1")
    settings = load_settings()
    limits = RetryLimits(settings.max_retries)

    def outcome(queue_name, retries, **options):
        return limits._decide(KeyError("x"), retries, options, queue_name).outcome

    assert outcome("emails", 1) is Outcome.DEAD
    assert outcome("reports", 1) is Outcome.RETRY
    # An actor's or a message's own limit comes before it.
    assert outcome("emails", 1, max_retries=2) is Outcome.RETRY
