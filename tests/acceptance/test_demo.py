"""The demo as a newcomer runs it: one shop's morning in a fresh folder, checked, altered by hand, checked again.

A morning takes about 25 s, so all tests here look at the same one; `make ci` runs another with --exit.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest

from callboard.dev.demo.morning import DATABASE
from callboard.dev.postgres import Server, project_server, state_dir
from tests.acceptance.processes import Commands, Process, commands, get
from tests.conftest import wait_until

DEMO_TIMEOUT_S = 90


@dataclass(frozen=True)
class Morning:
    """The demo's folder after its end, and what was seen while it ran."""

    shell: Commands
    process: Process
    #: What answered while the demo stood at its summary.
    ports: tuple[int, ...]
    processes: int
    health: int
    code: int

    @property
    def place(self) -> Path:
        return self.shell.folder / ".callboard" / "demo"

    def check(self) -> tuple[int, str]:
        """Return exit code and output of `callboard demo --check`, which runs on a server of its own each time."""
        done = self.shell.run_callboard("demo", "--check")
        assert (done.stderr, "checked against the outside" in done.stdout) == ("", True), done
        return done.returncode, done.stdout


@pytest.fixture(scope="module")
def morning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Morning]:
    """Run the demo until its summary, look around, and end it with Ctrl-C."""
    folder = tmp_path_factory.mktemp("shop")
    with commands(folder) as shell:
        try:
            process = shell.callboard("demo", METRICS_PORT="", LOG_FORMAT="")
            process.wait_for_text("Ctrl-C ends it.", DEMO_TIMEOUT_S)
            ports = tuple(sorted({int(port) for port in re.findall(r"http://127\.0\.0\.1:(\d+)", process.log)}))
            processes = len(shell.left())
            [api] = {int(port) for port in re.findall(r"http://127\.0\.0\.1:(\d+)/health", process.log)}
            health, _ = get(api, "/health/ready")
            process.popen.send_signal(signal.SIGINT)
            yield Morning(shell, process, ports, processes, health, process.wait())
        finally:
            shell.kill()
            state = state_dir(folder)
            Server(state / "postgres").stop()
            shutil.rmtree(state)


def test_the_morning_goes_well_and_ctrl_c_ends_it(morning):
    assert "The morning went well." in morning.process.log
    assert "✗" not in morning.process.log
    assert "Traceback" not in morning.process.log
    assert morning.code == 0


def test_it_shows_addresses_that_answer(morning):
    assert morning.health == 200
    # API, metrics and the sandbox
    assert len(morning.ports) == 3


def test_it_leaves_no_process_and_no_port(morning):
    # demo, mail server, sandbox, API, supervisor, and two workers of two processes each
    assert morning.processes >= 9
    assert morning.shell.left() == []
    for port in morning.ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
    assert not Server(state_dir(morning.shell.folder) / "postgres").answers()
    assert not (state_dir(morning.shell.folder) / "postgres" / "postmaster.pid").exists()


def test_the_lease_is_shown_moving_between_two_workers(morning):
    [(before, after)] = re.findall(r"lease (\d+) of worker .* → lease (\d+) of worker", morning.process.log)
    assert int(before) < int(after)


def test_what_it_wrote_lies_in_the_projects_folder(morning):
    assert len(list(morning.place.glob("mail/*.eml"))) > 30
    assert {path.suffix for path in morning.place.glob("reports/**/*.*")} == {".pdf", ".csv", ".xlsx"}


def test_an_untouched_morning_is_right_when_checked_again(morning):
    code, output = morning.check()
    assert (code, "The morning went well." in output) == (0, True)


@pytest.mark.parametrize("alter", ["amount", "recipient", "removed", "added"])
def test_a_mail_altered_by_hand_is_named(morning, alter):
    mails = sorted(path for path in morning.place.glob("mail/*.eml") if b"X-Envelope-To: customer" in path.read_bytes())
    mail, original = mails[3], mails[3].read_bytes()
    [recipient] = re.findall(rb"X-Envelope-To: (\S+)", original)
    named = mail.name
    added = mail.with_name("9" * 20 + "-000000.eml")
    try:
        if alter == "amount":
            # The order's number stands in the text; another one makes it another order's receipt.
            mail.write_bytes(re.sub(rb"A-0\d\d", b"A-999", original))
        elif alter == "recipient":
            mail.write_bytes(original.replace(recipient, b"thief@mail.example"))
        elif alter == "removed":
            mail.unlink()
            named = recipient.decode()
        else:
            added.write_bytes(original)
            named = recipient.decode()
        code, output = morning.check()
    finally:
        mail.write_bytes(original)
        added.unlink(missing_ok=True)
    assert (code, named in output) == (1, True)


@pytest.fixture
def payments(morning):
    """Statements on the demo's database, whose server runs for them only."""

    @contextlib.contextmanager
    def open_cursor():
        with project_server(morning.shell.folder) as server:
            connection = psycopg2.connect(server.url(DATABASE))
            connection.autocommit = True
            with contextlib.closing(connection), connection.cursor() as cursor:
                yield cursor

    return open_cursor


def test_a_payments_row_altered_by_hand_is_named(morning, payments):
    with payments() as cursor:
        cursor.execute("SELECT provider_id, amount FROM callboard.payments WHERE status = 'succeeded' LIMIT 1")
        provider_id, amount = cursor.fetchone()
        try:
            cursor.execute(
                "UPDATE callboard.payments SET amount = amount + 0.01 WHERE provider_id = %s", (provider_id,)
            )
            code, output = morning.check()
        finally:
            cursor.execute("UPDATE callboard.payments SET amount = %s WHERE provider_id = %s", (amount, provider_id))
    assert (code, provider_id in output) == (1, True)


@pytest.mark.parametrize("kind", ["pdf", "csv", "xlsx"])
def test_a_report_that_is_gone_or_broken_is_named(morning, kind):
    [report] = morning.place.glob(f"reports/**/*.{kind}")
    original = report.read_bytes()
    try:
        report.unlink()
        gone, output_of_gone = morning.check()
        report.write_bytes(b"scratched")
        broken, output_of_broken = morning.check()
    finally:
        report.write_bytes(original)
    assert (gone, broken) == (1, 1)
    assert f"register.{kind}" in output_of_gone and f"register.{kind}" in output_of_broken


def test_everything_is_right_again_in_the_end(morning):
    assert morning.check()[0] == 0


def test_a_folder_without_a_morning_says_so(tmp_path):
    with commands(tmp_path / "elsewhere") as shell:
        done = shell.run_callboard("demo", "--check")
    assert (done.returncode, "callboard demo --exit" in done.stderr) == (1, True)
    wait_until(lambda: not shell.left(), what="nothing left")
