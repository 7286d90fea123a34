"""The dev mail server: keeps what it accepts, misbehaves as planned, writes down every answer."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import smtplib
import subprocess
import sys
from email import message_from_bytes, policy
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from callboard.dev.mail_server import NO_ANSWER, MailPlan, MailServer
from callboard.errors import CallboardError, ConfigurationError
from tests.conftest import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

MAIL = b"From: a@shop.test\r\nSubject: Hello\r\n\r\n.dot\r\nbody\r\n"


@contextlib.contextmanager
def client(server: MailServer) -> Iterator[smtplib.SMTP]:
    smtp = smtplib.SMTP(server.host, server.port, timeout=10)
    try:
        yield smtp
    finally:
        smtp.close()


def answers(server: MailServer) -> list[tuple[str, str, int]]:
    return [(attempt.recipient, attempt.verb, attempt.code) for attempt in server.attempts()]


def test_an_accepted_mail_becomes_a_file_with_its_envelope(tmp_path):
    with MailServer(tmp_path) as server, client(server) as smtp:
        smtp.sendmail("a@shop.test", ["b@x.test"], MAIL)

        (path,) = server.mails()
        mail = message_from_bytes(path.read_bytes(), policy=policy.default)
        assert mail["X-Envelope-To"] == "b@x.test"
        assert mail["Subject"] == "Hello"
        assert mail.get_content().splitlines() == [".dot", "body"]
        assert answers(server) == [("b@x.test", "RCPT", 250), ("b@x.test", "DATA", 250)]


def test_mails_sort_in_the_order_of_their_arrival_also_over_two_runs(tmp_path):
    for first in (0, 3):
        with MailServer(tmp_path) as server, client(server) as smtp:
            for number in range(first, first + 3):
                smtp.sendmail("a@shop.test", [f"{number}@x.test"], MAIL)

    heads = [path.read_bytes().split(b"\r\n")[0] for path in server.mails()]
    assert heads == [f"X-Envelope-To: {number}@x.test".encode() for number in range(6)]


def test_a_refused_recipient_gets_550_every_time(tmp_path):
    with MailServer(tmp_path, plan=MailPlan(refused=frozenset({"no@x.test"}))) as server, client(server) as smtp:
        for _ in range(2):
            with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
                smtp.sendmail("a@shop.test", ["no@x.test"], MAIL)
            assert refused.value.recipients["no@x.test"][0] == 550
        assert server.mails() == []
        assert answers(server) == [("no@x.test", "RCPT", 550)] * 2


def test_a_greylisted_recipient_is_accepted_after_that_many_attempts(tmp_path):
    with MailServer(tmp_path, plan=MailPlan(greylisted={"g@x.test": 2})) as server, client(server) as smtp:
        for _ in range(2):
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                smtp.sendmail("a@shop.test", ["g@x.test"], MAIL)
        smtp.sendmail("a@shop.test", ["g@x.test"], MAIL)
        assert [code for _, _, code in answers(server)] == [451, 451, 250, 250]
        assert len(server.mails()) == 1


@pytest.mark.parametrize(
    ("plan", "kept"), [({"dropped": {"d@x.test": 1}}, 1), ({"kept_and_dropped": {"d@x.test": 1}}, 2)]
)
def test_a_dropped_connection_gives_no_answer_and_stands_in_the_books(tmp_path, plan, kept):
    with MailServer(tmp_path, plan=MailPlan(**plan)) as server:
        with client(server) as smtp, pytest.raises(smtplib.SMTPServerDisconnected):
            smtp.sendmail("a@shop.test", ["d@x.test"], MAIL)
        with client(server) as smtp:
            smtp.sendmail("a@shop.test", ["d@x.test"], MAIL)
        assert [code for _, _, code in answers(server)] == [250, NO_ANSWER, 250, 250]
        assert len(server.mails()) == kept


def test_a_slow_recipient_waits_once_only(tmp_path):
    with MailServer(tmp_path, plan=MailPlan(slow_once_s={"s@x.test": 30})) as server:
        with contextlib.closing(smtplib.SMTP(server.host, server.port, timeout=1)) as smtp:
            smtp.helo("x")
            smtp.mail("a@shop.test")
            with pytest.raises(smtplib.SMTPServerDisconnected):
                smtp.rcpt("s@x.test")
        with client(server) as smtp:
            smtp.sendmail("a@shop.test", ["s@x.test"], MAIL)
        assert len(server.mails()) == 1


def test_stopping_hangs_up_and_frees_the_port(tmp_path):
    server = MailServer(tmp_path)
    server.start()
    with client(server) as smtp:
        smtp.ehlo()
        server.stop()
        server.stop()
        with pytest.raises(smtplib.SMTPServerDisconnected):
            smtp.noop()
    with MailServer(tmp_path, port=server.port) as again:
        assert again.port == server.port


def test_a_taken_port_is_named_in_the_error(tmp_path):
    with MailServer(tmp_path) as first, pytest.raises(CallboardError, match=f":{first.port}"):
        MailServer(tmp_path, port=first.port).start()


def test_a_plan_with_an_unknown_trouble_names_the_known_ones():
    with pytest.raises(ConfigurationError, match=r"greylisted.*got earthquakes"):
        MailPlan.from_json('{"earthquakes": 1}')
    with pytest.raises(ConfigurationError, match="not JSON"):
        MailPlan.from_json("{")


def test_as_a_program_it_says_where_it_listens_follows_its_plan_and_ends_on_sigterm(tmp_path):
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"refused": ["no@x.test"]}))
    command = [sys.executable, "-m", "callboard.dev.mail_server", "--directory", str(tmp_path / "mail"), "--port", "0"]
    with subprocess.Popen(
        [*command, "--plan", str(plan)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONWARNINGS": "error"},
    ) as process:
        line = process.stdout.readline()
        port = int(line.split(",")[0].rsplit(":", 1)[1])
        with contextlib.closing(smtplib.SMTP("127.0.0.1", port, timeout=10)) as smtp:
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                smtp.sendmail("a@shop.test", ["no@x.test"], MAIL)
            smtp.sendmail("a@shop.test", ["yes@x.test"], MAIL)
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: process.poll() is not None, what="the end of the server")
        assert process.returncode == 0
        assert process.stderr.read() == ""
    assert len(list((tmp_path / "mail").glob("*.eml"))) == 1
