"""The bench itself: a small run ends with a whole report, and what is missing or hangs is told."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from benchmarks import costs, report, tally
from benchmarks import workers as workers_module
from benchmarks.__main__ import EXIT_TERMINATED, LATEST, PAGE, RESULTS
from benchmarks.contenders import Contender, choose
from benchmarks.peer import URL_VARIABLE, Variant, shares
from benchmarks.plan import KINDS, QUICK, Run
from benchmarks.servers import BenchFailed
from benchmarks.targets import Target, targets
from benchmarks.workers import Workers
from tests.conftest import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
TIMEOUT_S = 180


def bench(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_a_small_run_of_the_broker_reports_rates_costs_and_durability(tmp_path):
    # Given a file for the results
    output = tmp_path / "results.json"

    # When the smallest run there is has ended
    done = bench(
        "--quick", "--peers", "broker", "--messages", "500", "--only", "drain,send,bulk", "--output", str(output)
    )

    # Then nothing failed, every message ran once, and each figure is there
    assert done.returncode == 0, done.stderr
    document = json.loads(output.read_text())
    assert document["failures"] == []
    assert document["servers"]["postgres"]["fsync"] == "on"
    assert document["servers"]["postgres"]["synchronous_commit"] == "on"
    assert set(document["results"]) == {"drain", "send", "bulk"}
    for result in document["results"]["drain"]:
        assert result["messages"] == 500 and result["ran_twice"] == 0
        assert result["per_s"] > 0 and result["log_bytes_per_message"] > 0 and result["startup_s"] >= 0
    assert {result["variant"] for result in document["results"]["send"]} == {"1 thread", "8 threads"}
    # And the tables say what was promised, also where a part was not measured
    assert "### Targets" in done.stdout and "### Drain of 500 messages" in done.stdout
    assert "| drain: broker / pgqueuer | ≥ 1.25 × | – | not measured |" in done.stdout
    assert "fsync=on" in done.stdout


def test_a_contender_that_does_not_exist_ends_the_bench_with_the_names_there_are():
    done = bench("--peers", "sidekiq")
    assert done.returncode == 2
    assert "no contender 'sidekiq'" in done.stderr and "pgqueuer" in done.stderr


def test_a_missing_environment_of_the_peers_is_told_with_what_makes_it(monkeypatch, tmp_path):
    monkeypatch.setattr("benchmarks.contenders.PEERS_PYTHON", tmp_path / "python")
    from benchmarks.contenders import check_present

    with pytest.raises(BenchFailed, match="make bench"):
        check_present(choose("pgqueuer"))


def test_a_missing_redis_is_told_with_what_to_install(monkeypatch, tmp_path):
    from benchmarks.servers import redis

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchFailed, match="redis-server is not on PATH"), redis():
        pass


def test_a_measurement_that_fails_does_not_stop_the_others_and_is_kept():
    # Given a contender whose module does not exist
    run = Run([Contender("nobody", "benchmarks.peers.nobody", is_peer=False)], {}, QUICK)

    # When it is measured
    run.measure("latency")

    # Then the run goes on and knows
    assert len(run.failures) == 1 and "nobody describe ended with 1" in run.failures[0]


def test_a_worker_that_does_not_go_is_killed_and_leaves_nothing(monkeypatch):
    # Given a worker that ignores being asked
    monkeypatch.setattr(workers_module, "STOP_TIMEOUT_S", 0.2)
    variant = Variant("1 × stubborn", ("tests.benchmarks.stubborn",), processes=1, workers=1)

    # When the block of its measurement ends
    with Workers(Contender("stubborn", "tests.benchmarks.stubborn", is_peer=False), variant, "none") as workers:
        workers.go()
        workers.wait_for(1, 10)
        (pid,) = workers.running_pids()

    # Then it is gone
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), what="the end of the process")


def test_a_bench_that_is_terminated_ends_its_workers_and_its_server(tmp_path):
    # Given a bench whose workers run
    command = [sys.executable, "-m", "benchmarks", "--quick", "--peers", "broker", "--only", "drain"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--output", str(tmp_path / "results.json")], cwd=REPOSITORY, stdout=log, stderr=log
        )
    try:
        worker = wait_until(lambda: _worker_of(process.pid), 60, "a worker process")
        data_dir = Path(unquote(_environment(worker)[URL_VARIABLE].partition("host=")[2]))
        everything = costs.descendants([process.pid]) - {process.pid}
        assert data_dir.exists()

        # When it is terminated
        process.terminate()

        # Then it says so, and neither a process nor the server is left
        assert process.wait(60) == EXIT_TERMINATED
        wait_until(lambda: not costs.descendants(everything), what="the end of all processes")
        assert not data_dir.exists()
    finally:
        process.kill()


def _environment(pid: int) -> dict[str, str]:
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/environ").read_text().split("\0")
        return dict(line.split("=", 1) for line in lines if "=" in line)
    return {}


def _worker_of(bench_pid: int) -> int | None:
    found = (pid for pid in costs.descendants([bench_pid]) if tally.FOLDER_VARIABLE in _environment(pid))
    return next(found, None)


def test_a_target_says_by_how_much_it_was_missed():
    assert Target("rate", 1.25, 1.0).verdict == "missed by 20%"
    assert Target("latency", 1.5, 3.0, "ms", at_least=False).verdict == "missed by 100%"
    assert Target("rate", 1.25, 1.25).verdict == "met"
    assert Target("latency", 1.5, 1.5, "ms", at_least=False).verdict == "met"
    assert {target.verdict for target in targets({})} == {"not measured"}


def test_the_page_shows_the_run_whose_figures_are_kept():
    document = json.loads((RESULTS / LATEST).read_text(encoding="utf-8"))
    assert report.render(document) in PAGE.read_text(encoding="utf-8")
    assert set(document["results"]) <= set(KINDS) and "drain" in document["results"]


@pytest.mark.parametrize(("count", "parts"), [(8, 8), (50_001, 8), (9, 2)])
def test_messages_are_shared_out_without_losing_one(count, parts):
    assert sum(shares(count, parts)) == count
    assert max(shares(count, parts)) - min(shares(count, parts)) <= 1
