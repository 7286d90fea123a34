"""Whom wrong settings stop, as real processes: producers, workers, API, migrations, and every command."""

from __future__ import annotations

import json
import shlex
import sys

import pytest

from callboard.settings import Settings, fields_of
from tests.acceptance.processes import commands, free_port, get
from tests.conftest import wait_until
from tests.unit.test_postgres_url import SECRET, reveals
from tests.unit.test_settings_roles import broken

MESSAGE = '{"to": "a@example.org", "template": "welcome", "context": {"name": "A"}}'
SEND = """
from actors import send_email
import callboard
send_email.send(to='a@example.org', template='welcome', context={'name': 'A'})
callboard.send_many(send_email.message(to='b@example.org', template='welcome', context={}) for _ in range(2))
"""
#: Commands that connect, with what they need to get there.
CONNECTING = [
    "db upgrade",
    "db current",
    "db check",
    "status",
    "stats",
    "size",
    "doctor",
    "audit",
    "queues list",
    "queues pause emails",
    "queues resume emails",
    "queues discard emails --yes",
    "messages list",
    "messages show 00000000-0000-0000-0000-000000000000",
    "messages explain 00000000-0000-0000-0000-000000000000",
    "messages cancel 00000000-0000-0000-0000-000000000000 --yes",
    "dead list",
    "dead groups",
    "dead show 00000000-0000-0000-0000-000000000000",
    "dead retry --all --yes",
    "dead purge --all --yes",
    "schedules list",
    "workers",
    "failed",
    f"enqueue send_email {shlex.quote(MESSAGE)}",
    "test-email a@example.org",
    "start",
    "work",
    "work --stop-when-empty",
    "api",
]


def wrong_for_all_but(*used: str) -> dict[str, str]:
    """Return every variable with a value that it refuses, but those that are used."""
    names = set(Settings.model_fields) - set(used)
    # An account without its secret is wrong only where neither is right by itself.
    return {name.upper(): broken(name).replace("\n", "\x1b") for name in names} | {"PORT": "tcp:/x"}


#: What a .env may hold; None: it is a folder.
ENV_FILES = [
    b"LOG_LEVEL=loud\n",
    "SMTP_FROM_NAME=Лавка\n".encode("cp1251"),
    "LOG_LEVEL=x\n".encode("utf-16"),
    b"\x00\xff",
    None,
]


@pytest.mark.parametrize("env_file", ENV_FILES, ids=repr)
def test_a_producer_sends_whatever_else_its_host_has_set(shell, db, env_file):
    if env_file is None:
        (shell.folder / ".env").mkdir()
    else:
        (shell.folder / ".env").write_bytes(env_file)
    done = shell.run_python(SEND, **wrong_for_all_but("database_url"))
    assert (done.returncode, done.stderr) == (0, "")
    assert db("SELECT count(*) FROM dramatiq.queue") == [(3,)]


@pytest.mark.parametrize("command", [c for c in CONNECTING if c.split()[0] in ("db", "status", "messages", "queues")])
def test_a_command_works_whatever_it_does_not_use(shell, command):
    done = shell.run_callboard(*shlex.split(command), **wrong_for_all_but("database_url"))
    assert done.returncode in (0, 3, 4), done.stderr
    assert "configuration is wrong" not in done.stderr


def test_a_worker_works_whatever_only_others_use(shell, db):
    wrong = wrong_for_all_but(*fields_of("work", Settings.model_fields))
    assert wrong.keys() >= {"FRONTEND_URL", "API_TOKEN", "API_PORT"}
    assert shell.run_callboard("enqueue", "send_email", MESSAGE).returncode == 0
    wrong |= {"PORT": str(free_port()), "EMAIL_PROVIDER": "console"}
    done = shell.run_callboard("work", "--stop-when-empty", **wrong)
    assert done.returncode == 0, done.stderr
    assert db("SELECT count(*) FROM callboard.message_history WHERE outcome = 'done'")[0][0] >= 1


def test_the_api_answers_whatever_only_others_use(shell):
    port = free_port()
    wrong = wrong_for_all_but(*fields_of("api", Settings.model_fields))
    assert wrong.keys() >= {"SMTP_PASS", "WORKER_PROCESSES", "METRICS_PORT"}
    api = shell.callboard("api", **wrong, API_PORT=str(port))
    wait_until(lambda: api.popen.poll() is not None or get(port, "/health/ready")[0] == 200, 30)
    assert api.popen.poll() is None, api.log


def test_a_worker_says_at_its_start_all_that_it_cannot_work_with(shell):
    wrong = {"LOG_LEVEL": "loud", "SMTP_PORT": "abc", "FRONTEND_URL": "*"}
    for command in (
        ["-m", "dramatiq", "actors", "--processes", "1", "--threads", "1"],
        ["-m", "callboard.cli", "work"],
    ):
        done = shell.run(sys.executable, *command, **wrong)
        assert done.returncode != 0
        assert "LOG_LEVEL" in done.stderr and "SMTP_PORT" in done.stderr and "FRONTEND_URL" not in done.stderr
        assert "Traceback" not in done.stderr
    assert shell.run_callboard("api", LOG_FORMAT="text", FRONTEND_URL="*").returncode == 2


@pytest.mark.parametrize("command", CONNECTING)
def test_an_address_that_can_never_work_is_refused_by_every_command(shell, command):
    url = f"postgresql://shop:{SECRET}@127.0.0.1:{free_port()}/x?sslmode=no-verify"
    done = shell.run_callboard(*shlex.split(command), DATABASE_URL=url)
    assert done.returncode == 2, done.stderr
    assert "sslmode" in done.stdout + done.stderr and "Traceback" not in done.stderr
    assert not reveals(done.stdout + done.stderr)


@pytest.mark.parametrize("part", [f"shop:{SECRET[:3]}@{SECRET[3:]}", f"shop:{SECRET[:3]}/{SECRET[3:]}"])
def test_send_refuses_it_too_and_shows_no_part_of_the_password(shell, part):
    code = SEND.replace("send_email.send(", "send_email.send_with_options(kwargs=dict(").replace("'A'})", "'A'}))", 1)
    done = shell.run_python(code, DATABASE_URL=f"postgresql://{part}@127.0.0.1:1/x")
    assert done.returncode == 1 and "ConfigurationError" in done.stderr and "DATABASE_URL" in done.stderr
    assert not reveals(done.stdout + done.stderr)


def test_drivers_tags_and_foreign_parameters_cost_one_warning(shell, database_url):
    url = database_url.replace("postgresql://", "postgresql+asyncpg://") + "&pgbouncer=true&schema=public"
    for command in ("status", "db check", "doctor", "settings", "work --stop-when-empty"):
        done = shell.run_callboard(*command.split(), DATABASE_URL=url, EMAIL_PROVIDER="console")
        said = done.stdout + done.stderr
        assert said.count("left out") == 1 and "+asyncpg" in said and "pgbouncer" in said, command


def test_the_old_names_are_hinted_by_every_command(shell):
    for command in (["status"], ["db", "current"], ["settings"], ["doctor"]):
        done = shell.run_callboard(*command, SUPABASE_URL="https://x.supabase.co", EMAIL_PROVIDER="console")
        assert "Set DATABASE_URL instead" in done.stdout + done.stderr, command


def test_settings_shows_what_counts_and_exits_2_where_a_role_cannot_work(shell):
    wrong = {"SMTP_PORT": "abc", "API_TOKEN": "hush", "CALLBOARD_LOG_LEVEL": "DEBUG"}
    done = shell.run_callboard("settings", "-o", "json", **wrong)
    rows = {row["setting"]: row for row in json.loads(done.stdout)}
    assert done.returncode == 2 and "SMTP_PORT" in done.stderr
    assert rows["LOG_LEVEL"]["value"] == "debug" and rows["API_TOKEN"]["value"] == "set"
    assert "hush" not in done.stdout + done.stderr
    assert shell.run_callboard("settings", "--role", "work", **wrong).returncode == 2
    for role in ("producer", "api", "migrator"):
        assert shell.run_callboard("settings", "--role", role, **wrong).returncode == 0


def test_job_queue_name_chooses_the_queues_and_the_flag_wins(shell, db):
    assert shell.run_callboard("enqueue", "send_email", MESSAGE).returncode == 0
    once = ("work", "--stop-when-empty")
    assert shell.run_callboard(*once, JOB_QUEUE_NAME="reports,payments", EMAIL_PROVIDER="console").returncode == 0
    assert db("SELECT count(*) FROM dramatiq.queue WHERE queue_name = 'emails'") == [(1,)]
    options = {"JOB_QUEUE_NAME": "reports", "EMAIL_PROVIDER": "console"}
    assert shell.run_callboard(*once, "--queues", "emails", **options).returncode == 0
    assert db("SELECT count(*) FROM dramatiq.queue WHERE queue_name = 'emails'") == [(0,)]
    done = shell.run_callboard("work", JOB_QUEUE_NAME="document-jobs")
    assert done.returncode == 2 and "JOB_QUEUE_NAME" in done.stderr and "document-jobs" in done.stderr


def test_port_is_where_a_worker_answers_unless_it_is_taken_or_its_own_is_set(tmp_path, database_url):
    port, own = free_port(), free_port()
    with commands(tmp_path / "shell", DATABASE_URL=database_url, METRICS_PORT="") as shell:
        shell.callboard("work", PORT=str(port))
        wait_until(lambda: get(port, "/health/live")[0] == 200, 30)
        shell.callboard("work", PORT=str(port), METRICS_PORT=str(own))
        wait_until(lambda: get(own, "/health/live")[0] == 200, 30)
        third = shell.callboard("work", PORT=str(port))
        third.wait_for_event("PORT is taken on this machine, perhaps by the API; set METRICS_PORT")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"METRICS_HOST": "no.such.host.invalid", "METRICS_PORT": "9191"}, "METRICS_HOST"),
        ({"METRICS_HOST": "192.0.2.1", "METRICS_PORT": "9191"}, "METRICS_HOST"),
        ({"TMPDIR": "/proc/1/nowhere", "PROMETHEUS_MULTIPROC_DIR": "/proc/nowhere"}, "PROMETHEUS_MULTIPROC_DIR"),
        ({"DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x?port=abc"}, "port"),
    ],
    ids=["name", "address", "folder", "url"],
)
def test_a_worker_whose_start_fails_half_way_ends(shell, wrong, says):
    done = shell.run(sys.executable, "-m", "dramatiq", "actors", "--processes", "1", "--threads", "1", **wrong)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr and "Callboard cannot start" in done.stderr and "Traceback" not in done.stderr
