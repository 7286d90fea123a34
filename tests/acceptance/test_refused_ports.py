"""Ports and hosts that cannot be had: the API ends with a sentence, a worker waits only for a port that is taken."""

from __future__ import annotations

import json
import socket

import pytest

from tests.acceptance.processes import free_port, get, wait_until_ready
from tests.conftest import wait_until


def test_the_api_on_a_taken_port_says_so_and_what_to_set(shell):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = shell.run_callboard("api", API_HOST="127.0.0.1", API_PORT=str(port))
    assert done.returncode == 1
    assert f"API_PORT={port} is taken" in done.stderr and "Set API_PORT to another" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_api_on_a_host_that_is_none_says_so(shell):
    done = shell.run_callboard("api", API_HOST="nowhere.invalid", API_PORT=str(free_port()))
    assert done.returncode == 2
    assert "API_HOST=nowhere.invalid does not resolve" in done.stderr and "taken" not in done.stderr


@pytest.mark.parametrize(
    ("host", "said"), [("nowhere.invalid", "does not resolve"), ("192.0.2.1", "is no address of this machine")]
)
@pytest.mark.parametrize("starter", ["work", "dramatiq"])
def test_a_worker_does_not_start_without_metrics_and_names_the_host(shell, starter, host, said):
    settings = {"WORKER_PROCESSES": "1", "METRICS_HOST": host, "METRICS_PORT": str(free_port())}
    worker = shell.callboard("work", **settings) if starter == "work" else shell.dramatiq("actors", **settings)
    assert worker.wait() == 2
    assert f"METRICS_HOST={host} {said}" in worker.log
    assert "taken" not in worker.log and "Traceback" not in worker.log


@pytest.mark.parametrize("starter", ["work", "dramatiq"])
def test_a_port_that_comes_free_is_served(shell, starter):
    # Given a port that another program listens on
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings = {"METRICS_HOST": "127.0.0.1", "METRICS_PORT": str(port), "WORKER_PROCESSES": "2"}
        if starter == "work":
            work = shell.callboard("work", **settings)
        else:
            work = shell.dramatiq("actors", processes=2, **settings)
        why = work.wait_for_event("metrics and health are not served")["why"]
        assert f"METRICS_PORT={port} is taken" in why and "to another or to off" in why
    # When that ends
    wait_until_ready(port)
    # Then one of the processes serves for both, and has said so once
    wait_until(lambda: json.loads(get(port, "/health/ready")[1]).get("processes") == 2, 30, "both processes")
    assert len(work.events("metrics and health are not served")) == 1
    assert len(work.events("metrics and health are served now")) == 1
