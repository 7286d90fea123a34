"""Settings: all problems at once, secrets never shown, files, aliases, the old workers' names."""

from __future__ import annotations

import pytest

from callboard.errors import ConfigurationError
from callboard.settings import Settings, load_settings, successors


def problems(monkeypatch, **environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    return "\n".join(caught.value.problems)


def test_all_problems_are_reported_at_once_with_variable_value_and_remedy(monkeypatch):
    text = problems(
        monkeypatch,
        JOB_CONCURRENCY="eight",
        PORT="99999",
        QUEUE_LISTEN="maybe",
        TRUSTED_PROXIES="10.0.0.0/8, bogus",
        DATABASE_URL="mysql://db/name",
        SMTP_USER="mailer",
    )
    lines = text.splitlines()
    assert len(lines) == 6
    assert "JOB_CONCURRENCY" in text and "'eight'" in text and "remove it for 8" in text
    assert "API_PORT" in text and "'99999'" in text
    assert "QUEUE_LISTEN" in text and "must be on or off" in text
    assert "TRUSTED_PROXIES" in text and "bogus" in text
    assert "SMTP_PASS" in text and "together with SMTP_USER" in text


def test_a_secret_is_never_shown(monkeypatch):
    text = problems(monkeypatch, DATABASE_URL="mysql://u:hush@db/name")
    assert "hush" not in text
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hush@db/name")
    assert "hush" not in repr(load_settings())


def test_a_value_may_come_from_the_file_that_name_file_names(monkeypatch, tmp_path):
    (tmp_path / "url").write_text("postgresql://u@db/name\n")
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "url"))
    url = load_settings().database_url
    assert url is not None and url.get_secret_value() == "postgresql://u@db/name"


def test_every_unreadable_file_is_named(monkeypatch, tmp_path):
    text = problems(monkeypatch, DATABASE_URL_FILE=str(tmp_path / "a"), API_TOKEN_FILE=str(tmp_path / "b"))
    assert "DATABASE_URL_FILE" in text and "API_TOKEN_FILE" in text


def test_the_variable_itself_comes_before_its_file(monkeypatch, tmp_path):
    (tmp_path / "port").write_text("4000")
    monkeypatch.setenv("API_PORT_FILE", str(tmp_path / "port"))
    assert load_settings().api_port == 4000
    monkeypatch.setenv("API_PORT", "5000")
    assert load_settings().api_port == 5000


def test_port_is_an_alias_of_api_port(monkeypatch):
    monkeypatch.setenv("PORT", "4000")
    assert load_settings().api_port == 4000


@pytest.mark.parametrize(("port", "mode"), [(465, "tls"), (587, "starttls"), (1025, "starttls")])
def test_smtp_security_follows_the_port(monkeypatch, port, mode):
    monkeypatch.setenv("SMTP_PORT", str(port))
    assert load_settings().smtp_security_mode == mode


def test_each_queue_has_its_own_retry_limit():
    settings = load_settings()
    limits = {queue: settings.max_retries(queue) for queue in ("emails", "payments", "reports", "other")}
    assert limits == {"emails": 5, "payments": 5, "reports": 3, "other": 5}


def test_metrics_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("METRICS_PORT", "off")
    assert load_settings().metrics_port is None


def test_a_variable_of_the_old_workers_is_answered_with_its_successor():
    assert successors({"SUPABASE_URL": "x", "OTHER": "y"}) == [
        "SUPABASE_URL is no longer read. Set DATABASE_URL instead."
    ]


def test_an_unknown_variable_is_ignored(monkeypatch):
    monkeypatch.setenv("JOB_QUEUE_NAME", "jobs")
    assert isinstance(load_settings(), Settings)


@pytest.mark.parametrize("key", ["short", "c2hvcnQ="])
def test_an_encryption_key_of_another_length_is_refused(monkeypatch, key):
    assert "32 bytes in base64" in problems(monkeypatch, ENCRYPTION_KEY=key)
