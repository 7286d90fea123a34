"""C-26: whatever happens in whatever order, no message is lost, and a lease that has passed on has no say."""

from __future__ import annotations

import importlib
import math
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from callboard.broker.claiming import claimer as claiming
from callboard.broker.ending import statements as verdict_writing
from callboard.broker.running import delivery
from callboard.db.connections.prepared import Prepared
from callboard.errors import LeaseLost
from tests.chaos.lifecycle.machine import Lifecycle
from tests.conftest import wait_until
from tests.postgres.broker.fake_workers import opened

#: Runs of the machine, and actions in each.
FORMS = {"short": (14, 60), "long": (150, 100)}
#: The long form is worth its name.
LONG_STEPS_MIN = 10_000
#: What a run of the machine is worthless without.
MUST_HAPPEN = (
    "leases lost",
    "rescued",
    "late verdicts",
    "dedupe hits",
    "suspects claimed alone",
    "completions",
    "asked to stop",
    "stopped",
)


def run_machine(url: str, *, runs: int, actions: int, number: int | None, explains: bool = True) -> Counter[str]:
    """Drive the machine and return how often what happened. number seeds it; None: the same runs each time."""
    counts: Counter[str] = Counter()

    def make_machine() -> Lifecycle:
        return Lifecycle(url, counts)

    run_state_machine_as_test(
        make_machine if number is None else seed(number)(make_machine),
        settings=settings(
            max_examples=runs,
            stateful_step_count=actions,
            derandomize=number is None,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink] if explains else [Phase.generate],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return counts


@pytest.fixture
def settled_url(chaos_database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database whose server has run for a while: right after its start only heartbeats count."""
    # The model knows which of two transactions came first, but not by how much.
    monkeypatch.setattr(claiming, "LATE_COMMIT_S", 0.0)
    # Nor does it know how long a slow machine takes between a claim and the start of the message.
    monkeypatch.setattr(delivery, "START_WITHIN_S", math.inf)
    with opened(chaos_database_url) as db:
        statement = "SELECT pg_postmaster_start_time() < now() - interval '10 seconds'"
        wait_until(lambda: db(statement) == [(True,)], 15, "10 s of uptime")
    return chaos_database_url


def test_nothing_is_lost_and_no_lost_lease_has_a_say(settled_url, chaos_form, request, say):
    # Given senders, three workers that freeze, die and come back, and operators
    runs, actions = FORMS[chaos_form]
    number = None
    if chaos_form == "long":
        number = int(request.config.getoption("--hypothesis-seed") or secrets.randbelow(1_000_000))
        say(f"state machine: repeat this run with --hypothesis-seed={number}")
    begun_clock = time.monotonic()
    # When they do what they like (the machine compares the tables with its model after each step)
    counts = run_machine(settled_url, runs=runs, actions=actions, number=number)
    # Then all that makes the comparison worth something has happened
    figures = ", ".join(f"{name} {counts[name]}" for name in ("steps", *MUST_HAPPEN, "died of lost workers"))
    say(f"state machine: {figures}, {time.monotonic() - begun_clock:.0f} s")
    assert [name for name in MUST_HAPPEN if not counts[name]] == []
    assert chaos_form == "short" or counts["steps"] >= LONG_STEPS_MIN


@pytest.fixture
def altered_sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str, str], None]]:
    """Change a text in the statements, for as long as the test runs."""
    module = importlib.import_module("callboard.db.sql")
    shutil.copytree(module.SQL_DIR, tmp_path / "sql")
    monkeypatch.setattr(module, "SQL_DIR", tmp_path / "sql")

    def alter(files: str, old: str, new: str) -> None:
        paths = list((tmp_path / "sql").glob(files))
        texts = [path.read_text() for path in paths]
        assert texts and all(old in text for text in texts), f"{old!r} is not in all of {files}"
        for path, text in zip(paths, texts, strict=True):
            path.write_text(text.replace(old, new))
        module.sql.cache_clear()
        types = dict.fromkeys(verdict_writing.END_DONE._order, "text")
        prepared = Prepared("callboard_end_done", module.sql("ending/end_done"), types)
        monkeypatch.setattr(verdict_writing, "END_DONE", prepared)

    yield alter
    monkeypatch.undo()
    module.sql.cache_clear()


#: Faults that the machine must find, with the files and the text that is changed. The short form has the first.
FAULTS = {
    "the fence is off": ("ending/end_*.sql", "AND queue.lease_id = verdict.lease_id", ""),
    "a release counts as an attempt": ("ending/end_requeue.sql", "- (verdict.outcome = 'released')::integer", ""),
    "a rescue counts no loss": (
        "liveness/rescue.sql",
        "lost_workers = lost_workers + 1",
        "lost_workers = lost_workers",
    ),
    "one look is enough": ("liveness/rescue.sql", "now() - interval '2 seconds'", "now()"),
    "a rescue leaves messages behind": ("liveness/rescue.sql", "queue.state = 'running'", "queue.attempt = 1"),
    "leases do not grow": ("claiming/claim*.sql", "nextval('callboard", "9999999 - nextval('callboard"),
    "a suspect is claimed among others": ("claiming/claim.sql", "queue.lost_workers < 2", "queue.lost_workers < 3"),
    "a worker that is gone claims": (
        "claiming/claim.sql",
        "AND EXISTS (SELECT",
        "AND EXISTS (SELECT 1 UNION ALL SELECT",
    ),
    "a pause is not seen": ("claiming/claim.sql", "AND control.is_paused", "AND NOT control.is_paused"),
    "age does not count": ("claiming/claim.sql", "ORDER BY queue.available_at, queue.seq", "ORDER BY queue.seq"),
    "a done message leaves no history": ("ending/end_done.sql", "FROM ended", "FROM ended WHERE lost_workers = 0"),
    "a claim is handed back at once": ("claiming/reclaim.sql", "interval '10 seconds'", "interval '0 seconds'"),
    "a cancelled message is tried again": ("ending/end_requeue.sql", "queue.cancel_asked_at IS NOT NULL", "false"),
    "a cancelled message is rescued": ("liveness/rescue.sql", "queue.cancel_asked_at IS NOT NULL", "false"),
    "a goodbye counts as an attempt": ("liveness/unregister.sql", "attempt = attempt - 1", "attempt = attempt"),
}  # fmt: skip


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "fault" in metafunc.fixturenames:
        metafunc.parametrize(
            "fault", list(FAULTS) if metafunc.config.getoption("--chaos") == "long" else [next(iter(FAULTS))]
        )


def test_the_machine_finds_a_fault(settled_url, altered_sql, fault):
    altered_sql(*FAULTS[fault])
    # LeaseLost: a completion() of a valid lease was refused.
    with pytest.raises((AssertionError, LeaseLost)):
        run_machine(settled_url, runs=150, actions=80, number=None, explains=False)
