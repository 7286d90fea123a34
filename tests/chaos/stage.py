"""One scenario: real workers and senders on a database, the faults it does to them, and what it found at the end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callboard.processes import exposition
from tests.acceptance.processes import Commands, Process, commands
from tests.chaos.evidence import collect, query, sums_of
from tests.chaos.invariants import Evidence, Exit, broken
from tests.chaos.journal import FOLDER, Journal, Run
from tests.chaos.producer import Sender
from tests.conftest import wait_until

JOBS = "tests.chaos.jobs"
START_TIMEOUT_S = 30
#: Time a process needs to end besides its shutdown time: Dramatiq looks for a signal once a second.
EXIT_S = 12
#: Messages a process may have ended and not yet counted when it is killed.
IN_FLIGHT_PER_KILL = 50
#: Connections of a worker process besides those of its threads: intake, completions, liveness, a late ring.
CONNECTIONS_PER_WORKER = 4
CONNECTIONS_PER_SENDER = 2
#: Messages without a sender's journal, for a backlog.
FILL = """
    INSERT INTO dramatiq.queue (message_id, queue_name, message)
    SELECT id, 'chaos', jsonb_build_object(
        'queue_name', 'chaos', 'actor_name', 'note', 'args', '[]'::jsonb, 'kwargs', '{}'::jsonb,
        'options', '{}'::jsonb, 'message_id', id::text, 'message_timestamp', 0)
    FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, %s)) AS ids
"""


@dataclass
class Worker:
    """A `dramatiq` command with one worker process."""

    process: Process
    #: The worker process itself, a child of the command.
    pid: int
    threads: int
    shutdown_s: float
    is_gone: bool = False


@dataclass(frozen=True)
class Line:
    """What a scenario reports."""

    name: str
    seconds: float
    messages: int
    kills: int
    rescued: int
    leases_lost: int
    retries: int
    remark: str
    broken: tuple[str, ...]

    def __str__(self) -> str:
        verdict = "; ".join(self.broken) or "I1-I8 hold"
        return (
            f"{self.name:<52} {self.seconds:6.1f} s {self.messages:7} messages {self.kills:3} kills "
            f"{self.rescued:4} rescued {self.leases_lost:3} leases lost {self.retries:4} retries  {verdict}"
            + (f"  ({self.remark})" if self.remark else "")
        )


class Stage:
    """Starts and harms processes; finish() checks what they left."""

    def __init__(self, name: str, url: str, commands: Commands, report: Callable[[Line], None]) -> None:
        self.name = name
        self.url = url
        self.commands = commands
        self.journal = Journal(commands.folder / "journal")
        self.metrics_dir = commands.folder / "metrics"
        self.metrics_dir.mkdir()
        self.sender = Sender(url, self.journal.folder)
        self.workers: list[Worker] = []
        self.evidence = Evidence()
        self.remarks: list[str] = []
        self.kills = 0
        self._senders = 1
        self._killed_at: dict[int, float] = {}
        self._left_at: dict[int, float] = {}
        self._report = report
        self.began = time.monotonic()

    # Processes

    def start_worker(self, *, threads: int = 4, shutdown_s: int = 20, url: str | None = None, **env: str) -> Worker:
        """Start a worker process without waiting for it."""
        settings = {"DATABASE_URL": url or self.url, "PROMETHEUS_MULTIPROC_DIR": str(self.metrics_dir), **env}
        settings[FOLDER] = str(self.journal.folder)
        process = self.commands.dramatiq(JOBS, threads=threads, shutdown_ms=shutdown_s * 1000, **settings)
        worker = Worker(process, 0, threads, shutdown_s)
        self.workers.append(worker)
        return worker

    def work(self, count: int, **options: Any) -> list[Worker]:
        """Start so many worker processes and wait until they are registered."""
        workers = [self.start_worker(**options) for _ in range(count)]
        for worker in workers:
            self.wait_for(worker)
        return workers

    def wait_for(self, worker: Worker) -> None:
        def look() -> list[Any]:
            assert worker.process.popen.poll() is None, worker.process.log
            worker.pid = self.journal.worker_of(worker.process.pid)
            return self.db("SELECT 1 FROM callboard.workers WHERE pid = %s", worker.pid)

        wait_until(look, START_TIMEOUT_S, "the worker's registration")

    def worker_of(self, run: Run) -> Worker:
        """Return the living worker whose run it is."""
        return next(worker for worker in self.workers if worker.pid == run.pid and not worker.is_gone)

    def kill(self, worker: Worker) -> float:
        """Kill a worker process and its command, and return when."""
        os.killpg(worker.process.pid, signal.SIGKILL)
        worker.process.popen.wait()
        return self.note_kill(worker, time.monotonic())

    def note_kill(self, worker: Worker, at: float | None = None) -> float:
        """Take note that a worker process has died, and return when: by its last words, if nobody knows better."""
        worker.pid = worker.pid or self.journal.worker_of(worker.process.pid)
        self._killed_at[worker.pid] = at or self.journal.last_line_at(worker.pid) or time.monotonic()
        self.note_in_flight()
        self.kills += 1
        worker.is_gone = True
        return self._killed_at[worker.pid]

    def note_in_flight(self, count: int = IN_FLIGHT_PER_KILL) -> None:
        """Allow that so many messages were ended and not counted."""
        self.evidence.in_flight += count

    def produce(self, *actors: str, rate: float, count: int | None = None, run_s: float = 0.0) -> Process:
        """Start a process that sends."""
        self._senders += 1
        arguments = ["--rate", str(rate), "--run-s", str(run_s), *actors]
        if count is not None:
            arguments += ["--count", str(count)]
        environment = {"DATABASE_URL": self.url, FOLDER: str(self.journal.folder)}
        return self.commands.start(sys.executable, "-m", "tests.chaos.producer", *arguments, **environment)

    def end(self, worker: Worker) -> Exit:
        """Ask a worker to end, wait, and keep how it did."""
        began = time.monotonic()
        if worker.process.popen.poll() is None:
            worker.process.terminate()
        return self.wait_for_end(worker, began)

    def wait_for_end(
        self, worker: Worker, began: float, *, grace_s: float | None = None, code_expected: int = 0
    ) -> Exit:
        grace_s = worker.shutdown_s + EXIT_S if grace_s is None else grace_s
        try:
            code: int | None = worker.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            code = None
        worker.is_gone = True
        worker.pid = worker.pid or self.journal.worker_of(worker.process.pid)
        self._left_at[worker.pid] = time.monotonic()
        self.evidence.exits.append(Exit(code, time.monotonic() - began, grace_s, code_expected))
        return self.evidence.exits[-1]

    # Messages

    def send(self, actor: str, count: int = 1, **kwargs: Any) -> list[str]:
        return [self.sender.send(actor, **kwargs) for _ in range(count)]

    def let_go(self, name: str, *workers: Worker) -> None:
        """Let the actors that wait for this name go on: in these workers, or in all."""
        for file in [f"{name}.{worker.pid}.go" for worker in workers] or [f"{name}.go"]:
            (self.journal.folder / file).touch()

    def wait_for_runs(
        self, condition: Callable[[Run], bool], count: int = 1, timeout_s: float = 30, what: str = "the runs"
    ) -> list[Run]:
        """Return the runs that the condition picks, once there are so many."""

        def look() -> list[Run]:
            runs = [run for run in self.journal.runs() if condition(run)]
            return runs if len(runs) >= count else []

        return wait_until(look, timeout_s, what)  # type: ignore[no-any-return]

    def takeovers_s(self) -> list[float]:
        """Return, for each message that lost its first worker to a kill, how long until it ran elsewhere."""
        runs: dict[str, list[Run]] = {}
        for run in self.journal.runs():
            runs.setdefault(run.message_id, []).append(run)
        return [
            group[1].began - self._killed_at[group[0].pid]
            for group in runs.values()
            if len(group) > 1 and group[0].pid in self._killed_at
        ]

    def pause(self) -> None:
        """Let no message of the queue start from now on."""
        self.db("INSERT INTO callboard.queue_controls (queue_name, is_paused) VALUES ('chaos', true)")

    def resume(self) -> None:
        self.db("DELETE FROM callboard.queue_controls")
        self.db("NOTIFY callboard")

    def fill(self, count: int) -> None:
        """Put messages into the queue at once."""
        self.db(FILL, count)

    def has_queued(self, count: int) -> bool:
        """Say whether so many messages wait."""
        statement = "SELECT count(*) FROM (SELECT FROM dramatiq.queue WHERE state = 'queued' LIMIT %s) AS waiting"
        return bool(self.db(statement, count) == [(count,)])

    def wait_until_drained(self, timeout_s: float = 60) -> None:
        wait_until(
            lambda: self.db("SELECT count(*) FROM dramatiq.queue") == [(0,)], timeout_s, f"{self.name}: an empty queue"
        )

    def db(self, statement: str, *parameters: Any) -> list[Any]:
        return query(self.url, statement, *parameters)

    # The end

    def counters(self) -> dict[str, float]:
        """Return the sums over all workers that have been, by the short names of the invariants."""
        return sums_of(exposition.render_metrics(self.metrics_dir).decode())

    def finish(self, *, may_be_queued: bool = False, timeout_s: float = 60) -> None:
        """Wait for the last message, end the workers, check the invariants and report."""
        evidence, living = self.evidence, [worker for worker in self.workers if not worker.is_gone]
        if not may_be_queued:
            self.wait_until_drained(timeout_s)
        evidence.may_be_queued = may_be_queued
        evidence.connections_max = sum(worker.threads + CONNECTIONS_PER_WORKER for worker in living)
        evidence.connections_max += self._senders * CONNECTIONS_PER_SENDER
        evidence.advisory_locks_max = len(living) + 1
        collect(evidence, self.url, self.counters)
        for worker in living:
            if worker.process.popen.poll() is None:
                worker.process.terminate()
        began = time.monotonic()
        for worker in living:
            self.wait_for_end(worker, began)
        self.sender.close()
        evidence.runs, evidence.killed_at, evidence.left_at = self.journal.runs(), self._killed_at, self._left_at
        evidence.sent |= {sent.message_id for sent in self.journal.sent()}
        evidence.faults += [line for worker in self.workers for line in faults_in(worker.process.log)]
        self._close_books()

    def _close_books(self) -> None:
        evidence = self.evidence
        findings = broken(evidence)
        outcomes = [outcome for _, _, outcome in evidence.attempts]
        line = Line(
            name=self.name,
            seconds=time.monotonic() - self.began,
            messages=len(evidence.sent),
            kills=self.kills,
            rescued=outcomes.count("lost"),
            leases_lost=int(evidence.counters.get("lost", 0)),
            retries=outcomes.count("retry"),
            remark=", ".join(self.remarks),
            broken=tuple(findings),
        )
        self._report(line)
        assert not findings, f"{self.name}:\n" + "\n".join(findings)


def faults_in(log: str) -> Iterator[str]:
    """Return the lines that tell of a fault of Callboard's or Dramatiq's own."""
    marks = ("found a bug in Dramatiq", "intake failed", "middleware failed", "Exception in thread")
    return (line[:300] for line in log.splitlines() if any(mark in line for mark in marks))


@contextlib.contextmanager
def stage(name: str, url: str, folder: Path, report: Callable[[Line], None], **environment: str) -> Iterator[Stage]:
    """Lend a stage on the database, and end after the block whatever still runs on it."""
    folder.mkdir(parents=True)
    query(url, "CREATE TABLE chaos_effects (message_id uuid NOT NULL, lease_id bigint NOT NULL)")
    with commands(folder, DATABASE_URL=url, **environment) as lent:
        yield Stage(name, url, lent, report)
