"""Counting many values at once gives what counting them one by one gives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from callboard.metrics import RUN_BUCKETS, observe_all


def samples(values, *, at_once):
    registry = CollectorRegistry()
    histogram = Histogram("run_seconds", "x", ["queue"], buckets=RUN_BUCKETS, registry=registry).labels("q")
    if at_once:
        observe_all(histogram, values)
    else:
        for value in values:
            histogram.observe(value)
    [metric] = registry.collect()
    return {(s.name, s.labels.get("le")): round(s.value, 6) for s in metric.samples if not s.name.endswith("_created")}


@given(st.lists(st.sampled_from(RUN_BUCKETS) | st.floats(0, 1000)))
def test_many_values_at_once_count_like_each_of_them(values):
    assert samples(values, at_once=True) == samples(values, at_once=False)
