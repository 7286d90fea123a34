"""What the doctor and the connection budget say of a pooler."""

from __future__ import annotations

from urllib.parse import quote

from callboard import app
from callboard.ops.health.doctor import examine_database
from callboard.ops.health.findings import State
from tests.poolers import pooled


def found(url, *, listens=False):
    return {finding.name: finding for finding in examine_database(url, pool_size=10, listens=listens)}


def test_behind_a_pooler_everything_is_in_force(pooler):
    findings = found(pooler.url)
    assert findings["session"].state is State.OK
    assert "a pooler's" in findings["session"].text
    assert findings["connections"].state is State.SKIPPED
    assert findings["schema"].state is State.OK
    failed = {finding.name for finding in findings.values() if finding.state is State.FAILED}
    assert failed <= {"durability"}  # Which tests do without.


def test_a_listen_that_was_left_on_is_named(database_url):
    with pooled(database_url) as pooler:
        doorbell = found(pooler.url, listens=True)["doorbell"]
    assert doorbell.state is State.FAILED
    assert "QUEUE_LISTEN=off" in doorbell.advice


def test_what_the_url_sets_otherwise_is_named(database_url):
    options = quote("-c default_transaction_isolation=serializable -c jit=on", safe="")
    with pooled(database_url) as pooler:
        for url in (f"{database_url}&options={options}", f"{pooler.url}?options={options}"):
            session = found(url)["session"]
            assert session.state is State.WARNING
            assert "default_transaction_isolation is 'serializable', not 'read committed'" in session.text
            assert "jit is 'on', not 'off'" in session.text


def test_straight_in_the_database_nothing_is_said_of_poolers(database_url):
    assert found(database_url)["session"].text == "It is ours alone, with our settings."


def test_a_poolers_connections_are_not_counted_against_the_server(pooler, monkeypatch):
    monkeypatch.setattr(app, "database_url", lambda: pooler.url)
    assert app.connection_warning(starting=1000) is None
