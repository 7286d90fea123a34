"""Somebody in YooKassa's place who sends a byte now and then: a request ends in its time all the same."""

from __future__ import annotations

import pytest

from callboard.payments import Gateway, YooKassaUnavailable
from tests.dripping import Dripping
from tests.unit.payments.stranger import Stranger
from tests.unit.payments.test_answers import OPERATIONS, reply

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
WAYS = {
    "a body": {"first": HEAD + b"Content-Length: 50000\r\n\r\n", "drops": b" "},
    "a body in chunks": {"first": HEAD + b"Transfer-Encoding: chunked\r\n\r\n", "drops": b"1\r\n \r\n"},
    "a body without an end": {"first": HEAD + b"\r\n", "drops": b" "},
    "the size of a chunk": {"first": HEAD + b"Transfer-Encoding: chunked\r\n\r\n", "drops": b"0"},
    "a header": {"first": HEAD + b"X-Long: ", "drops": b"a"},
    "the status": {"first": b"HTTP/1.1 ", "drops": b" "},
    "one 100 Continue after the other": {"drops": b"HTTP/1.1 100 Continue\r\n\r\n"},
    "a handshake of TLS": {"first": b"\x16\x03\x03\x40\x00", "drops": b"\x02", "scheme": "https", "timeout_s": 2},
    "lines that are no HTTP": {"drops": b"220-hello\r\n"},
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("way", WAYS)
def test_who_sends_a_byte_now_and_then_holds_no_request_beyond_its_time(way, operation):
    options = dict(WAYS[way])
    scheme, timeout_s = options.pop("scheme", "http"), options.pop("timeout_s", 0.5)
    with Dripping(**options) as server:
        url = f"{scheme}://127.0.0.1:{server.port}/v3"
        gateway = Gateway(shop_id="100500", secret_key="x", api_url=url, timeout_s=timeout_s)
        with pytest.raises(YooKassaUnavailable):
            OPERATIONS[operation](gateway)
        assert not server.was_heard_out


def test_a_proxy_that_sends_a_byte_now_and_then_holds_no_request_either(monkeypatch):
    with Dripping(b" ", first=b"HTTP/1.1 ") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        gateway = Gateway(shop_id="100500", secret_key="x", api_url="https://yookassa.invalid/v3", timeout_s=0.5)
        with pytest.raises(YooKassaUnavailable):
            gateway.find_payment("x")
        assert not proxy.was_heard_out


def test_a_connection_that_is_kept_serves_one_request_after_the_other():
    with Stranger() as stranger:
        stranger.say(200, reply())
        gateway = Gateway(shop_id="100500", secret_key="x", api_url=stranger.url, timeout_s=5)
        for _ in range(3):
            assert OPERATIONS["find"](gateway).provider_id == reply()["id"]
