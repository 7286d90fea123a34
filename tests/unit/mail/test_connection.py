"""One connection a thread: when it is shared, when it is replaced."""

from __future__ import annotations

import threading

import pytest

from callboard.mail import close_connection
from callboard.mail.smtp import connection
from tests.unit.mail.scripted_server import HANG_UP, ScriptedServer


def test_many_mails_share_one_connection(send):
    with ScriptedServer() as server:
        for _ in range(3):
            send(server)
        assert [verbs.count("DATA") for verbs in server.verbs] == [3]
        assert server.verbs[0].count("NOOP") == 2


def test_a_connection_is_renewed_after_its_share_of_mails(send, monkeypatch):
    monkeypatch.setattr(connection, "MAILS_MAX", 2)
    with ScriptedServer() as server:
        for _ in range(5):
            send(server)
        assert [verbs.count("DATA") for verbs in server.verbs] == [2, 2, 1]
        assert server.verbs[0][-1] == "QUIT"


def test_a_connection_that_idled_too_long_is_renewed(send, monkeypatch):
    with ScriptedServer() as server:
        send(server)
        monkeypatch.setattr(connection, "IDLE_MAX_S", -1)
        send(server)
        assert [verbs.count("DATA") for verbs in server.verbs] == [1, 1]


def test_other_settings_get_a_connection_of_their_own(send):
    with ScriptedServer() as server:
        send(server)
        send(server, smtp_timeout_s=4)
        assert len(server.verbs) == 2


def test_each_thread_has_a_connection_of_its_own(send):
    with ScriptedServer() as server:
        send(server)

        def other_thread():
            send(server)
            close_connection()

        thread = threading.Thread(target=other_thread)
        thread.start()
        thread.join()
        send(server)
        assert sorted(verbs.count("DATA") for verbs in server.verbs) == [1, 2]


@pytest.mark.parametrize(
    "trouble",
    [
        {"NOOP": HANG_UP},
        {"NOOP": "421 idle"},
        {"MAIL": ["250 ok", HANG_UP]},
        {"MAIL": ["250 ok", "421 bye"]},
        {"RCPT": ["250 ok", HANG_UP]},
        {"DATA": ["354 go", HANG_UP]},
    ],
)
def test_a_reused_connection_that_broke_is_replaced_before_the_mail(send, trouble):
    with ScriptedServer(trouble, {}) as server:
        send(server)
        assert send(server) == "250 2.0.0 kept"
        assert len(server.verbs) == 2
        assert len(server.contents) == 2


def test_an_interrupt_in_the_conversation_leaves_no_connection_with_an_unread_answer(send, monkeypatch):
    class TimeLimit(BaseException):
        pass

    with ScriptedServer() as server:
        send(server)
        smtp = connection._thread.connection.smtp
        monkeypatch.setattr(smtp, "getreply", _raises_at_call(smtp.getreply, 5, TimeLimit))
        with pytest.raises(TimeLimit):
            send(server)
        assert send(server) == "250 2.0.0 kept"
        assert len(server.verbs) == 2


def _raises_at_call(function, number, error):
    calls = iter(range(1, number + 1))

    def call():
        if next(calls) == number:
            raise error
        return function()

    return call
