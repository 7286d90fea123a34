"""The worker's port: every page answers GET and HEAD, and no client takes it away from the others."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time

import pytest

from callboard.processes import port as worker_port
from callboard.processes.listening import Address, open_listeners
from callboard.processes.port import Answer, Page, WorkerPort, json_answer
from tests.conftest import wait_until


@pytest.fixture
def serve():
    """Serve pages on a free port and return it."""
    served = []

    def serve(**pages):
        named = {f"/{name}": page if isinstance(page, Page) else Page(page) for name, page in pages.items()}
        server = WorkerPort(open_listeners(Address("127.0.0.1", 0, "HOST", "PORT")), named)
        thread = threading.Thread(target=server.serve)
        thread.start()
        served.append((server, thread))
        return server.port

    yield serve
    for server, thread in served:
        server.stop()
        thread.join(10)
        assert not thread.is_alive()


def ok():
    return json_answer(200, {"status": "ok"})


def ask(port, path, method="GET", timeout=10):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def is_hung_up(client):
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_head_is_answered_as_get_without_the_body(serve):
    port = serve(health=ok, metrics=Page(lambda: Answer(200, b"a 1\n", "text/plain"), is_slow=True))
    for path in ("/health", "/metrics", "/nothing"):
        status, headers, body = ask(port, path)
        assert body
        assert ask(port, path, "HEAD") == (status, headers, b"")
        # And on the wire: http.client reads no body after a HEAD, whether one comes or not
        with connect(port) as client:
            client.sendall(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert b"".join(iter(lambda: client.recv(4_096), b"")).endswith(b"\r\n\r\n")


def test_another_path_is_answered_with_what_there_is(serve):
    status, _, body = ask(serve(health=ok, metrics=ok), "/nothing")
    assert (status, json.loads(body)) == (404, {"error": "Ask for /health or /metrics."})


def test_other_methods_are_refused(serve):
    status, headers, _ = ask(serve(health=ok), "/health", "DELETE")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /health?x=1 HTTP/1.0\r\n\r\n", 200),
        (b"GET http://worker:9191/health HTTP/1.1\r\nHost: worker\r\n\r\n", 200),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"GET /health\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
    ],
)
def test_whatever_is_sent_is_answered(serve, request_, status):
    with connect(serve(health=ok)) as client:
        client.sendall(request_)
        assert client.makefile("rb").readline().split()[1] == str(status).encode()


def test_a_crowd_of_idle_connections_keeps_no_probe_out(serve, monkeypatch):
    monkeypatch.setattr(worker_port, "REQUEST_TIMEOUT_S", 60)
    # Given several times as many connections as there may be, and none that says anything
    port = serve(health=ok)
    idle = [connect(port) for _ in range(4 * worker_port.CONNECTIONS_MAX)]
    try:
        assert ask(port, "/health")[0] == 200
        # And it costs no thread each
        assert threading.active_count() < 20
        # And no more than that stay: those that waited longest were hung up on
        surplus = idle[: 3 * worker_port.CONNECTIONS_MAX]
        wait_until(lambda: all(is_hung_up(client) for client in surplus), what="the surplus to be hung up on")
    finally:
        for client in idle:
            client.close()


def test_a_request_that_comes_byte_by_byte_has_its_time(serve, monkeypatch):
    monkeypatch.setattr(worker_port, "REQUEST_TIMEOUT_S", 0.5)
    port = serve(health=ok)
    with connect(port) as client:
        began = time.monotonic()

        def is_hung_up_on():
            try:
                client.sendall(b"x")
                client.settimeout(0.05)
                return client.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        wait_until(is_hung_up_on, 10, "its end")
        assert time.monotonic() - began >= 0.5
    assert ask(port, "/health")[0] == 200


def test_whoever_takes_no_answer_keeps_nobody_out(serve, monkeypatch):
    # Given pages larger than what the network takes, asked for by more than there may be
    monkeypatch.setattr(worker_port, "CONNECTIONS_MAX", 8)
    port = serve(health=ok, metrics=Page(lambda: Answer(200, b"x" * 20_000_000), is_slow=True))
    takers = [connect(port) for _ in range(16)]
    try:
        for client in takers:
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert ask(port, "/health")[0] == 200
    finally:
        for client in takers:
            client.close()


def test_health_does_not_wait_for_a_page_that_takes_its_time(serve):
    let_go, made = threading.Event(), []

    def slow():
        made.append(1)
        let_go.wait(20)
        return ok()

    port = serve(health=ok, metrics=Page(slow, is_slow=True))
    answers = []
    askers = [threading.Thread(target=lambda: answers.append(ask(port, "/metrics", timeout=20)[0])) for _ in range(5)]
    for asker in askers:
        asker.start()
    wait_until(lambda: made, what="the page begun")
    assert ask(port, "/health")[0] == 200
    let_go.set()
    for asker in askers:
        asker.join(20)
    # And those who ask for one page meanwhile get the same
    assert answers == [200] * 5 and len(made) <= 2


def test_a_page_that_is_never_made_is_given_up(serve, monkeypatch):
    monkeypatch.setattr(worker_port, "ANSWER_TIMEOUT_S", 0.2)
    let_go = threading.Event()
    port = serve(metrics=Page(lambda: let_go.wait(20) and ok(), is_slow=True))
    assert ask(port, "/metrics")[0] == 503
    let_go.set()


def test_a_page_that_fails_says_so_and_the_next_one_is_made(serve):
    def fails():
        raise ValueError("a fault of ours")

    port = serve(health=ok, metrics=fails)
    assert ask(port, "/metrics")[0] == 500
    assert ask(port, "/health")[0] == 200
