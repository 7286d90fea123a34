"""DATABASE_URL: what can never work is refused in a sentence without the password; what only others read is dropped."""

from __future__ import annotations

import itertools
import traceback
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg2.extensions import parse_dsn

from callboard.db.connections.target import connection_target
from callboard.errors import ConfigurationError
from callboard.postgres_parameters import FOREIGN
from callboard.postgres_url import read_url, shown_url, with_variables

SECRET = "Zq7xKvJw9"
#: Addresses that can never work, and a part of the sentence that names what is wrong and what to do.
HOPELESS = {
    "postgresql://u:Zq7@xKvJw9@h/db": "%40",
    "postgresql://u:Zq7/xKvJw9@h/db": "%2F",
    "postgresql://u:Zq7/xK@vJw9@h/db": "%2F",
    "postgresql://u:Zq7%xKvJw9@h/db": "%25",
    "postgresql://u:Zq7%00xKvJw9@h/db": "%00",
    "postgresql://u:Zq7%ffxKvJw9@h/db": "UTF-8",
    "postgresql://u:Zq7xKvJw9/db": "ends with @",
    "postgresql://u:Zq7xKvJw9@h/db?sslmode=no-verify": "sslmode",
    "postgresql://u:Zq7xKvJw9@h/db?sslmode=Zq7xKvJw9": "sslmode",
    "postgresql://u:Zq7xKvJw9@h/db?port=abc": "port",
    "postgresql://u:Zq7xKvJw9@h:abc/db": "port",
    "postgresql://u:Zq7xKvJw9@h:99999/db": "65535",
    "postgresql://u:Zq7xKvJw9@h/db?connect_timeout=soon": "connect_timeout",
    "postgresql://u:Zq7xKvJw9@h/db?target_session_attrs=master": "target_session_attrs",
    "postgresql://u:Zq7xKvJw9@h/db?sslmod=require": "sslmode",
    "postgresql://u:Zq7xKvJw9@h/db?Zq7xKvJw9=1": "does not know",
    "postgresql://u:Zq7xKvJw9@h/db?Zq7xKvJw9": "key=value",
    "postgresql://u:Zq7xKvJw9@h/db?options=-c search_path=x": "%3D",
    "postgresql://u:Zq7xKvJw9@h/db?replication=database": "replication",
    "postgresql://u:Zq7xKvJw9@h/db?ssl=perhaps": "sslmode=require",
    "postgresql://u:Zq7xKvJw9@/db": "no host",
    "postgresql://u:Zq7xKvJw9@:5432/db": "no host",
    "postgresql:///db": "no host",
    "postgresql://": "no host",
    "postgresql://u:Zq7xKvJw9@h h/db": "blank",
    # No @host at all, so that a part of the password stands where the host is.
    "postgresql://u:1@Zq7!xKvJw9": "its host",
    "postgresql://u:,Zq7~xKvJw9": "its host",
    "postgresql://u:Zq7@xKv!Jw9/db": "its host",
    "postgresql://u@h/db?password=a&Zq7xKvJw9=1": "does not know",
    "postgresql://u@h/db?pwd=a&Zq7xKvJw9=1": "does not know",
    "postgresql://u@h/db?PASSWORD=Zq7xKvJw9&sslmode=Zq7xKvJw9": "sslmode",
    "postgresql://u@h/db?password=Zq7xKvJw9&sslmod=require": "is sslmode meant?",
    "postgresql://u:Zq7\nxKvJw9@h/db": "U+000A",
    "postgresql://u:Zq7\x00xKvJw9@h/db": "U+0000",
    "'postgresql://u:Zq7xKvJw9@h/db'": "quotation marks",
    '"postgresql://u:Zq7xKvJw9@h/db"': "quotation marks",
    "host=h user=u password=Zq7xKvJw9": "key=value",
    "mysql://u:Zq7xKvJw9@h/db": "postgresql://",
    "https://u:Zq7xKvJw9@h/db": "postgresql://",
    "jdbc:postgresql://h/db?user=u&password=Zq7xKvJw9": "jdbc:",
    "postgresql:/u:Zq7xKvJw9@h/db": "postgresql://",
    "//u:Zq7xKvJw9@h/db": "postgresql://",
    "Zq7xKvJw9": "postgresql://",
    "": "empty",
}


def reveals(text: str, secret: str = SECRET) -> bool:
    """Tell whether three letters in a row of the password stand in the text."""
    return any(secret[at : at + 3] in text for at in range(len(secret) - 2))


@pytest.mark.parametrize(("url", "names"), HOPELESS.items(), ids=HOPELESS)
def test_what_can_never_work_is_named_with_its_remedy_and_without_the_password(url, names):
    with pytest.raises(ConfigurationError) as caught:
        read_url(url, {})
    text = "".join(traceback.format_exception(caught.value))
    said = str(caught.value)
    assert names in said and said.startswith("DATABASE_URL")
    # Neither in the sentence nor in anything that is chained to it.
    assert not reveals(said) and caught.value.__cause__ is None and caught.value.__context__ is None
    assert not reveals(text.replace(url, ""))


@pytest.mark.parametrize("url", [url for url in HOPELESS if "://" in url], ids=repr)
def test_it_is_refused_before_a_connection_is_tried(url, monkeypatch):
    monkeypatch.setattr("psycopg2.connect", lambda *_, **__: pytest.fail("tried to connect"))
    monkeypatch.delenv("PGHOST", raising=False)
    with pytest.raises(ConfigurationError):
        connection_target(url)


def test_pairs_that_cannot_be_read_do_not_repeat_the_password():
    with pytest.raises(ConfigurationError) as caught:
        connection_target(f"host=h {SECRET}")
    assert not reveals(str(caught.value)) and caught.value.__context__ is None


WORKING = {
    "postgresql://u:Zq7#xKvJw9@h/db": "Zq7#xKvJw9",
    "postgresql://u:Zq7?xKvJw9@h/db": "Zq7?xKvJw9",
    "postgresql://u:Zq7:xKvJw9@h:5432/db": "Zq7:xKvJw9",
    "postgresql://u:Zq7$xKvJw9@h/db": "Zq7$xKvJw9",
    "postgresql://u:Zq7%40xKvJw9@h/db": "Zq7@xKvJw9",
    "postgres://u:Zq7xKvJw9@h/db": SECRET,
    "postgresql://u:Zq7xKvJw9@h/db?": SECRET,
    "postgresql://u:Zq7xKvJw9@h1:5432,h2/db?target_session_attrs=read-write": SECRET,
    "postgresql://u:Zq7xKvJw9@[::1]:5432/db": SECRET,
    "postgresql://u:Zq7xKvJw9@/db?host=/var/run/postgresql": SECRET,
    "postgresql://u:Zq7xKvJw9@%2Ftmp/db": SECRET,
    "postgresql://u@h/db?password=Zq7xKvJw9&application_name=me@here": SECRET,
    "postgresql://u:Zq7xKvJw9@h?sslmode=verify-full&sslrootcert=/etc/ca.pem": SECRET,
    "postgresql://u:Zq7xKvJw9@h/db?options=-c%20search_path%3Dx": SECRET,
}


@pytest.mark.parametrize(("url", "password"), WORKING.items(), ids=WORKING)
def test_what_works_with_libpq_passes_as_it_is_and_is_shown_without_the_password(url, password):
    found = read_url(f"\ufeff {url}\r\n", {})
    assert (found.url, found.dropped) == (url, ())
    assert parse_dsn(found.url)["password"] == password
    assert not reveals(shown_url(url)) and "***" in shown_url(url)


@pytest.mark.parametrize("scheme", ["postgresql+psycopg2", "postgresql+asyncpg", "postgres+psycopg", "POSTGRESQL"])
def test_a_drivers_tag_is_dropped(scheme):
    found = read_url(f"{scheme}://u:{SECRET}@h/db?sslmode=require", {})
    assert found.url == f"postgresql://u:{SECRET}@h/db?sslmode=require"
    assert len(found.dropped) == ("+" in scheme)


@pytest.mark.parametrize("name", sorted({*FOREIGN, "connectTimeout", "currentSchema"}))
def test_what_only_other_drivers_read_is_dropped(name):
    found = read_url(f"postgresql://u:p@h/db?{name}=1&sslmode=require", {})
    assert found.url == "postgresql://u:p@h/db?sslmode=require"
    assert len(found.dropped) == 1 and name.lower() in found.dropped[0]


@pytest.mark.parametrize(("value", "mode"), [("true", "require"), ("1", "require"), ("verify-full", "verify-full")])
def test_what_other_drivers_call_ssl_is_not_lost(value, mode):
    assert parse_dsn(read_url(f"postgresql://u@h/db?ssl={value}", {}).url)["sslmode"] == mode


def test_one_warning_a_process_says_what_was_dropped(caplog, monkeypatch):
    monkeypatch.setattr("callboard.db.connections.target._said", set())
    for _ in range(3):
        connection_target("postgresql+asyncpg://u@h/db?pgbouncer=true&schema=public")
    (record,) = caplog.records
    assert all(word in record.getMessage() for word in ("+asyncpg", "pgbouncer", "schema", "QUEUE_LISTEN=off"))


def test_variables_of_libpq_fill_in_what_the_address_leaves_open():
    url = with_variables("postgresql://u@h/db", {"PGPASSWORD": "p &?@/", "PGHOST": "other", "PGSSLMODE": "require"})
    assert parse_dsn(url) == {"user": "u", "password": "p &?@/", "host": "h", "dbname": "db", "sslmode": "require"}
    assert "p &" not in unquote(shown_url(url))


@given(st.text(min_size=1).filter(lambda text: text.isprintable() and "\x00" not in text))
def test_any_password_that_is_encoded_arrives_whole(password):
    url = f"postgresql://u:{quote(password, safe='')}@h:5432/db?sslmode=require"
    assert parse_dsn(read_url(url, {}).url)["password"] == password
    assert shown_url(url) == "postgresql://u:***@h:5432/db?sslmode=require"


#: What people put into passwords, around letters that appear nowhere else.
PARTS = st.lists(st.sampled_from([*"@/%#?:&=$ []+,;\\'\"", "Zq7", "xKv", "Jw9"]), min_size=1, max_size=8)


@given(PARTS, st.sampled_from(["", "?sslmode=no-verify", "?pgbouncer=true", "?Jw9=1", "?port=Zq7", ":x/"]))
def test_any_password_as_it_is_either_arrives_whole_or_is_nowhere_shown(parts, end):
    password = "".join(parts)
    url = f"postgresql://u:{password}@h/db{end}"
    try:
        found = read_url(url, {})
    except ConfigurationError as error:
        said = str(error)
    else:
        said = f"{shown_url(url)} {found.dropped}"
    assert not any(letters in said for letters in {"Zq7", "xKv", "Jw9"} & {*parts})


def test_an_accepted_address_means_to_libpq_what_it_says():
    users, hosts, paths = ["", "u@", "u:p@", "u:p:q@"], ["h", "h:5432", "h,i:1", "[::1]"], ["", "/", "/db", "/a/b"]
    for user, host, path, query in itertools.product(users, hosts, paths, ["", "?", "?sslmode=require&port=1"]):
        url = f"postgresql://{user}{host}{path}{query}"
        assert parse_dsn(read_url(url, {}).url) == parse_dsn(url)
