"""A mail server that sends a byte now and then, wherever the conversation is: the mail waits, the thread does not."""

from __future__ import annotations

import pytest

from callboard.mail import MailOutcomeUnknown, MailPostponed
from callboard.mail.errors import Blame
from tests.dripping import Dripping
from tests.unit.mail.scripted_server import DRIPS, ScriptedServer

TIMEOUT_S = 0.5


@pytest.mark.parametrize("drops", [b"220-hello\r\n", b"2"])
def test_a_greeting_that_does_not_end_is_an_outage(send, drops):
    with Dripping(drops, hears=False) as server:
        with pytest.raises(MailPostponed, match="within") as postponed:
            send(server, smtp_timeout_s=TIMEOUT_S)
        assert not server.was_heard_out
    assert postponed.value.blame is Blame.SERVER


def test_a_handshake_that_does_not_end_is_an_outage(send):
    with Dripping(b"\x02", first=b"\x16\x03\x03\x40\x00") as server:
        with pytest.raises(MailPostponed, match=r"within|timed out"):
            send(server, smtp_timeout_s=TIMEOUT_S, smtp_security="tls")
        assert not server.was_heard_out


@pytest.mark.parametrize("verb", ["EHLO", "MAIL", "RCPT", "DATA"])
def test_an_answer_that_does_not_end_postpones_the_mail(send, verb):
    with ScriptedServer({verb: DRIPS}) as server:
        with pytest.raises(MailPostponed, match="within"):
            send(server, smtp_timeout_s=TIMEOUT_S)
        assert not server.was_heard_out


def test_an_answer_to_the_whole_mail_that_does_not_end_leaves_the_outcome_unknown(send):
    with ScriptedServer({"END": DRIPS}) as server:
        with pytest.raises(MailOutcomeUnknown, match="within"):
            send(server, smtp_timeout_s=TIMEOUT_S)
        assert not server.was_heard_out


@pytest.mark.parametrize("verb", ["NOOP", "RSET"])
def test_a_kept_connection_whose_check_does_not_end_is_replaced(send, verb):
    script = {verb: DRIPS, "RCPT": ["250 ok", "250 ok"]}
    with ScriptedServer(script) as server:
        for _ in range(2):
            assert send(server, smtp_timeout_s=TIMEOUT_S) == "250 2.0.0 kept"
        assert not server.was_heard_out


@pytest.mark.parametrize("challenge", ["334 !", "334 abc", "334 \xff\xfe", "334", "334 VXNlcm5hbWU6"])
@pytest.mark.parametrize("way", ["LOGIN", "PLAIN", "CRAM-MD5"])
def test_a_challenge_that_makes_no_sense_is_waited_for(send, way, challenge):
    script = {"EHLO": f"250-scripted\n250 AUTH {way}", "AUTH": challenge}
    with ScriptedServer(script) as server, pytest.raises(MailPostponed):
        send(server, smtp_timeout_s=5, smtp_user="shop", smtp_pass="sandbox")


def test_an_endless_line_is_no_word_about_the_mail(send):
    with ScriptedServer({"END": "552 " + "x" * 20_000}) as server, pytest.raises(MailOutcomeUnknown):
        send(server)
    for verb in ("MAIL", "RCPT", "DATA", "EHLO", "BANNER"):
        with ScriptedServer({verb: "550 " + "x" * 20_000}) as server, pytest.raises(MailPostponed):
            send(server)
