"""Health and metrics of several processes on one port."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

from callboard.ops import exposition
from tests.conftest import wait_until


@pytest.fixture
def server(tmp_path):
    server = exposition.make_server("127.0.0.1", 0, tmp_path)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def report(place, pid, **health):
    (place / f"health-{pid}.json").write_text(json.dumps({"dead": None, "unready": None, **health}))


def test_nothing_is_ready_before_a_process_has_reported(server):
    assert get(f"{server}/health/ready")[0] == 503


def test_one_unready_process_makes_the_whole_unready_but_not_dead(server, tmp_path):
    report(tmp_path, os.getpid())
    report(tmp_path, os.getppid(), unready="the database is away")
    assert get(f"{server}/health/live")[0] == 200
    status, body = get(f"{server}/health/ready")
    assert status == 503 and "the database is away" in body


def test_a_process_that_hangs_is_dead(server, tmp_path):
    report(tmp_path, os.getpid())
    long_ago = time.time() - exposition.REPORT_OVERDUE_S - 1
    os.utime(tmp_path / f"health-{os.getpid()}.json", (long_ago, long_ago))
    status, body = get(f"{server}/health/live")
    assert status == 503 and "has not reported" in body


def test_a_process_that_ended_is_forgotten(server, tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    report(tmp_path, child.pid, dead="it is gone")
    report(tmp_path, os.getpid())
    assert get(f"{server}/health/live") == (200, '{"status": "ok", "processes": 1}')
    assert not (tmp_path / f"health-{child.pid}.json").exists()


def test_metrics_of_all_processes_add_up(server, tmp_path):
    # Given two processes that count in the same folder
    code = "from callboard import metrics; metrics.ENQUEUED.labels('emails', 'send_email').inc(2)"
    for _ in range(2):
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    status, body = get(f"{server}/metrics")
    assert status == 200
    assert 'callboard_messages_enqueued_total{actor="send_email",queue="emails"} 4.0' in body


def test_another_path_is_answered_with_what_there_is(server):
    status, body = get(f"{server}/nothing")
    assert status == 404 and "/metrics" in body


def test_the_health_of_this_process_is_written_again_and_again(tmp_path):
    exposition.report_health(tmp_path, lambda: {"dead": None, "unready": None})
    wait_until(lambda: exposition.read_health(tmp_path)[1] == 1)


def test_what_else_a_process_reports_is_no_health(server, tmp_path):
    report(tmp_path, os.getpid(), jobs_ended=3, is_retiring=True)
    assert exposition.read_health(tmp_path) == ({"dead": None, "unready": None}, 1)
    assert get(f"{server}/health/ready") == (200, '{"status": "ok", "processes": 1}')


def test_a_full_disk_does_not_make_a_process_look_as_if_it_hung(tmp_path, monkeypatch):
    # Given an old report, and a disk that takes no new one
    report(tmp_path, os.getpid())
    file = tmp_path / f"health-{os.getpid()}.json"
    os.utime(file, (1.0, 1.0))

    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", refuse)
    exposition.report_health(tmp_path, lambda: {"dead": None, "unready": None})
    wait_until(lambda: file.stat().st_mtime > 1, what="a sign of life")
    assert exposition.read_health(tmp_path) == ({"dead": None, "unready": None}, 1)


def test_folders_of_ended_masters_are_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    old = exposition.shared_dir(os.getpid()).parent / f"{child.pid}-1"
    old.mkdir()
    (old / "counter_1.db").write_text("")
    # The same number with another start: a container's process 1 of an earlier run.
    earlier = old.parent / f"{os.getpid()}-1"
    earlier.mkdir()
    current = exposition.shared_dir(os.getpid())
    assert current.exists() and not old.exists() and not earlier.exists()


def test_metrics_are_shown_while_a_process_makes_its_file(server, tmp_path):
    # Given a process that counts, and another one that has only just made its file
    count = "from prometheus_client import Counter; Counter('callboard_probe_total', 'A count.').inc()"
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", count], env=environment, check=True)
    (tmp_path / "counter_999999.db").touch()
    # Then the page shows the counts there are
    status, text = get(f"{server}/metrics")
    assert (status, "callboard_probe_total 1.0" in text) == (200, True)
