"""Labels that cannot grow, whatever names rows hold."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from prometheus_client import Counter

import callboard.metrics
from middleware.metrics import FOREIGN_NAMES_MAX, Metrics


@pytest.fixture
def rescued(monkeypatch):
    """Stand-ins of the instruments that a rescue counts."""
    instruments = {
        "RESCUED": Counter("rescued", "x", ["queue", "cause"], registry=None),
        "DEAD": Counter("dead", "x", ["queue", "actor", "reason"], registry=None),
    }
    for name, instrument in instruments.items():
        monkeypatch.setattr(callboard.metrics, name, instrument)
    return instruments


def labels_of(instrument, label):
    [metric] = instrument.collect()
    return {sample.labels[label] for sample in metric.samples}


def test_names_of_foreign_rows_are_counted_up_to_a_number_and_then_as_one(rescued):
    # Given a worker that knows a queue and an actor
    broker = SimpleNamespace(queues={"jobs": True}, actors={"job": object()})
    metrics = Metrics()
    # When rows of a thousand other names are rescued, and then one of its own
    for number in range(1000):
        metrics.after_rescue(broker, f"queue-{number}", f"actor-{number}", "dead", "died")
    metrics.after_rescue(broker, "jobs", "job", "dead", "died")
    # Then as many names stand in the labels as may, its own among them
    for instrument, label, own in (("RESCUED", "queue", "jobs"), ("DEAD", "actor", "job")):
        named = labels_of(rescued[instrument], label)
        assert len(named) == FOREIGN_NAMES_MAX + 2
        assert {"other", own} <= named
