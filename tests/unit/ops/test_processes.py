"""The supervisor: real child processes, replaced one by one, none left behind."""

from __future__ import annotations

import os
import signal
import sys
import threading

from callboard.processes.supervisor import EXIT_HOPELESS, Child, Supervisor, worker_command
from tests.conftest import wait_until

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)",
]

#: Drains at the first SIGTERM, leaves at the second, as a worker does.
DRAINS_CODE = """
import signal, sys, time
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1) if not told else sys.exit(1))
open(sys.argv[1], "w").close()
time.sleep(60)
"""
DRAINS = [sys.executable, "-c", DRAINS_CODE]


def supervised(*commands, stop_timeout_s=5.0):
    supervisor = Supervisor(
        [Child(f"child {n}", command) for n, command in enumerate(commands)], stop_timeout_s=stop_timeout_s
    )
    supervisor.start()
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    return supervisor, thread


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def supervised_parent(place):
    """Supervise a child that has a child of its own; return the latter's pid too."""
    parent = (
        f"import subprocess, time; p = subprocess.Popen({SLEEPER!r}); "
        f"open({str(place / 'pid')!r}, 'w').write(str(p.pid)); time.sleep(60)"
    )
    supervisor, thread = supervised([sys.executable, "-c", parent])
    wait_until(lambda: (place / "pid").exists() and (place / "pid").read_text())
    return supervisor, thread, int((place / "pid").read_text())


def test_only_the_child_that_ended_is_replaced():
    supervisor, thread = supervised(SLEEPER, SLEEPER)
    first, second = (child.pid for child in supervisor.children)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: supervisor.children[0].pid != first and supervisor.children[0].is_running)
    assert supervisor.children[1].pid == second
    supervisor.request_stop()
    thread.join(10)
    assert not is_alive(supervisor.children[0].pid) and not is_alive(second)


def test_a_child_that_ignores_the_request_to_end_is_killed():
    supervisor, thread = supervised(STUBBORN, stop_timeout_s=0.2)
    pid = supervisor.children[0].pid
    supervisor.request_stop()
    thread.join(10)
    assert not is_alive(pid)


def started_draining(place):
    """Supervise a child that drains for a minute, already told once; return its stop's exit codes too."""
    supervisor = Supervisor([Child("drains", [*DRAINS, str(place / "ready")])], stop_timeout_s=30)
    codes = []
    thread = threading.Thread(target=lambda: codes.append(supervisor.run()))
    supervisor.start()
    wait_until((place / "ready").exists)
    thread.start()
    supervisor.request_stop()
    return supervisor, thread, codes


def test_a_second_request_to_stop_is_passed_on(tmp_path):
    supervisor, thread, codes = started_draining(tmp_path)
    supervisor._asked_clock -= 1
    supervisor.request_stop()
    thread.join(20)
    assert codes == [1]
    # It left by itself, early enough to hand its work back.
    assert supervisor.children[0].process.returncode == 1


def test_a_request_that_follows_at_once_is_the_same_one(tmp_path):
    supervisor, thread, _ = started_draining(tmp_path)
    supervisor.request_stop()
    assert not supervisor._is_hurried
    supervisor.children[0].process.kill()
    thread.join(20)


def test_what_a_child_started_does_not_outlive_it(tmp_path):
    supervisor, thread, grandchild = supervised_parent(tmp_path)
    supervisor.request_stop()
    thread.join(10)
    wait_until(lambda: not is_alive(grandchild))


def test_a_killed_child_leaves_nothing_running_when_it_is_replaced(tmp_path):
    supervisor, thread, orphan = supervised_parent(tmp_path)
    os.kill(supervisor.children[0].pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(orphan))
    supervisor.request_stop()
    thread.join(10)


def test_a_child_that_refuses_its_configuration_ends_them_all():
    supervisor = Supervisor(
        [Child("refuses", [sys.executable, "-c", f"raise SystemExit({EXIT_HOPELESS})"]), Child("other", SLEEPER)],
        stop_timeout_s=5,
    )
    supervisor.start()
    other = supervisor.children[1].pid
    assert supervisor.run() == EXIT_HOPELESS
    assert not is_alive(other)


def test_a_child_that_ends_at_once_is_started_again_more_and_more_slowly():
    child = Child("ends", [sys.executable, "-c", "pass"])
    supervisor = Supervisor([child], stop_timeout_s=1)
    child.start()
    waits = []
    for _ in range(3):
        child.process.wait()
        supervisor.look_once()
        waits.append(child.restart_clock)
        child.restart_clock = 1.0
        supervisor.look_once()
    assert child.quick_ends == 3
    supervisor.stop()


def test_a_workers_command_is_dramatiqs_own():
    command = worker_command(threads=4, shutdown_s=30, queues=["emails"], modules=["their_actors"])
    assert command[1:] == [
        "-m",
        "callboard.processes.dramatiq_command",
        "actors",
        "their_actors",
        "--processes",
        "1",
        "--threads",
        "4",
        "--skip-logging",
        "--worker-shutdown-timeout",
        "30000",
        "--queues",
        "emails",
    ]
