"""Whom a wrong value stops: a walk over every setting and every role."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

import callboard.app
from callboard.errors import ConfigurationError
from callboard.settings import ROLES, Settings, fields_of, read_settings

#: A value that each setting refuses; any other setting refuses a control character.
BROKEN = {
    "database_url": "postgresql://u:p@h/db?sslmode=no-verify",
    "frontend_url": "*",
    "encryption_key": "c2hvcnQ=",
    "smtp_pass": "x",
}
#: What each role certainly uses, and what it certainly does not.
USED = {
    "producer": {"database_url"},
    "migrator": {"database_url"},
    "operator": {"database_url"},
    "worker": {"database_url", "log_level", "smtp_host", "report_storage_url", "yukassa_secret_key", "metrics_port"},
    "work": {"database_url", "worker_processes", "job_concurrency", "job_queue_name", "smtp_pass"},
    "api": {"database_url", "api_port", "frontend_url", "trusted_proxies", "encryption_key", "yukassa_webhook_ips"},
}
UNUSED = {
    "producer": set(Settings.model_fields) - {"database_url"},
    "migrator": set(Settings.model_fields) - {"database_url"},
    "operator": set(Settings.model_fields) - {"database_url"},
    "worker": {"frontend_url", "api_token", "api_port", "trusted_proxies", "yukassa_webhook_ips", "worker_processes"},
    "work": {"frontend_url", "api_token", "api_port", "trusted_proxies", "yukassa_webhook_ips"},
    "api": {"smtp_host", "smtp_pass", "worker_processes", "metrics_port", "job_queue_name", "email_provider"},
}


def broken(name: str) -> str:
    if name in BROKEN:
        return BROKEN[name]
    # Not every type has a wrong value of its own.
    for value in ("tcp:/x", "999999999"):
        try:
            Settings(**{name: value}, _env_file=None)
        except ValidationError:
            return value
    return "a\nb"


@pytest.fixture
def settings_with(monkeypatch):
    """Return the settings with some of them broken."""

    def read(*names: str) -> Settings:
        for name in names:
            monkeypatch.setenv(name.upper(), broken(name))
        return read_settings()

    return read


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_a_wrong_value_stops_who_uses_it_and_nobody_else(settings_with, name, role):
    settings = settings_with(name)
    assert name in settings.faults, f"{name} takes {broken(name)!r}"
    problems = settings.problems_of(role)
    if name in fields_of(role, Settings.model_fields):
        assert len(problems) == 1 and name.upper() in problems[0]
        with pytest.raises(ConfigurationError, match=name.upper()):
            settings.check(role)
    else:
        settings.check(role)


@pytest.mark.parametrize("role", ROLES)
def test_the_list_of_what_a_role_uses_is_right(role):
    used = set(fields_of(role, Settings.model_fields))
    assert used >= USED[role] and not used & UNUSED[role]


def test_a_wrong_value_raises_when_it_is_used_and_not_before(settings_with):
    settings = settings_with("smtp_port", "api_port")
    assert settings.smtp_host == "localhost"
    for name in ("smtp_port", "api_port"):
        with pytest.raises(ConfigurationError, match=name.upper()):
            getattr(settings, name)
    # Copies keep it.
    with pytest.raises(ConfigurationError, match="SMTP_PORT"):
        _ = settings.model_copy(update={"smtp_timeout_s": 1.0}).smtp_port


def test_all_that_a_role_cannot_work_with_is_said_at_once(settings_with):
    settings = settings_with("smtp_port", "log_level", "database_url", "api_port")
    with pytest.raises(ConfigurationError) as caught:
        settings.check("worker")
    assert [problem.split()[0] for problem in caught.value.problems] == ["DATABASE_URL", "LOG_LEVEL", "SMTP_PORT"]


@pytest.mark.parametrize("name", ["smtp_user", "smtp_pass"])
def test_half_an_account_is_none_whatever_is_wrong_with_the_other_half(monkeypatch, name):
    monkeypatch.setenv("SMTP_USER", "mailer")
    monkeypatch.setenv("SMTP_PASS", "a\nb")
    settings = read_settings()
    with pytest.raises(ConfigurationError, match="SMTP_PASS holds a line feed"):
        getattr(settings, name)


def test_a_producer_prepares_statements_only_where_it_may(monkeypatch):
    monkeypatch.setattr(callboard.app, "get_settings", read_settings)
    assert callboard.app._broker_options().listens is True
    for name in set(Settings.model_fields) - {"database_url"}:
        monkeypatch.setenv(name.upper(), broken(name))
    options = callboard.app._broker_options()
    assert options.listens is False
    assert options.poll_interval_s == 5.0
