"""Logs: fields on every line, nothing secret in any."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import dramatiq
import pytest

from callboard.log import clear_log_context, configure_logging, get_logger, log_context, set_log_context


@pytest.fixture(autouse=True)
def _restored_logging():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    clear_log_context()


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_the_running_message_is_on_every_line_also_of_libraries(capsys):
    configure_logging("info", "json")
    with log_context(message_id="m1", actor="send_email", attempt=2):
        get_logger("ours").info("email sent", to_domain="example.org")
        logging.getLogger("theirs").warning("something %s", "else")
    assert [line["message_id"] for line in lines(capsys)] == ["m1", "m1"]


def test_an_event_keeps_its_percent_signs(capsys):
    configure_logging("info", "json")
    get_logger("ours").info("100% done")
    assert lines(capsys)[0]["event"] == "100% done"


def test_secrets_and_addresses_do_not_reach_a_line(capsys):
    configure_logging("info", "json")
    try:
        raise RuntimeError("mailbox bob@example.org is full")
    except RuntimeError:
        get_logger("ours").exception("email failed", smtp_pass="hush", note="for ann@example.org")
    text = capsys.readouterr().err
    assert "hush" not in text and "bob" not in text and "ann" not in text
    assert "***@example.org" in text


def test_dramatiqs_own_lines_show_no_arguments(capsys):
    configure_logging("info", "json")
    message = dramatiq.Message(queue_name="q", actor_name="pay", args=("4111",), kwargs={}, options={})
    logging.getLogger("dramatiq.worker").error("Failed to process message %s.", message)
    assert lines(capsys)[0]["event"] == f"Failed to process message pay[{message.message_id}]."


def test_a_traceback_shows_no_local_variables(capsys):
    configure_logging("info", "console")

    def fails():
        password = "hush"
        raise ValueError(len(password))

    try:
        fails()
    except ValueError:
        get_logger("ours").exception("it broke")
    text = capsys.readouterr().err
    assert "ValueError: 4" in text and "'hush'" not in text.replace('password = "hush"', "")


def test_bound_fields_stay_until_they_are_cleared(capsys):
    configure_logging("info", "json")
    set_log_context(lambda: {"queue": "emails"})
    get_logger("ours").info("one")
    clear_log_context()
    get_logger("ours").info("two")
    assert ["queue" in line for line in lines(capsys)] == [True, False]


HOSTILE = "q\x1b]0;owned\x07\x9b31m\u202egpj\u2028\r\nFORGED event=paid"


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_no_line_steers_a_terminal_or_forges_another(capsys, log_format):
    # Given an event, a field and an error that strangers wrote
    configure_logging(log_format=log_format)
    log = get_logger("callboard.test")
    log.warning(HOSTILE, queue=HOSTILE, names=[HOSTILE])
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        log.exception("actor failed")
    written = capsys.readouterr().err
    # Then nothing is written but text, and lines only where ours or a traceback's end
    assert all(char.isprintable() or char == "\n" for char in written)
    assert not any(line.startswith("FORGED") for line in written.split("\n")[: 1 if log_format == "console" else None])
    if log_format == "json":
        first, second = (json.loads(line) for line in written.splitlines())
        assert first["queue"] == HOSTILE and HOSTILE.split("\r", maxsplit=1)[0] in second["exception"]


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_setting_logs_up_loads_nothing_that_draws_tracebacks_and_takes_it_from_nobody(log_format):
    # Given a process of its own that logs an error
    code = (
        "import sys\nfrom callboard.log import configure_logging, get_logger\n"
        f"configure_logging('info', {log_format!r})\n"
        "try:\n    raise ValueError('refused')\nexcept ValueError:\n    get_logger('ours').exception('actor failed')\n"
        "print(*(name for name in ('rich', 'pygments', 'attr') if name in sys.modules))\n"
        "from rich.console import Console\nConsole().print('drawn')\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    # Then the traceback is there, Rich was not needed, and who asks for it has it
    assert done.stderr.count("ValueError: refused") == 1
    assert done.stdout == "\ndrawn\n"
