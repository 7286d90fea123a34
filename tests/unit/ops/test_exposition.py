"""Health and metrics of several processes on one port."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from callboard.processes import exposition
from tests.conftest import wait_until


@pytest.fixture
def alive():
    """Let processes live in a folder, as far as their locks go."""
    held = []

    def alive(place, pid):
        lock = (place / f"process-{pid}.lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        held.append(lock)
        return lock

    yield alive
    for lock in held:
        lock.close()


@pytest.fixture
def report(tmp_path, alive):
    """Let a living process report."""

    def report(pid, **health):
        (tmp_path / f"health-{pid}.json").write_text(json.dumps({"dead": None, "unready": None, **health}))
        return alive(tmp_path, pid)

    return report


@pytest.fixture
def get(tmp_path):
    """Return status and text of a page; mended: why a supervisor does not mend what is missing, where there is one."""
    supervised = SimpleNamespace(why=None)
    alone = exposition.pages(tmp_path)
    pages = exposition.pages(tmp_path, lambda: supervised.why)

    def get(path, *, mended=alone):
        answer = (alone if mended is alone else pages)[path].make()
        return answer.status, answer.body.decode()

    get.supervised = supervised
    return get


def test_nothing_is_ready_before_a_process_has_reported(get, alive, tmp_path):
    assert get("/health/ready")[0] == 503
    alive(tmp_path, 1)
    assert get("/health/ready")[0] == 503 and get("/health/live")[0] == 503


def test_one_unready_process_makes_the_whole_unready_but_not_dead(get, report):
    report(1)
    report(2, unready="the database is away")
    assert get("/health/live")[0] == 200
    status, body = get("/health/ready")
    assert status == 503 and "the database is away" in body


def test_a_process_that_hangs_is_dead(get, report, tmp_path):
    report(1)
    long_ago = time.time() - exposition.REPORT_OVERDUE_S - 1
    os.utime(tmp_path / "health-1.json", (long_ago, long_ago))
    for path in ("/health/live", "/health/ready"):
        status, body = get(path)
        assert status == 503 and "has not reported" in body


def test_a_process_that_ended_is_no_reason(get, report):
    # Given a report of one that died, whose number this test has by now
    report(os.getpid(), dead="it hangs").close()
    report(1)
    assert get("/health/live") == (200, '{"status": "ok", "processes": 1}')


def test_what_a_supervisor_mends_is_no_reason_for_an_end(get, report, tmp_path):
    # Given a supervisor whose only process hangs
    lock = report(1, dead="it hangs")
    assert get("/health/live", mended=True) == (200, '{"status": "ok", "processes": 1}')
    assert get("/health/ready", mended=True)[0] == 503
    # When it is gone and its successor has not come up
    lock.close()
    assert get("/health/live", mended=True) == (200, '{"status": "ok", "processes": 0}')
    # Until that takes too long
    get.supervised.why = "worker 1 has not come back for 200 s: it ended with code 1"
    status, body = get("/health/live", mended=True)
    assert status == 503 and "worker 1 has not come back" in body


def test_before_the_first_process_no_supervisor_helps(get):
    assert get("/health/live", mended=True)[0] == 503


def test_the_old_workers_health_is_answered(get):
    status, body = get("/health")
    said = json.loads(body)
    assert status == 200 and said.keys() == {"status", "service", "timestamp", "uptime"}
    assert (said["status"], said["service"]) == ("ok", "worker") and said["uptime"] >= 0


def test_metrics_of_all_processes_add_up(get, tmp_path):
    # Given two processes that count in the same folder
    code = "from callboard import metrics; metrics.ENQUEUED.labels('emails', 'send_email').inc(2)"
    for _ in range(2):
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    status, body = get("/metrics")
    assert status == 200
    assert 'callboard_messages_enqueued_total{actor="send_email",queue="emails"} 4.0' in body


def test_what_a_dead_process_runs_is_not_counted_and_what_it_counted_is(get, tmp_path, alive):
    # Given two processes that ran a message each and counted one, of which one has died
    code = (
        "from callboard import metrics; import os; metrics.IN_PROGRESS.labels('emails').set(1);"
        "metrics.RETRIES.labels('emails', 'send_email').inc(); print(os.getpid())"
    )
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for lives in (True, False):
        done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
        lock = alive(tmp_path, int(done.stdout))
        if not lives:
            lock.close()
    _, body = get("/metrics")
    assert 'callboard_in_progress{queue="emails"} 1.0' in body
    assert 'callboard_retries_total{actor="send_email",queue="emails"} 2.0' in body


def test_the_health_of_this_process_is_written_again_and_again(tmp_path, alive):
    alive(tmp_path, os.getpid())
    exposition.report_health(tmp_path, lambda: {"dead": None, "unready": None})
    wait_until(lambda: exposition.read_health(tmp_path)[1] == 1)


def test_what_else_a_process_reports_is_no_health(get, report, tmp_path):
    report(1, jobs_ended=3, is_retiring=True)
    assert exposition.read_health(tmp_path) == ({"dead": None, "unready": None}, 1)
    assert get("/health/ready") == (200, '{"status": "ok", "processes": 1}')


def test_a_full_disk_does_not_make_a_process_look_as_if_it_hung(tmp_path, report, monkeypatch):
    # Given an old report, and a disk that takes no new one
    report(os.getpid())
    file = tmp_path / f"health-{os.getpid()}.json"
    os.utime(file, (1.0, 1.0))

    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", refuse)
    exposition.report_health(tmp_path, lambda: {"dead": None, "unready": None})
    wait_until(lambda: file.stat().st_mtime > 1, what="a sign of life")
    assert exposition.read_health(tmp_path) == ({"dead": None, "unready": None}, 1)


def test_metrics_are_shown_while_a_process_makes_its_file(get, tmp_path):
    # Given a process that counts, and another one that has only just made its file
    count = "from prometheus_client import Counter; Counter('callboard_probe_total', 'A count.').inc()"
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", count], env=environment, check=True)
    (tmp_path / "counter_999999.db").touch()
    # Then the page shows the counts there are
    status, text = get("/metrics")
    assert (status, "callboard_probe_total 1.0" in text) == (200, True)
