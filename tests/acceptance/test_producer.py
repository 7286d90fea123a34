"""A web service that only sends: the base install, beside modules of its own whose names are ours too."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.acceptance.processes import Commands, commands, free_port
from tests.acceptance.producer_install import base_distributions, install

#: What only workers, the API or the command line need.
HEAVY = (
    "alembic",
    "cronsim",
    "css_inline",
    "fastapi",
    "fsspec",
    "httpx",
    "jinja2",
    "rich",
    "sqlalchemy",
    "structlog",
    "typer",
    "typst",
    "uvicorn",
)
#: Not even what is in the base install may load before it is needed.
LATE = ("pydantic", "pydantic_settings", "callboard.settings", "callboard.broker.worker.runtime")


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """A Python with the base install only."""
    return str(install(tmp_path_factory.mktemp("producer") / "venv"))


class Producer:
    """A service's folder with modules of its own, and scripts that run in it."""

    def __init__(self, shell: Commands, python: str) -> None:
        self._shell = shell
        self._python = python
        for name in ("middleware", "settings", "app", "metrics", "log", "errors", "broker"):
            (shell.folder / f"{name}.py").write_text(f"MINE = 'the {name} of the shop'\n")

    def run(self, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a script of the service; a warning is an error there as well."""
        script = self._shell.folder / "shop.py"
        script.write_text(
            f"import middleware, settings, app\n{code}\nassert middleware.MINE and settings.MINE and app.MINE\n"
        )
        return self._shell.run(self._python, "-W", "error", str(script), **environment)


@pytest.fixture
def producer(tmp_path, python):
    with commands(tmp_path / "shop", PYTHONPATH="") as shell:
        yield Producer(shell, python)


def test_the_base_install_is_small():
    names = set(base_distributions())
    assert {"dramatiq", "dramatiq-pg", "psycopg2-binary", "pydantic-settings"} <= names
    assert not names & {name.replace("_", "-") for name in HEAVY}
    assert len(names) < 16


def test_importing_the_actors_needs_no_setting_and_loads_nothing_heavy(producer):
    done = producer.run(
        "import sys\n"
        "import psycopg2\n"
        "def refuse(*_, **__): raise AssertionError('connected')\n"
        "psycopg2.connect = refuse\n"
        "from actors import send_email, generate_report, process_payment_event\n"
        "import callboard\n"
        f"print([name for name in {(*HEAVY, *LATE)!r} if name in sys.modules])\n"
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "[]\n")


def test_declaring_a_schedule_needs_nothing_that_only_workers_have(producer):
    done = producer.run(
        "import sys\n"
        "from actors import generate_report\n"
        "from callboard import schedule\n"
        "schedule('daily', cron='0 6 * * *', timezone='Europe/Moscow', kwargs={'kind': 'x'})(generate_report)\n"
        "schedule('wrong', cron='never')(generate_report)\n"
        "print(generate_report.actor_name, 'cronsim' in sys.modules)\n"
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "generate_report False\n")


def test_a_broker_the_service_had_before_stays_its_own(producer):
    done = producer.run(
        "import dramatiq\n"
        "from dramatiq.brokers.stub import StubBroker\n"
        "theirs = StubBroker()\n"
        "dramatiq.set_broker(theirs)\n"
        "from actors import send_email\n"
        "assert dramatiq.get_broker() is theirs\n"
        "@dramatiq.actor\n"
        "def tidy_up(): pass\n"
        "assert tidy_up.broker is theirs\n"
        "assert type(send_email.broker).__name__ == 'PostgresBroker'\n"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_send_stores_a_message(producer, database_url, connection):
    done = producer.run(
        "from actors import send_email\n"
        "print(send_email.send(to='a@example.org', template='welcome', context={'name': 'A'}).message_id)\n"
        "send_email.send_with_options(kwargs={'to': 'b@example.org'}, delay=60_000, priority=3, dedupe_key='b')\n",
        DATABASE_URL=database_url,
    )
    assert (done.returncode, done.stderr) == (0, "")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT message_id::text, queue_name, message #>> '{kwargs,to}', priority, available_at > now() "
            "FROM dramatiq.queue ORDER BY seq"
        )
        first, second = cursor.fetchall()
    assert first == (done.stdout.strip(), "emails", "a@example.org", 0, False)
    assert second[1:] == ("emails", "b@example.org", 3, True)


def test_sending_within_a_transaction_of_the_service(producer, database_url, connection):
    done = producer.run(
        "import os, psycopg2, callboard\n"
        "from actors import send_email\n"
        "def mail(to): return send_email.message(to=to, template='welcome', context={})\n"
        "message = mail('a@example.org')\n"
        "connection = psycopg2.connect(os.environ['DATABASE_URL'])\n"
        "callboard.send_in(connection, message)\n"
        "connection.rollback()\n"
        "callboard.send_in(connection, message, mail('b@example.org'))\n"
        "connection.commit()\n"
        "connection.close()\n"
        "callboard.send_many(mail('c@example.org') for _ in range(3))\n",
        DATABASE_URL=database_url,
    )
    assert (done.returncode, done.stderr) == (0, "")
    with connection.cursor() as cursor:
        cursor.execute("SELECT message #>> '{kwargs,to}', count(*) FROM dramatiq.queue GROUP BY 1 ORDER BY 1")
        assert cursor.fetchall() == [("a@example.org", 1), ("b@example.org", 1), ("c@example.org", 3)]


def test_sending_without_an_address_says_which_variable_is_missing(producer):
    done = producer.run(
        "from actors import send_email\n"
        "from callboard.errors import ConfigurationError\n"
        "try:\n"
        "    send_email.send(to='a@example.org', template='welcome', context={})\n"
        "except ConfigurationError as error:\n"
        "    print(error)\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "DATABASE_URL is not set" in done.stdout


def test_sending_to_a_database_that_is_away_carries_the_message(producer):
    done = producer.run(
        "from actors import send_email\n"
        "from callboard.errors import BrokerUnavailable\n"
        "try:\n"
        "    send_email.send(to='a@example.org', template='welcome', context={})\n"
        "except BrokerUnavailable as error:\n"
        "    print(error.message.kwargs['to'])\n",
        DATABASE_URL=f"postgresql://postgres@127.0.0.1:{free_port()}/none",
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "a@example.org\n")


def test_callboards_own_environment_has_the_middleware_package_itself():
    done = subprocess.run(
        [sys.executable, "-c", "import actors, middleware, callboard.app; print(middleware.stack.__module__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "middleware\n"


def test_the_command_says_what_to_install(producer):
    ran = producer.run("import runpy, sys; sys.argv = ['callboard', 'status']; runpy.run_module('callboard.cli')")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "pip install 'callboard[service]'" in ran.stderr and "Traceback" not in ran.stderr
