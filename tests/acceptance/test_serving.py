"""`callboard api` and `callboard dev`: what stays until it is ended, looked at from outside."""

from __future__ import annotations

import json
import signal

from tests.acceptance.processes import START_TIMEOUT_S, free_port, get
from tests.conftest import wait_until


def test_the_api_answers_and_ends_when_it_is_told(shell, jobs):
    jobs.send("note", "a")
    port = free_port()
    api = shell.callboard("api", API_PORT=str(port), API_HOST="127.0.0.1")
    wait_until(lambda: get(port, "/health/ready")[0] == 200, START_TIMEOUT_S, "an answer")
    health = json.loads(get(port, "/health/queue")[1])
    assert (health["status"], health["pending"]) == ("healthy", 1)
    api.terminate()
    assert api.wait() == 0
    assert "Traceback" not in api.log


def test_dev_runs_the_whole_service_until_ctrl_c(shell, db):
    # Given the stack for daily work, on a database of one's own
    dev = shell.callboard("dev", API_PORT=str(free_port()), METRICS_PORT="")
    dev.wait_for_text("Ctrl-C ends it.")
    # When a mail is sent
    sent = shell.run_callboard("test-email", "ann@example.org")
    assert sent.returncode == 0
    # By the other commands of the folder, which find its settings
    found = {row["name"]: row for row in json.loads(shell.run_callboard("doctor", "-o", "json").stdout)}
    assert (found["mail"]["state"], found["storage"]["state"], found["payments"]["state"]) == ("ok", "ok", "ok"), found
    # Then it is in the folder that was named
    (folder,) = [line.split()[1] for line in dev.log.splitlines() if line.startswith("mails ")]
    wait_until(lambda: db("SELECT outcome FROM callboard.message_history"), START_TIMEOUT_S, "the mail sent")
    mails = shell.run("sh", "-c", f"cat {folder}/*").stdout
    assert "ann@example.org" in mails
    # And Ctrl-C ends all of it
    dev.popen.send_signal(signal.SIGINT)
    assert dev.wait() == 0
    assert shell.left() == []
