"""Roles with what `callboard db grants` prints, and nothing else: that it suffices, and that nothing of it is idle."""

from __future__ import annotations

import contextlib
import uuid
from pathlib import Path
from urllib.parse import quote

import dramatiq
import psycopg2
import pytest

import callboard
from callboard.broker import PostgresBroker, set_default_broker
from callboard.broker import service_broker as default
from callboard.broker.sending.copying import INSERT_BELOW
from callboard.db import Pool, schema, sql
from callboard.db.grants import ENQUEUED, GRANTS, grants_for, lack, missing_grants, privileges_of
from callboard.db.sql import SQL_DIR
from callboard.errors import MissingGrant
from callboard.ops.dead_letters.filter import matching
from callboard.ops.health.doctor import examine_database
from callboard.ops.health.findings import State
from callboard.ops.upkeep.retention import Days, purge_expired
from callboard.ops.upkeep.throughput import roll_up
from tests.conftest import wait_until
from tests.postgres.broker.conftest import make_broker, running_worker
from tests.postgres.broker.fake_workers import opened
from tests.postgres.ops.rows import Rows
from tests.postgres.statement_rights import Right, rights_of

DAYS = Days(history=30, dead_letters=30, emails=30, reports=30, payment_events=30, idempotency_keys=30)
SENDS = {
    "sending/enqueue",
    "sending/enqueue_new",
    "sending/enqueue_keyed",
    "sending/enqueue_many",
    "sending/find_places",
}
LOOKS = {
    "health/connection_figures", "health/database_figures", "health/facts", "health/unserved_queues",
    "queues/ended_since", "queues/figures", "queues/names", "queues/pace", "queues/size",
    "schedules/list", "workers/count", "workers/list",
}  # fmt: skip
#: Folders of sql/ whose every statement a role runs.
FOLDERS = {
    "producer": set(),
    "worker": {
        "sending", "claiming", "ending", "liveness", "results", "rate_limits", "retention", "throughput", "mail",
        "reports", "payments",
    },
    "api": {"dead_letters", "messages", "queues", "workers", "audit", "health", "payments"},
    "read": set(),
}  # fmt: skip
SCHEDULER = {"schedules/due", "schedules/read_clock", "schedules/register", "schedules/send"}
STATEMENTS = {
    "producer": SENDS,
    "worker": SCHEDULER | {"health/connection_figures", "queues/count_messages", "queues/discard_queued"},
    "api": SENDS | {"reports/find_report", "schedules/list", "schedules/pause", "schedules/run"},
    "read": LOOKS,
}
#: Statements of the demo and of the upgrade, which the owner of the schemas runs.
OWNERS = {"demo", "schema"}
#: What no file in sql/ needs, and why a role has it.
FUNCTION = {
    *(Right("INSERT", "dramatiq.queue", column) for column in ENQUEUED.split(", ")),
    Right("SELECT", "dramatiq.queue", "message_id"),
    Right("SELECT", "callboard.message_history", "message_id"),
    Right("SELECT", "callboard.dead_letters", "message_id"),
}
REVISION = {Right("SELECT", "callboard.schema_version", "version_num")}
ELSEWHERE = {
    # callboard.enqueue() finds the actor's queue.
    "producer": FUNCTION | {Right("SELECT", "callboard.actors", c) for c in ("actor_name", "queue_name", "priority")},
    "worker": FUNCTION | REVISION,
    "api": FUNCTION | REVISION,
    # For people with a SQL prompt, and the dashboards that they draw.
    "read": REVISION
    | {Right("SELECT", "callboard.queue_overview", "ready"), Right("SELECT", "callboard.throughput", "done")},
}


def statements_of(role):
    names = {str(path.relative_to(SQL_DIR).with_suffix("")) for path in Path(SQL_DIR).rglob("*.sql")}
    return {name for name in names if name.split("/")[0] in FOLDERS[role]} | STATEMENTS[role]


@pytest.fixture
def needed(connection):
    """Return what Postgres checks for the statements of a role."""

    def look(role):
        rights = set(ELSEWHERE[role])
        for name in statements_of(role):
            text = matching(name.removeprefix("dead_letters/")) if "FROM matching" in sql(name) else sql(name)
            rights |= rights_of(connection, text)
        return rights

    return look


def given(role):
    """Return the rights of a role: columns one by one, None where the whole table is meant."""
    for right in privileges_of(role):
        for column in right.columns.split(", ") if right.columns else [None]:
            yield Right(right.privilege, right.name, column)


@pytest.mark.parametrize("role", GRANTS)
def test_a_role_may_do_all_that_its_statements_need(role, needed):
    rights = set(given(role))
    for right in needed(role):
        whole = Right(right.privilege, right.table, None)
        any_column = right.column is None and any(r[:2] == right[:2] for r in rights)
        assert right in rights or whole in rights or any_column, f"{role} lacks {right}"


@pytest.mark.parametrize("role", GRANTS)
def test_no_right_of_a_role_is_idle(role, needed):
    rights = needed(role)
    for right in given(role):
        uses = {found for found in rights if found[:2] == right[:2]}
        assert right in uses or (right.column is None and uses), f"{role} has no use for {right}"


def test_every_statement_is_some_roles_or_the_owners():
    known = set().union(*(statements_of(role) for role in GRANTS))
    files = {str(path.relative_to(SQL_DIR).with_suffix("")) for path in Path(SQL_DIR).rglob("*.sql")}
    assert {name for name in files - known if name.split("/")[0] not in OWNERS} == set()


class Roles:
    """Real roles of a fresh database, each with what is printed for it."""

    def __init__(self, url):
        self.url = url
        self._names = {}

    def named(self, role):
        return self._names[role]

    def url_of(self, role, *, name=None):
        """Return the database's address for a new role of the database that is one of ours."""
        self._names[role] = name or f"{role} of {uuid.uuid4().hex[:8]}"
        quoted = '"' + self._names[role].replace('"', '""') + '"'
        with opened(self.url) as query:
            query(f"CREATE ROLE {quoted} LOGIN")
            query("\n".join(grants_for(role, quoted)))
        return self.url.replace("postgres@", f"{quote(self._names[role])}@", 1)

    def revoke(self, what, role):
        with opened(self.url) as query:
            query(f'REVOKE {what} FROM "{self._names[role]}"')


@pytest.fixture
def roles(each_database_url):
    return Roles(each_database_url)


@pytest.fixture
def db(each_database_url):
    with opened(each_database_url) as query:
        yield query


@pytest.fixture
def broker_of(roles, monkeypatch):
    """Make the broker of a role."""
    with contextlib.ExitStack() as stack:

        def make(role):
            broker = make_broker(roles.url_of(role))
            monkeypatch.setattr(default, "_default_broker", None)
            set_default_broker(broker)
            stack.callback(broker.close)
            return broker

        yield make


def message(**options):
    return dramatiq.Message(queue_name="emails", actor_name="mail", args=(), kwargs={}, options=options)


def count(db):
    return db("SELECT count(*) FROM dramatiq.queue")[0][0]


def test_a_producer_sends_in_every_way_and_sees_and_changes_nothing_else(broker_of, roles, db):
    # Given a role that may send
    broker = broker_of("producer")
    # When it sends in every way
    first = broker.enqueue(message(dedupe_key="k"))
    assert broker.enqueue(message(dedupe_key="k")).message_id == first.message_id
    broker.enqueue(message(), delay=60_000)
    broker.enqueue(message(priority=3))
    broker.send_many([message(dedupe_key="k"), message(dedupe_key="other"), message()])
    broker.send_many(message() for _ in range(INSERT_BELOW))
    repeated = message()
    object.__setattr__(repeated, "may_be_stored", True)
    broker.enqueue(repeated)
    broker.send_many([repeated, message()])
    url = roles.url.replace("postgres@", f"{quote(roles.named('producer'))}@", 1)
    with contextlib.closing(psycopg2.connect(url)) as own, own, own.cursor() as cursor:
        callboard.send_in(own, message(), message(dedupe_key="k"))
        db("INSERT INTO callboard.actors (actor_name, queue_name) VALUES ('mail', 'emails')")
        cursor.execute("SELECT callboard.enqueue(actor => 'mail', delay => '5 min', dedupe_key => 'from sql')")
    # Then all of it is there
    assert count(db) == 3 + 2 + INSERT_BELOW + 2 + 1 + 1
    # And nothing else is open to it
    with contextlib.closing(psycopg2.connect(url)) as own, own.cursor() as cursor:
        own.autocommit = True
        for refused in (
            "SELECT message FROM dramatiq.queue", "DELETE FROM dramatiq.queue", "UPDATE dramatiq.queue SET attempt = 9",
            "INSERT INTO dramatiq.queue (message_id, attempt) VALUES (gen_random_uuid(), 9)",
            "SELECT message FROM callboard.message_history", "SELECT 1 FROM callboard.emails",
        ):  # fmt: skip
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(refused)


WAYS = {
    "one": lambda broker, _: broker.enqueue(message()),
    "keyed": lambda broker, _: broker.enqueue(message(dedupe_key="k")),
    "few": lambda broker, _: broker.send_many([message()]),
    "many": lambda broker, _: broker.send_many(message() for _ in range(INSERT_BELOW + 1)),
    "in": lambda _, connection: callboard.send_in(connection, message()),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_producer_without_a_grant_hears_which(way, broker_of, roles):
    broker = broker_of("producer")
    roles.revoke("ALL ON ALL TABLES IN SCHEMA dramatiq", "producer")
    said = r"lacks a grant .*producer needs INSERT .* on dramatiq\.queue: GRANT INSERT"
    with contextlib.closing(psycopg2.connect(broker.pool.url)) as own, pytest.raises(MissingGrant, match=said):
        WAYS[way](broker, own)


def test_a_worker_works_retries_and_buries(broker_of, roles, db):
    broker = broker_of("worker")

    def job(fails):
        if fails:
            raise KeyError(fails)

    job = dramatiq.actor(job, broker=broker, queue_name="jobs")
    with running_worker(broker):
        job.send(False)
        job.send(True)
        wait_until(lambda: db("SELECT 1 FROM callboard.dead_letters"))
    assert db("SELECT outcome FROM callboard.message_history") == [("done",)]
    assert db("SELECT attempt, outcome FROM callboard.attempts ORDER BY attempt") == [
        (1, "retry"), (2, "retry"), (3, "dead")
    ]  # fmt: skip


def test_a_worker_purges_under_its_grants(roles, db):
    rows = Rows(db)
    rows.history(400)
    rows.attempt(400, rows.dead(400))
    pool = Pool(roles.url_of("worker"))
    purged = purge_expired(pool, DAYS, remove_files=lambda _: None, time_s=60)
    roll_up(pool, time_s=60)
    pool.close()
    assert purged.is_finished and (purged.counts["message_history"], purged.counts["dead_letters"]) == (1, 1)


@pytest.mark.parametrize(
    ("revoked", "event"),
    [
        ("UPDATE ON callboard.attempts", "database refuses verdicts; they wait"),
        ("INSERT ON callboard.message_history", "claims are refused by the database"),
        ("SELECT ON callboard.queue_controls", "claims are refused by the database"),
        ("USAGE ON SEQUENCE callboard.lease_id_seq", "claims are refused by the database"),
        ("INSERT ON callboard.workers", "liveness was refused by the database"),
        ("UPDATE ON callboard.worker_history", "liveness was refused by the database"),
    ],
)
def test_a_worker_says_which_grant_it_lacks(revoked, event, broker_of, roles, caplog):
    broker = broker_of("worker")
    roles.revoke(revoked, "worker")

    def job(fails):
        if fails:
            raise KeyError(fails)

    job = dramatiq.actor(job, broker=broker, queue_name="jobs")
    for fails in (False, True):
        job.send(fails)
    table = revoked.split()[-1]
    with running_worker(broker):
        wait_until(lambda: [each for each in caplog.records if event in each.getMessage()])
    said = [each.callboard_fields["error"] for each in caplog.records if event in each.getMessage()]
    assert f"on {table}" in said[0] and "lacks a grant" in said[0]
    assert len(said) == len(set(said)), "said more than once"


@pytest.mark.parametrize("role", GRANTS)
def test_what_is_lacked_is_found_exactly(role, roles, db):
    url = roles.url_of(role)
    for right in privileges_of(role):
        kind = "SEQUENCE " if right.name.endswith("_seq") else ""
        columns = f" ({right.columns})" if right.columns else ""
        roles.revoke(f"{right.privilege}{columns} ON {kind}{right.name}", role)
        with contextlib.closing(psycopg2.connect(url)) as own, own.cursor() as cursor:
            assert missing_grants(cursor, role) == [right]
            assert f"{right.privilege} on {right.name}" in str(lack(cursor, role))
        with opened(roles.url) as query:
            query(f'GRANT {right.privilege}{columns} ON {kind}{right.name} TO "{roles.named(role)}"')


@pytest.mark.parametrize(
    ("role", "revoked", "state", "said"),
    [
        ("worker", None, State.OK, "worker"),
        ("worker", "UPDATE ON callboard.attempts", State.FAILED, "UPDATE on callboard.attempts"),
        ("api", "INSERT ON callboard.audit_log", State.FAILED, "INSERT on callboard.audit_log"),
        ("read", None, State.OK, "read"),
        ("producer", None, State.OK, "producer"),
        ("producer", "ALL ON ALL TABLES IN SCHEMA callboard, dramatiq", State.FAILED, "lacks"),
    ],
)
def test_the_doctor_says_what_its_role_lacks(role, revoked, state, said, roles):
    url = roles.url_of(role)
    if role == "producer":  # It may not look at the revision, which the doctor does first.
        with opened(roles.url) as query:
            query(f'GRANT SELECT ON callboard.schema_version TO "{roles.named(role)}"')
    if revoked:
        roles.revoke(revoked, role)
        if role == "producer":
            with opened(roles.url) as query:
                query(f'GRANT SELECT ON callboard.schema_version TO "{roles.named(role)}"')
    found = [finding for finding in examine_database(url, pool_size=10, listens=False) if finding.name == "grants"]
    assert any(finding.state is state and said in finding.text for finding in found), found


def test_names_of_roles_are_quoted(roles, db):
    url = roles.url_of("producer", name='shop"; DROP SCHEMA callboard; --')
    broker = PostgresBroker(url=url)
    broker.enqueue(message())
    broker.close()
    assert count(db) == 1
    with opened(roles.url) as query:
        query('DROP OWNED BY "shop""; DROP SCHEMA callboard; --"; DROP ROLE "shop""; DROP SCHEMA callboard; --"')


def test_the_upgrades_own_check_needs_no_right_on_the_tables(roles):
    with contextlib.closing(psycopg2.connect(roles.url_of("read"))) as own:
        schema.check_revision(own)
