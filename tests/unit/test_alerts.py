"""The queries and alerts of docs/metrics.md in Prometheus's own test tool: first events after a start, two replicas."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.programs import program

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
RULES = [
    rule
    for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    for g in yaml.safe_load(block)["groups"]
    for rule in g["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES}
QUERIES = [
    line
    for block in re.findall(r"```promql\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if line and not line.startswith("#")
]

APIS = ('instance="api-1"', 'instance="api-2"')
WORKERS = ('instance="worker-1"', 'instance="worker-2"')

#: Of each alert: what Prometheus scraped each minute when all is well, and when it must fire. "first" is an event that
#: came before the first scrape after a start, "seen" one of a counter that had been 0.
Series = dict[str, str]
DEATHS = 'callboard_dead_letters_total{queue="q",actor="a",reason="invalid",%s}'
RESCUES = 'callboard_rescued_total{queue="q",cause="died",%s}'
LOSSES = 'callboard_leases_lost_total{queue="q",%s}'
ERRORS = "callboard_scrape_errors_total{%s}"


def counted(series: str, instances: tuple[str, ...]) -> dict[str, Series]:
    """Return the scenes of a counter: nothing for long, an event of a known counter, one before the first scrape."""
    first, *others = instances
    quiet = {series % other: "0x40" for other in others}
    return {
        "well": {series % first: "7x40", **quiet},
        "after a start, without an event": {series % first: "_x30 0x10", **quiet},
        "seen": {series % first: "0x36 1x5", **quiet},
        "first": {series % first: "_x35 1x5", **quiet},
    }


def depth(state: str, value: str) -> Series:
    return {f'callboard_queue_depth{{queue="q",state="{state}",{api}}}': value for api in APIS}


def gauge(name: str, value: str) -> Series:
    return {f'{name}{{queue="q",{api}}}': value for api in APIS}


def alone(name: str, value: str) -> Series:
    return {f"{name}{{{api}}}": value for api in APIS}


SCENES: dict[str, dict[str, Series]] = {
    "QueueNotServed": {
        "well": {**depth("ready", "5x40"), **gauge("callboard_workers_alive", "1x40")},
        "seen": {**depth("ready", "5x40"), **gauge("callboard_workers_alive", "1x30 0x10")},
        "first": {**depth("ready", "_x30 5x10"), **gauge("callboard_workers_alive", "_x30 0x10")},
    },
    "MessagesWaitLong": {
        "well": {**gauge("callboard_oldest_ready_seconds", "599x40"), **gauge("callboard_queue_paused", "0x40")},
        "while it is paused": {
            **gauge("callboard_oldest_ready_seconds", "9e3x40"),
            **gauge("callboard_queue_paused", "1x40"),
        },
        "seen": {**gauge("callboard_oldest_ready_seconds", "0x20 601x20"), **gauge("callboard_queue_paused", "0x40")},
        "first": {
            **gauge("callboard_oldest_ready_seconds", "_x20 601x20"),
            **gauge("callboard_queue_paused", "_x20 0x20"),
        },
    },
    "QueuePausedForLong": {
        "well": gauge("callboard_queue_paused", "0 1x40"),
        "seen": gauge("callboard_queue_paused", "1x40"),
        "first": gauge("callboard_queue_paused", "_x20 1x20"),
    },
    "MessagesStuck": {
        "well": depth("stuck", "0x40"),
        "seen": depth("stuck", "0x30 1x10"),
        "first": depth("stuck", "_x30 1x10"),
    },
    "DeadLetters": counted(DEATHS, WORKERS),
    "WorkersLost": counted(RESCUES, WORKERS),
    "LeasesLost": counted(LOSSES, WORKERS),
    "DatabaseAway": counted(ERRORS, APIS),
    "NoWebhooks": {
        "well": {**alone("callboard_payments_overdue", "3x40"), **alone("callboard_webhook_silence_seconds", "9e3x40")},
        "with nothing to announce": {
            **alone("callboard_payments_overdue", "0x40"),
            **alone("callboard_webhook_silence_seconds", "9e99x40"),
        },
        "seen": {
            **alone("callboard_payments_overdue", "0x20 3x20"),
            **alone("callboard_webhook_silence_seconds", "11000x40"),
        },
        "first": {
            **alone("callboard_payments_overdue", "_x20 1x20"),
            **alone("callboard_webhook_silence_seconds", "_x20 9e99x20"),
        },
    },
    "PaymentMismatch": counted('callboard_payment_events_total{outcome="mismatch",%s}', WORKERS),
    "YooKassaNeedsALook": counted(
        'callboard_yookassa_requests_total{operation="find",outcome="credentials_refused",%s}', WORKERS
    ),
    "StorageNeedsALook": counted(
        'callboard_storage_requests_total{operation="store",outcome="misconfigured",%s}', WORKERS
    ),
    "NoWorkerIsScraped": {
        "well": {'callboard_messages_total{queue="q",actor="a",outcome="done",instance="worker-1"}': "0x40"},
        "seen": {'callboard_messages_total{queue="q",actor="a",outcome="done",instance="worker-1"}': "0x20 _x20"},
        "first": {'up{job="other"}': "1x40"},
    },
}
FIRING = ("seen", "first")


def promtool(
    folder: Path, rules: list[dict[str, Any]], tests: list[dict[str, Any]]
) -> subprocess.CompletedProcess[str]:
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "callboard", "rules": rules}]}))
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (folder / "tests.yaml").write_text(yaml.safe_dump(document))
    command = [program("promtool"), "test", "rules", "tests.yaml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def scene(series: Series) -> dict[str, Any]:
    return {"interval": "1m", "input_series": [{"series": name, "values": values} for name, values in series.items()]}


def test_every_alert_has_a_scene_of_quiet_of_a_first_event_and_of_two_replicas():
    assert SCENES.keys() == ALERTS.keys()
    for name, scenes in SCENES.items():
        assert {"well", "seen", "first"} <= scenes.keys(), name
    replicated = [
        name for name, scenes in SCENES.items() if any(APIS[1] in s or WORKERS[1] in s for s in scenes["seen"])
    ]
    assert sorted(replicated) == sorted(ALERTS.keys() - {"NoWorkerIsScraped"})


@pytest.mark.parametrize(("alert", "name"), [(alert, name) for alert in SCENES for name in SCENES[alert]])
def test_an_alert_fires_once_when_it_must_and_never_otherwise(alert, name, tmp_path):
    # Given what Prometheus scraped each minute
    rule = ALERTS[alert]
    # When its rule is looked at 39 minutes later, then it fires once, whatever the number of replicas
    plain = {**rule, "annotations": {}}
    labels = {"queue": "q", "reason": "invalid", "cause": "died"}
    by = re.search(r"by \(([^)]*)\)", rule["expr"])
    labels["outcome"] = next(iter(re.findall(r'outcome="(\w+)"', str(SCENES[alert]["well"]))), "")
    named = {label: labels[label] for label in (by[1].split(", ") if by else [])}
    expected = [{"exp_labels": named}] if name in FIRING else []
    look = {
        **scene(SCENES[alert][name]),
        "alert_rule_test": [{"eval_time": "39m", "alertname": alert, "exp_alerts": expected}],
    }
    ran = promtool(tmp_path, [plain], [look])
    assert ran.returncode == 0, ran.stdout + ran.stderr


ENDED = 'callboard_messages_total{queue="q",actor="a",outcome="%s",%s}'
QUERY_SCENES: list[tuple[str, Series, float | None]] = [
    # Of 128 messages 64 wait for less than 1 s, and all for less than 2 s.
    (
        "callboard_wait_seconds_bucket",
        {
            f'callboard_wait_seconds_bucket{{queue="q",le="{le}",{w}}}': f"0+{n}x40"
            for w in WORKERS
            for le, n in (("1", 64), ("2", 128), ("+Inf", 128))
        },
        1.9,
    ),
    (
        'outcome=~"retry|dead"',
        {ENDED % (outcome, w): f"0+{n}x40" for w in WORKERS for outcome, n in (("done", 3), ("retry", 1), ("dead", 0))},
        0.25,
    ),
    ('outcome=~"retry|dead"', {ENDED % ("done", w): "0x40" for w in WORKERS}, None),
    (
        "callboard_queue_depth",
        {f'callboard_queue_depth{{queue="{q}",state="ready",{api}}}': "3x40" for q in "qr" for api in APIS},
        6,
    ),
    ("callboard_workers_needed", gauge("callboard_workers_needed", "2.5x40"), 2.5),
    ("callboard_workers_alive", gauge("callboard_workers_alive", "_x39 2x3"), 2),
]


@pytest.mark.parametrize(("part", "series", "value"), QUERY_SCENES)
def test_a_query_answers_the_same_with_two_replicas(part, series, value, tmp_path):
    [query] = [query for query in QUERIES if part in query]
    samples = [] if value is None else [{"labels": LABELS[part], "value": value}]
    look = {**scene(series), "promql_expr_test": [{"expr": query, "eval_time": "39m", "exp_samples": samples}]}
    ran = promtool(tmp_path, [], [look])
    assert ran.returncode == 0, ran.stdout + ran.stderr


LABELS = {
    "callboard_wait_seconds_bucket": '{queue="q"}',
    'outcome=~"retry|dead"': '{actor="a"}',
    "callboard_queue_depth": "{}",
    "callboard_workers_needed": '{queue="q"}',
    "callboard_workers_alive": '{queue="q"}',
}


def test_every_query_is_asked():
    assert {query for query in QUERIES if not any(part in query for part, *_ in QUERY_SCENES)} == set()
