"""C-27: the queue's statements cost what their batch costs, whatever else lies in the table.

Measured in buffers touched, which a busy machine does not change, and compared with the same statement on a small
table: what depends on the table's size, on delayed messages or on dead index entries shows.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from callboard.broker.claiming import claimer as claiming
from callboard.broker.claiming.claimer import Claimer
from callboard.broker.ending import verdict_writer as completions
from callboard.broker.ending.statements import END_DONE
from callboard.broker.liveness.heartbeat import MAX_LOST_WORKERS, RESCUE_SETTINGS
from callboard.db import connect, sql
from callboard.terms import BEAT_OVERDUE_S
from tests.chaos.plans import Plan, explain
from tests.postgres.broker.fake_workers import Workers, opened

SMALL = 2_000
LARGE = {"short": 50_000, "long": 1_000_000}
DELAYED = {"short": 20_000, "long": 100_000}
#: Index entries of messages that are gone, in front of those that wait.
DEAD = {"short": 20_000, "long": 100_000}
BATCH = 100
#: A larger index is a level or two deeper for each of the rows and indexes that a statement touches, and a page may
#: split; a statement that reads what it should not touches hundreds of times as much.
GROWTH_MAX = 1.5

_FILL = """
INSERT INTO dramatiq.queue (message_id, queue_name, message, priority, available_at, dedupe_key)
SELECT
    gen_random_uuid(), %(queue)s, '{"actor_name": "job", "args": [], "kwargs": {}, "options": {}}',
    (ARRAY[-5, 0, 10])[1 + number %% 3],
    -- A backlog that is older than what a claim looks back for late commits.
    now() + (%(wait)s - 10) * interval '1 second' - (%(count)s - number) * interval '1 millisecond',
    CASE WHEN number %% 10 = 0 THEN gen_random_uuid()::text END
FROM generate_series(1, %(count)s) AS number
"""


class Table:
    """The queue's table, a worker's claiming side, and what its statements cost."""

    def __init__(self, url: str) -> None:
        with opened(url) as db:
            self.worker_id = Workers(db).register()
        self.connection = connect(url, autocommit=True, settings=claiming.SESSION_SETTINGS)
        #: Those that write verdicts and rescue have settings of their own.
        self.ending = connect(url, autocommit=True, settings=completions.SESSION_SETTINGS)
        self.rescuing = connect(url, autocommit=True)
        with self.rescuing.cursor() as cursor:
            cursor.execute(RESCUE_SETTINGS.replace("LOCAL", ""))
        self.claimer = Claimer(self.worker_id, ["other", "jobs"], is_prepared=True)
        # The first claim prepares the statement.
        self.claimer.claim(self.connection, 0)

    def run(self, statement: str, **parameters: Any) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return list(cursor.fetchall()) if cursor.description else []

    def fill(self, count: int, *, queue: str = "jobs", wait_s: float = 0) -> None:
        self.run(_FILL, queue=queue, count=count, wait=wait_s)

    def plan_of(self, name: str, **parameters: Any) -> Plan:
        """Explain a statement on the connection, and in the form, that workers run it in."""
        if name == "ending/end_done":
            values = {name: _text_array(parameters[name]) for name in END_DONE._order}
            with self.ending.cursor() as cursor:
                END_DONE.execute(cursor, dict.fromkeys(values, "{}"))
                cursor.execute("SET plan_cache_mode = force_generic_plan")
            return explain(self.ending, END_DONE._execute, values)
        kinds = {"ending/end_requeue": self.ending, "liveness/rescue": self.rescuing}
        return explain(kinds.get(name, self.connection), sql(name), parameters)

    def plan_of_claim(self, *, is_full_look: bool = True) -> Plan:
        """Explain the claimer's next claim as it is run: prepared, with the bounds that it has."""
        seen: list[Plan] = []
        statement = self.claimer._statement

        class Explained:
            def execute(self, cursor: Any, parameters: Any) -> None:
                values = {name: parameters[name] for name in statement._order}
                seen.append(explain(cursor.connection, statement._execute, values))
                statement.execute(cursor, parameters)

        bounds = dict(self.claimer._bounds)
        self.claimer._statement = Explained()
        self.look(is_full=is_full_look)
        self.run("BEGIN")
        try:
            self.claimer.claim(self.connection, BATCH)
        finally:
            self.run("ROLLBACK")
            self.claimer._statement, self.claimer._bounds = statement, bounds
        return seen[0]

    def look(self, *, is_full: bool) -> None:
        self.claimer._full_look_clock = float("-inf") if is_full else time.monotonic() + 3600

    def claim_and_end(self, count: int) -> None:
        """Claim and end so many messages, as a worker does that drains a backlog."""
        self.look(is_full=True)
        while count > 0:
            claims = self.claimer.claim(self.connection, 500).claims
            assert claims
            count -= len(claims)
            self.run(
                sql("ending/end_done"),
                message_ids=[claim.message_id for claim in claims],
                lease_ids=[claim.lease_id for claim in claims],
                started_at=[claim.claimed_at for claim in claims],
            )


def _text_array(values: list[Any]) -> str:
    return "{" + ",".join(f'"{value}"' for value in values) + "}"


@pytest.fixture
def table(chaos_database_url: str) -> Iterator[Table]:
    table = Table(chaos_database_url)
    yield table
    for connection in (table.connection, table.ending, table.rescuing):
        connection.close()


def assert_like(small: Plan, large: Plan, say: Callable[[str], None], what: str) -> None:
    say(f"plans: {what}: {small.buffers} buffers on a small table, {large.buffers} on a large one")
    assert large.seq_scans("queue") == [], f"{what} reads the whole table"
    assert large.buffers <= small.buffers * GROWTH_MAX + 50, f"{what}: {large}"


def test_a_claim_costs_its_batch_whatever_the_backlog(table, chaos_form, say):
    # Given a claim on a small table, and its plan after it was made for good
    table.fill(SMALL)
    table.run("VACUUM ANALYZE dramatiq.queue")
    for _ in range(6):
        table.plan_of_claim()
    small = table.plan_of_claim()
    # When the table holds half a thousand times as much, and delayed messages before, among and behind what is ready
    table.fill(LARGE[chaos_form])
    table.fill(1_000, queue="other", wait_s=86_400)
    table.run("VACUUM ANALYZE dramatiq.queue")
    assert_like(small, table.plan_of_claim(), say, "claim from a backlog")
    table.fill(DELAYED[chaos_form], wait_s=86_400)
    table.run("VACUUM ANALYZE dramatiq.queue")
    large = table.plan_of_claim()
    # Then it costs the same
    assert_like(small, large, say, "claim with delayed messages around")
    assert large.indexes("queue") == {"queue_ready_idx", "queue_suspect_idx"}
    assert large.rows_removed("queue") == 0


def test_a_claim_is_planned_once_and_that_plan_fits_every_table(table, chaos_form, say):
    # Given a worker that starts on an empty table, as most do
    table.run("VACUUM ANALYZE dramatiq.queue")
    for _ in range(7):
        table.plan_of_claim()
    assert table.run("SELECT generic_plans > 6, custom_plans FROM pg_prepared_statements") == [(True, 0)]
    # When a backlog comes before autovacuum has looked at the table
    table.run("ALTER TABLE dramatiq.queue SET (autovacuum_enabled = off)")
    table.fill(LARGE[chaos_form])
    stale = table.plan_of_claim()
    table.run("ANALYZE dramatiq.queue")
    # Then the plan is as good as one that knows about it
    assert_like(table.plan_of_claim(), stale, say, "claim with the plan of an empty table")


def test_dead_index_entries_in_front_cost_a_claim_nothing(table, chaos_database_url, chaos_form, say):
    # Given a backlog, of which much has been done while somebody's snapshot keeps vacuum from cleaning up
    table.fill(SMALL)
    table.claim_and_end(100)  # It knows from now on which queue its claims are for.
    small = table.plan_of_claim()
    table.fill(DEAD[chaos_form] + SMALL)
    table.run("VACUUM ANALYZE dramatiq.queue")
    with closing(psycopg2.connect(chaos_database_url)) as other, other.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM dramatiq.queue")
        table.claim_and_end(DEAD[chaos_form])
        # When the worker goes on
        bounded, full = table.plan_of_claim(is_full_look=False), table.plan_of_claim()
    # Then its claim does not look at what is gone; only the full look, once a second, does
    say(f"plans: full look over {DEAD[chaos_form]} dead entries: {full.buffers} buffers")
    assert_like(small, bounded, say, "claim behind dead entries")
    assert full.buffers > 2 * bounded.buffers, "the dead entries are not there, so that this shows nothing"


@pytest.fixture
def statements(table: Table) -> dict[str, tuple[str, Callable[[], dict[str, Any]]]]:
    """The other statements of the hot path: the index each must use, and its parameters on the table as it is."""

    def leases() -> dict[str, Any]:
        table.look(is_full=True)
        claims = table.claimer.claim(table.connection, BATCH).claims
        return {
            "message_ids": [claim.message_id for claim in claims],
            "lease_ids": [claim.lease_id for claim in claims],
            "started_at": [claim.claimed_at for claim in claims],
        }

    def requeues() -> dict[str, Any]:
        errors = ("error_classes", "error_messages", "tracebacks", "fingerprints", "places")
        texts = dict.fromkeys(("messages", "reasons", *errors), [None] * BATCH)
        counts = {"outcomes": ["retry"] * BATCH, "waits_s": [1.0] * BATCH, "retries": [1] * BATCH}
        return {**leases(), **texts, **counts, "worker_id": table.worker_id}

    def keyed() -> dict[str, Any]:
        message = '{"actor_name": "job", "args": [], "kwargs": {}, "options": {}}'
        return {
            "message_id": str(uuid.uuid4()), "queue_name": "jobs", "message": message, "priority": 0, "delay_ms": 0,
            "dedupe_key": "one of a kind", "ring": False, "is_repeat": True,
        }  # fmt: skip

    def lost() -> dict[str, Any]:
        table.run("UPDATE callboard.workers SET suspected_at = now() - interval '1 minute'")
        return {"beat_overdue_s": BEAT_OVERDUE_S, "max_lost_workers": MAX_LOST_WORKERS}

    of_worker = {"worker_id": table.worker_id, "queue_names": ["other", "jobs"]}
    return {
        "claiming/claim_alone": ("queue_suspect_idx", lambda: of_worker),
        "sending/enqueue": ("queue_dedupe_idx", keyed),
        "ending/end_done": ("queue_pkey", leases),
        "ending/end_requeue": ("queue_pkey", requeues),
        "claiming/reclaim": ("queue_running_idx", lambda: {**of_worker, "lease_ids": [1, 2, 3]}),
        "liveness/suspect": ("", lambda: {"beat_overdue_s": BEAT_OVERDUE_S}),
        "liveness/rescue": ("queue_running_idx", lost),
    }


def test_the_other_statements_cost_their_batch_too(table, statements, chaos_form, say):
    # Given what each costs on a small table, some of whose messages must run alone
    def plans() -> dict[str, Plan]:
        table.run("UPDATE dramatiq.queue SET lost_workers = 2 WHERE seq % 500 = 0 AND seq <= 2000 AND state = 'queued'")
        table.run(
            "UPDATE dramatiq.queue SET state = 'queued', lease_id = NULL, worker_id = NULL WHERE state = 'running'"
        )
        table.run("VACUUM ANALYZE dramatiq.queue")
        return {name: table.plan_of(name, **make()) for name, (_, make) in statements.items()}

    table.fill(SMALL)
    table.claim_and_end(100)
    small = plans()
    # When the table is large
    table.fill(LARGE[chaos_form])
    table.fill(DELAYED[chaos_form], wait_s=86_400)
    large = plans()
    # Then each costs the same, by the index that is made for it
    for name, (index, _) in statements.items():
        assert_like(small[name], large[name], say, name)
        assert {index} <= large[name].indexes("queue") | {""}, f"{name}: {large[name]}"


def test_a_table_that_was_drained_when_it_was_analyzed_is_not_read_as_a_whole(
    table, statements, chaos_database_url, chaos_form, say
):
    limits = {"beat_overdue_s": BEAT_OVERDUE_S, "max_lost_workers": MAX_LOST_WORKERS}

    def plans() -> dict[str, Plan]:
        # With nobody to rescue, which it is made every two seconds; a worker reads the rest of its own rows seldom.
        found = {"liveness/rescue": table.plan_of("liveness/rescue", **limits)}
        hot = [name for name, (index, _) in statements.items() if index != "queue_running_idx"]
        return found | {name: table.plan_of(name, **statements[name][1]()) for name in hot}

    # Given what each statement costs on a small table
    table.run("ALTER TABLE dramatiq.queue SET (autovacuum_enabled = off)")
    table.fill(SMALL)
    table.claim_and_end(100)
    table.run("VACUUM ANALYZE dramatiq.queue")
    small = {**plans(), "claiming/claim": table.plan_of_claim(is_full_look=False)}
    # When somebody's snapshot has kept every dead row, and the statistics are of a moment when no other was there
    with closing(psycopg2.connect(chaos_database_url)) as other, other.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM dramatiq.queue")
        table.fill(DEAD[chaos_form])
        table.run("UPDATE dramatiq.queue SET state = 'queued', lease_id = NULL WHERE state = 'running'")
        table.claim_and_end(table.run("SELECT count(*) FROM dramatiq.queue")[0][0])
        table.run("VACUUM ANALYZE dramatiq.queue")
        estimate = "SELECT reltuples, relpages > 100 FROM pg_class WHERE oid = 'dramatiq.queue'::regclass"
        assert table.run(estimate) == [(0, True)]
        # And an idle worker has looked, and messages come
        table.claim_and_end(0)
        table.look(is_full=True)
        assert table.claimer.claim(table.connection, BATCH).claims == []
        table.fill(SMALL, wait_s=10)
        drained = {"claiming/claim": table.plan_of_claim(is_full_look=False), **plans()}
    # Then each costs what it does on a small one
    assert drained["claiming/claim"].buffers > BATCH
    for name, plan in drained.items():
        assert_like(small[name], plan, say, f"{name} after a drain")
