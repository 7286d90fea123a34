"""A value means the same wherever it comes from: variable, twin, file, .env."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.errors import ConfigurationError
from callboard.settings import PREFIX, Settings, load_settings, read_all, read_settings
from callboard.settings.overview import overview
from callboard.settings.sources import read_sources

URL = "postgresql://u@h/db"


@pytest.fixture
def env_file(tmp_path, monkeypatch):
    """A .env in the folder where the process starts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(Settings.model_config, "env_file", ".env")
    return tmp_path / ".env"


def password(settings: Settings) -> str | None:
    return settings.smtp_pass and settings.smtp_pass.get_secret_value()


@pytest.fixture(params=["environment", "twin", "file", "twin's file", ".env", "twin in .env", "file in .env"])
def put(request, monkeypatch, tmp_path, env_file):
    """Set SMTP_PASS in one of the ways that there are."""
    way = request.param

    def set_it(value: str) -> None:
        monkeypatch.setenv("SMTP_USER", "mailer")
        name = f"{PREFIX}SMTP_PASS" if "twin" in way else "SMTP_PASS"
        if "file" in way:
            (tmp_path / "secret").write_bytes(value.encode())
            name, value = f"{name}_FILE", str(tmp_path / "secret")
        if ".env" in way:
            quoted = value.replace("\\", "\\\\").replace("'", "\\'")
            env_file.write_bytes(f"{name}='{quoted}'\n".encode())
        else:
            monkeypatch.setenv(name, value)

    return set_it


SAME = [
    ("hush", "hush"),
    ("hush\n", "hush"),
    ("hush\r\n", "hush"),
    ("\ufeffhush", "hush"),
    (" \ufeff hush \t\r\n\n", "hush"),
    ("pa$$word${HOME}$X", "pa$$word${HOME}$X"),
    ("pa#ss #word", "pa#ss #word"),
    ('it\'s "quoted" \\n', 'it\'s "quoted" \\n'),
    ("пароль€", "пароль€"),
    ("a=b=c", "a=b=c"),
    ("a b", "a b"),
]


@pytest.mark.parametrize(("written", "meant"), SAME, ids=repr)
def test_a_value_means_the_same_in_every_place(put, written, meant):
    put(written)
    assert password(load_settings()) == meant


@pytest.mark.parametrize(("written", "name"), [("a\nb", "line feed"), ("a\tb", "tab"), ("a\x1bb", "U+001B")])
def test_a_control_character_inside_is_refused_by_name_wherever_it_stands(put, written, name):
    put(written)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert "SMTP_PASS" in str(caught.value) and name in str(caught.value) and "character 2" in str(caught.value)


@given(st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="\ufeff"), min_size=1))
def test_any_text_of_an_environment_variable_arrives_whole(text):
    reading = read_sources(["SMTP_PASS"], None, {"SMTP_PASS": f" {text}\r\n"})
    assert reading.values == {"SMTP_PASS": text}


@given(st.text(max_size=200), st.binary(max_size=200))
def test_reading_never_raises(text, content):
    read_sources(["SMTP_PASS", "API_PORT"], None, {"SMTP_PASS": text, "API_PORT": text})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pathlib.Path.read_bytes", lambda _: content)
        read_sources(["SMTP_PASS"], ".env", {"SMTP_PASS_FILE": text})


def test_the_twin_wins_over_the_bare_name_wherever_either_stands(monkeypatch, env_file):
    env_file.write_text(f"{PREFIX}LOG_LEVEL=debug\nSMTP_HOST=env-file\n")
    monkeypatch.setenv("LOG_LEVEL", "error")
    monkeypatch.setenv(f"{PREFIX}SMTP_HOST", "twin")
    monkeypatch.setenv("SMTP_HOST", "bare")
    monkeypatch.setenv("API_HOST", "bare")
    settings = load_settings()
    assert (settings.log_level, settings.smtp_host, settings.api_host) == ("debug", "twin", "bare")


def test_the_environment_comes_before_env_file(monkeypatch, env_file):
    env_file.write_text("SMTP_HOST=env-file\nSMTP_PORT=2525\n")
    monkeypatch.setenv("SMTP_HOST", "environment")
    settings = load_settings()
    assert (settings.smtp_host, settings.smtp_port) == ("environment", 2525)


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_variable_has_a_twin_and_a_file(name, monkeypatch, tmp_path):
    variable = name.upper()
    for prefix in ("", PREFIX):
        reading = read_sources([variable], None, {f"{prefix}{variable}": "x"})
        assert reading.values == {variable: "x"}
        (tmp_path / "file").write_text("y")
        reading = read_sources([variable], None, {f"{prefix}{variable}_FILE": str(tmp_path / "file")})
        assert reading.values == {variable: "y"}
    both = {variable: "x", f"{PREFIX}{variable}": "z", f"{PREFIX}{variable}_FILE": str(tmp_path / "file")}
    assert read_sources([variable], None, both).values == {variable: "z"}


def test_no_twin_is_a_variable_of_the_service_itself():
    import callboard.app

    own = {value for name, value in vars(callboard.app).items() if name.endswith("_VARIABLE")}
    assert len(own) == 5
    assert not own & {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("level", ["INFO", "Warning", "WARN", "debug", "CRITICAL"])
def test_words_are_taken_in_any_case(level, monkeypatch):
    for name, value in {"LOG_LEVEL": level, "LOG_FORMAT": "JSON", "SMTP_SECURITY": "StartTLS"}.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert (settings.log_level, settings.log_format, settings.smtp_security) == (level.lower(), "json", "starttls")


@pytest.mark.parametrize(
    ("content", "host"),
    [
        (b"\xef\xbb\xbfSMTP_HOST=mail\r\n", "mail"),
        ("SMTP_HOST=mail\n".encode("utf-16"), "mail"),
        ("# комментарий\nSMTP_HOST=mail\n".encode("cp1251"), "mail"),
        (b"export SMTP_HOST = 'mail' # here\n", "mail"),
        (b"nonsense here\nSMTP_HOST=mail\n", "mail"),
        (b"\x00\xff\xfe", "localhost"),
    ],
    ids=repr,
)
def test_env_file_is_read_as_far_as_it_can_be(content, host, env_file):
    env_file.write_bytes(content)
    assert read_settings().smtp_host == host


def test_letters_of_another_encoding_are_the_fault_of_their_own_value(env_file):
    env_file.write_bytes("SMTP_FROM_NAME=Лавка\nSMTP_HOST=mail\n".encode("cp1251"))
    settings = read_settings()
    assert settings.smtp_host == "mail"
    with pytest.raises(ConfigurationError, match="SMTP_FROM_NAME holds bytes that are no UTF-8"):
        _ = settings.smtp_from_name


def test_an_env_file_that_is_a_folder_is_said_and_stops_only_who_relies_on_it(env_file, monkeypatch):
    env_file.mkdir()
    monkeypatch.setenv("DATABASE_URL", URL)
    settings = read_settings()
    assert settings.database_url is not None
    assert settings.problems_of("producer") == settings.problems_of("migrator") == []
    for role in ("worker", "work", "api"):
        assert ".env cannot be read" in settings.problems_of(role)[0]


def test_a_link_of_kubernetes_to_a_service_counts_as_not_set(monkeypatch):
    for name in ("PORT", "API_PORT", f"{PREFIX}API_PORT", "METRICS_PORT", "SMTP_PORT"):
        monkeypatch.setenv(name, "tcp://10.96.0.7:80")
    settings = load_settings()
    assert (settings.api_port, settings.metrics_port, settings.smtp_port) == (3001, 9191, 587)
    assert len(settings.warnings) == 5 and all("enableServiceLinks" in line for line in settings.warnings)


def test_port_serves_api_and_workers_unless_their_own_is_set(monkeypatch):
    monkeypatch.setenv("PORT", "8080")
    assert (load_settings().api_port, load_settings().metrics_port) == (8080, 8080)
    monkeypatch.setenv("METRICS_PORT", "off")
    monkeypatch.setenv("API_PORT", "4000")
    assert (load_settings().api_port, load_settings().metrics_port) == (4000, None)


def test_quotation_marks_that_became_part_of_a_value_are_pointed_at(monkeypatch):
    monkeypatch.setenv("SMTP_FROM_NAME", '"Shop"')
    settings = load_settings()
    assert settings.smtp_from_name == '"Shop"'
    assert any("SMTP_FROM_NAME" in line and "quotation marks" in line for line in settings.warnings)


def test_what_libpq_reads_acts_from_env_file_and_what_does_not_act_is_said(env_file):
    env_file.write_text(f"DATABASE_URL={URL}\nPGPASSWORD='hu sh'\nPGTZ=Asia/Tokyo\nAWS_ACCESS_KEY_ID=key\n")
    settings = load_settings()
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == f"{URL}?password=hu%20sh"
    assert settings.library["AWS_ACCESS_KEY_ID"] == "key"
    assert any("PGTZ in .env does not act" in line for line in settings.warnings)


def test_the_overview_shows_value_and_source_of_each_and_no_secret(monkeypatch, env_file, tmp_path):
    (tmp_path / "token").write_text("hush-token\n")
    env_file.write_text("SMTP_USER=mailer\nSMTP_PASS=hush-mail\nSMTP_PORT=abc\n")
    for name, value in {
        "DATABASE_URL": "postgresql+asyncpg://u:hush-db@h/db?pgbouncer=true",
        "API_TOKEN_FILE": str(tmp_path / "token"),
        f"{PREFIX}LOG_LEVEL": "debug",
        "REPORT_STORAGE_URL": "s3://key:hush-s3@bucket/reports",
        "PGSSLMODE": "require",
    }.items():
        monkeypatch.setenv(name, value)
    _, rows = overview()
    found = {row.setting: row for row in rows}
    assert set(found) >= {name.upper() for name in Settings.model_fields}
    assert found["DATABASE_URL"].value == "postgresql://u:***@h/db"
    assert (found["API_TOKEN"].value, found["API_TOKEN"].source.split(",")[0]) == (
        "set",
        "API_TOKEN_FILE (environment)",
    )
    assert (found["SMTP_PASS"].value, found["SMTP_PASS"].source) == ("set", "SMTP_PASS in .env")
    assert (found["LOG_LEVEL"].value, found["LOG_LEVEL"].source) == ("debug", f"{PREFIX}LOG_LEVEL (environment)")
    assert (found["ENCRYPTION_KEY"].value, found["ENCRYPTION_KEY"].source) == ("unset", "default")
    assert found["SMTP_PORT"].problem and "Correct it in .env" in found["SMTP_PORT"].problem
    assert (found["PGSSLMODE"].value, found["REPORT_STORAGE_URL"].value) == ("set", "s3://***@bucket/reports")
    assert "hush" not in repr(rows)


def test_a_file_that_another_setting_is_named_like_is_no_file_of_it(tmp_path):
    reading = read_sources(["USERS_FILE"], None, {"USERS_FILE": "/etc/users"})
    assert reading.values == {"USERS_FILE": "/etc/users"}
    assert read_all().faults == {}


def test_what_env_file_says_to_libraries_acts_in_processes_of_ours(monkeypatch, env_file):
    import callboard.app

    env_file.write_text("AWS_ACCESS_KEY_ID=from-file\nAWS_DEFAULT_REGION=from-file\nPGPASSWORD=hush\n")
    environ = {"AWS_DEFAULT_REGION": "from-environment"}
    monkeypatch.setattr("callboard.app.os.environ", environ)
    monkeypatch.setattr("callboard.settings.sources.os.environ", environ)
    monkeypatch.setattr(callboard.app, "get_settings", read_settings)
    callboard.app.export_library_variables()
    # libpq's own go with the address instead, also in a producer.
    assert environ == {"AWS_DEFAULT_REGION": "from-environment", "AWS_ACCESS_KEY_ID": "from-file"}
