"""Servers that refuse us, and whose certificate is looked at: real ones, with TLS and passwords."""

from __future__ import annotations

import time
import traceback

import pytest

import callboard.db.connections.target
from callboard.broker import PostgresBroker
from callboard.db import Pool, connect
from callboard.errors import BrokerUnavailable, ConfigurationError, DatabaseMisconfigured, DatabaseUnavailable
from tests.acceptance.processes import free_port
from tests.conftest import SYSTEM_POSTGRES
from tests.postgres.guarded_server import PASSWORD, guarded_server
from tests.unit.test_postgres_url import reveals


@pytest.fixture(scope="module")
def server():
    with guarded_server(SYSTEM_POSTGRES[-1] if SYSTEM_POSTGRES else None) as lent:
        yield lent


@pytest.fixture(autouse=True)
def _no_authorities_of_the_machine(monkeypatch):
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "PGSSLROOTCERT", "PGSSLMODE", "PGPASSWORD"):
        monkeypatch.delenv(name, raising=False)


def ssl_in_use(url: str) -> bool:
    connection = connect(url)
    try:
        return bool(connection.info.ssl_in_use)
    finally:
        connection.close()


def test_verify_full_works_with_a_mounted_file(server):
    assert ssl_in_use(server.url(more=f"?sslmode=verify-full&sslrootcert={server.authority}"))


def test_verify_full_works_with_the_systems_authorities(server, monkeypatch):
    monkeypatch.setattr(callboard.db.connections.target, "AUTHORITY_FILES", (str(server.authority),))
    assert ssl_in_use(server.url(more="?sslmode=verify-full&sslrootcert=system"))
    assert ssl_in_use(server.url(more="?sslrootcert=system"))


def test_verify_full_works_with_the_authorities_that_ssl_cert_file_names(server, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(server.authority))
    assert ssl_in_use(server.url(more="?sslmode=verify-full&sslrootcert=system"))


def test_the_systems_authorities_are_found_where_the_system_keeps_them():
    assert callboard.db.connections.target._authority_file() is not None


def test_public_authorities_with_less_than_verify_full_are_refused_before_connecting(server):
    with pytest.raises(ConfigurationError, match="verify-full"):
        connect(server.url(more="?sslmode=require&sslrootcert=system"))


REFUSED = {
    "password": {"password": "wrong"},
    "role": {"user": "nobody"},
    "login": {"user": "guest"},
    "pg_hba.conf": {"user": "closed"},
    "encryption": {"more": "?sslmode=disable"},
    "database": {"more": "?dbname=missing"},
    "options": {"more": "?options=-c%20nothing%3D1"},
}


@pytest.fixture(params=[*REFUSED, "authority", "authority's file", "host", "system"])
def refused(request, server):
    """The URL of a connection that the server, or our look at its certificate, refuses."""
    match request.param:
        case "authority":
            return server.url(more=f"?sslmode=verify-full&sslrootcert={server.other_authority}")
        case "authority's file":
            return server.url(more="?sslmode=verify-full&sslrootcert=/nowhere/ca.pem")
        case "host":
            return server.url(host="127.0.0.1", more=f"?sslmode=verify-full&sslrootcert={server.authority}")
        case "system":
            return server.url(more="?sslmode=verify-full&sslrootcert=system")
    return server.url(**REFUSED[request.param])


def test_a_refusal_is_no_outage_and_does_not_give_the_password_away(refused):
    with pytest.raises(DatabaseMisconfigured) as caught:
        connect(refused)
    assert not isinstance(caught.value, DatabaseUnavailable)
    text = "".join(traceback.format_exception(caught.value))
    assert (not reveals(text, PASSWORD) and "Correct" in str(caught.value)) or "Let pg_hba" in str(caught.value)


def test_send_raises_a_refusal_at_once(refused):
    broker = PostgresBroker(pool=Pool(refused), middleware=[])
    began = time.monotonic()
    with pytest.raises(ConfigurationError):
        _send(broker)
    # Not the 5 s that an outage is waited for.
    assert time.monotonic() - began < 4
    broker.close()


def test_a_variable_of_libpq_that_is_wrong_is_no_outage(server, monkeypatch):
    monkeypatch.setenv("PGSSLMODE", "no-verify")
    with pytest.raises(DatabaseMisconfigured, match="sslmode"):
        connect(server.url())


def test_send_waits_for_an_outage():
    broker = PostgresBroker(pool=Pool(f"postgresql://u@127.0.0.1:{free_port()}/x"), middleware=[])
    with pytest.raises(BrokerUnavailable):
        _send(broker)
    broker.close()


def _send(broker):
    from dramatiq import Message

    broker.enqueue(Message(queue_name="q", actor_name="a", args=(), kwargs={}, options={}))
