"""A real Prometheus that scrapes real workers and two replicas of the API, with the rules of docs/metrics.md."""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.parse
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from callboard.broker import DeadReason, Outcome
from tests.acceptance.processes import START_TIMEOUT_S, free_port, get, wait_until_ready
from tests.conftest import wait_until
from tests.programs import program

JOBS = "tests.acceptance.jobs"
PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
OUR_QUEUES = {"emails", "reports", "payments", "maintenance", "jobs"}


def samples(port):
    """Return name, labels and value of each sample that a page shows."""
    return [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(get(port, "/metrics")[1])
        for sample in family.samples
    ]


def test_a_worker_shows_its_counters_before_the_first_event(shell):
    # Given a worker that has run nothing
    port = free_port()
    shell.dramatiq(JOBS, METRICS_PORT=str(port), METRICS_HOST="127.0.0.1")
    wait_until_ready(port)
    # When it is scraped
    shown = samples(port)
    counters = {
        name: [labels for shown_name, labels, _ in shown if shown_name == name]
        for name in {name for name, *_ in shown}
        if name.startswith("callboard_") and name.endswith("_total")
    }
    # Then each counter is there with 0, for all queues and actors and each word its last label may hold
    assert {value for name, _, value in shown if name in counters} == {0}
    assert {labels["queue"] for labels in counters["callboard_leases_lost_total"]} == OUR_QUEUES
    rescued = {(labels["queue"], labels["cause"]) for labels in counters["callboard_rescued_total"]}
    assert rescued == {(queue, cause) for queue in OUR_QUEUES for cause in ("died", "silent", "unknown")}
    outcomes = [labels["outcome"] for labels in counters["callboard_messages_total"] if labels["actor"] == "note"]
    assert sorted(outcomes) == sorted(Outcome)
    reasons = [labels["reason"] for labels in counters["callboard_dead_letters_total"] if labels["actor"] == "note"]
    assert sorted(reasons) == sorted(DeadReason)
    for name in ("callboard_messages_enqueued_total", "callboard_retries_total"):
        assert {"queue": "emails", "actor": "send_email"} in counters[name]
    # And so are the histograms
    assert ("callboard_wait_seconds_count", {"queue": "payments"}, 0) in shown
    assert ("callboard_run_seconds_count", {"queue": "emails", "actor": "send_email"}, 0) in shown


@pytest.fixture
def prometheus(shell):
    """Start Prometheus on these ports, with our rules looked at each second, and return a way to ask it."""

    def start(ports):
        rules = yaml.safe_load(re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1])
        (shell.folder / "rules.yaml").write_text(yaml.safe_dump(rules))
        jobs = [{"job_name": "callboard", "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}]}]
        every = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config = {"global": every, "rule_files": ["rules.yaml"], "scrape_configs": jobs}
        (shell.folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        port = free_port()
        options = (
            "--config.file=prometheus.yaml",
            "--storage.tsdb.path=data",
            f"--web.listen-address=127.0.0.1:{port}",
        )
        shell.start(program("prometheus"), *options)
        wait_until(lambda: get(port, "/-/ready")[0] == 200, START_TIMEOUT_S, "Prometheus")

        def ask(path, **query):
            return json.loads(get(port, f"/api/v1/{path}?{urllib.parse.urlencode(query)}")[1])["data"]

        return ask

    return start


def test_prometheus_hears_of_the_first_lost_worker_once_and_counts_no_replica_twice(
    shell, jobs, wait_for_workers, prometheus
):
    # Given two workers and two replicas of the API, all scraped, and messages that wait
    worker_ports, api_ports = [free_port(), free_port()], [free_port(), free_port()]
    for port in worker_ports:
        shell.dramatiq(JOBS, METRICS_PORT=str(port), METRICS_HOST="127.0.0.1")
    for port in api_ports:
        shell.callboard("api", API_PORT=str(port), API_HOST="127.0.0.1")
    wait_for_workers(2)
    ask = prometheus(worker_ports + api_ports)
    up = lambda: [value["value"][1] for value in ask("query", query="up")["result"]]  # noqa: E731 - asked again and again
    wait_until(lambda: up() == ["1"] * 4, START_TIMEOUT_S, "four targets")
    for number in range(3):
        jobs.send("hold", f"later-{number}", delay_ms=600_000)

    def delayed():
        return ask("query", query='sum(max by (queue) (callboard_queue_depth{state="delayed",queue="jobs"}))')["result"]

    wait_until(lambda: delayed() and delayed()[0]["value"][1] == "3", START_TIMEOUT_S, "three delayed, not six")
    # When a worker dies while it runs a message
    jobs.send("hold", "a")
    killed = jobs.wait_until_runs("a")
    os.kill(killed, signal.SIGKILL)

    # Then the alert fires, once
    def firing():
        return [(alert["labels"]["alertname"], alert["labels"].get("cause")) for alert in ask("alerts")["alerts"]]

    wait_until(lambda: ("WorkersLost", "died") in firing(), START_TIMEOUT_S, "the alert")
    assert [alert for alert in firing() if alert[0] == "WorkersLost"] == [("WorkersLost", "died")]
    jobs.wait_until_runs("a", elsewhere_than=killed)
    jobs.let_go("a")
