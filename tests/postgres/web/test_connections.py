"""Connections that ask nothing, slowly or without end: they go first, and whoever asks is answered."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack, contextmanager

import pytest
import requests
import uvicorn

from callboard.dev.yookassa import YooKassaSandbox
from callboard.metrics import API_REFUSED
from callboard.web import create_app
from callboard.web.limits.connections import Connections
from callboard.web.server import uvicorn_config
from tests.conftest import wait_until
from tests.postgres.payments_service import make_service

MOST = 10


@pytest.fixture
def serve(pool, monkeypatch):
    """Serve the API with other limits of connections."""
    with ExitStack() as stack:

        def begin(**limits):
            sandbox = stack.enter_context(YooKassaSandbox())
            app = create_app(make_service(pool, sandbox, monkeypatch, api_token="t").settings, pool)
            connections = Connections(app.state.callboard.refusals, **limits)
            return stack.enter_context(_served(app, connections))

        yield begin


@contextmanager
def _served(app, connections):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn_config(app, connections=connections))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive(), what="the start of the API")
            yield listener.getsockname()
        finally:
            server.should_exit = True
            thread.join(10)


def refused(reason):
    return API_REFUSED.labels(reason)._value.get()


def is_closed(connection):
    connection.setblocking(False)
    try:
        while connection.recv(4096):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


def live(address):
    return requests.get(f"http://{address[0]}:{address[1]}/health/live", timeout=5).status_code


PARTS = {
    "nothing": b"",
    "half of its headers": b"GET /health HTTP/1.1\r\nHost: x\r\nX-A",
    "half of its body": b"POST /payments HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
    "a whole request before": b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("sent", PARTS.values(), ids=PARTS.keys())
def test_where_there_are_too_many_the_oldest_that_waits_is_closed(serve, sent):
    address, before = serve(most=MOST), refused("too_many_connections")
    with ExitStack() as stack:
        crowd = []
        for _ in range(3 * MOST):
            crowd.append(stack.enter_context(socket.create_connection(address)))
            crowd[-1].sendall(sent)
            if sent.endswith(b"\r\n\r\n"):
                crowd[-1].recv(4096)
        assert live(address) == 200
        wait_until(lambda: refused("too_many_connections") - before >= 2 * MOST, what="closed connections")
        assert [is_closed(one) for one in crowd[:2]] == [True, True]


def test_the_client_with_the_most_connections_loses_one(serve):
    address = serve(most=MOST)
    with ExitStack() as stack:
        # Given one client's only connection, and after it many of another
        alone = stack.enter_context(socket.create_connection(address, source_address=("127.0.0.2", 0)))
        crowd = [stack.enter_context(socket.create_connection(address)) for _ in range(2 * MOST)]
        wait_until(lambda: is_closed(crowd[0]), what="a closed connection")
        assert live(address) == 200
        # Then that one is still served
        alone.setblocking(True)
        alone.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert alone.recv(12) == b"HTTP/1.1 200"


def test_headers_that_do_not_end_are_not_waited_for(serve):
    address, before = serve(headers_timeout_s=0.2), refused("headers_too_slow")
    with socket.create_connection(address) as silent, socket.create_connection(address) as slow:
        # Given one that sends nothing, and one that goes on sending a header a byte at a time
        slow.sendall(b"GET /health HTTP/1.1\r\nX-A: ")

        def trickle():
            try:
                slow.send(b"a")
            except ConnectionError:
                return True
            return is_closed(slow)

        wait_until(trickle, what="the end of the slow one")
        wait_until(lambda: is_closed(silent), what="the end of the silent one")
    assert refused("headers_too_slow") - before == 2


def test_a_kept_connection_that_begins_its_next_request_slowly_is_closed(serve):
    address = serve(headers_timeout_s=0.2)
    with socket.create_connection(address) as kept:
        kept.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert kept.recv(4096).startswith(b"HTTP/1.1 200")
        # Between two requests it may wait for longer
        with socket.create_connection(address) as other:
            wait_until(lambda: is_closed(other), what="the time in which headers must have come")
        assert not is_closed(kept)
        kept.setblocking(True)
        kept.sendall(b"GET /hea")
        wait_until(lambda: is_closed(kept), what="its end")


def test_an_answer_that_is_not_read_is_given_up(serve):
    address, before = serve(read_timeout_s=0.2), refused("answer_not_read")
    with socket.socket() as reader:
        # Given a client that asks again and again, and reads nothing
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        reader.connect(address)
        reader.settimeout(0.05)
        request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\n\r\n" * 50

        def ask():
            try:
                reader.send(request)
            except TimeoutError:
                pass
            except ConnectionError:
                return True
            return refused("answer_not_read") > before

        # Then its connection is ended
        wait_until(ask, what="the end of who reads nothing")
    assert live(address) == 200
