"""DATABASE_URL: what libpq is told of it, what can never work in it, and how it is shown without its password.

The address is split exactly as libpq does it, so that what is accepted here means the same there. No sentence of this
module holds a part of what could be a password; libpq's own texts do, which is why it is asked last and not quoted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote, unquote_to_bytes

import psycopg2
from psycopg2.extensions import parse_dsn

from callboard.errors import ConfigurationError
from callboard.postgres_parameters import FOREIGN, HINTS, SSL_WORDS, wrong_value

EXAMPLE = "postgresql://user:password@host:5432/name"
#: Variables that libpq reads, and the parameter that each fills in where the address leaves it open.
PG_VARIABLES = {
    "PGHOST": "host",
    "PGHOSTADDR": "hostaddr",
    "PGPORT": "port",
    "PGDATABASE": "dbname",
    "PGUSER": "user",
    "PGPASSWORD": "password",
    "PGPASSFILE": "passfile",
    "PGSERVICE": "service",
    "PGSSLMODE": "sslmode",
    "PGSSLROOTCERT": "sslrootcert",
    "PGSSLCERT": "sslcert",
    "PGSSLKEY": "sslkey",
    "PGSSLCRL": "sslcrl",
    "PGSSLNEGOTIATION": "sslnegotiation",
    "PGCHANNELBINDING": "channel_binding",
    "PGREQUIREAUTH": "require_auth",
    "PGTARGETSESSIONATTRS": "target_session_attrs",
    "PGLOADBALANCEHOSTS": "load_balance_hosts",
    "PGGSSENCMODE": "gssencmode",
}
SECRET_PARAMETERS = ("password", "sslpassword")
#: Each of them says where the server is.
_PLACES = {"host": "PGHOST", "hostaddr": "PGHOSTADDR", "service": "PGSERVICE"}
#: Shortest part of a password that must not be shown, characters.
_REVEALING = 3
#: A name, an address in brackets, or the folder of a socket, encoded.
_HOST = re.compile(r"[\w.-]*|\[[^\[\]]*\]|%(?:2[Ff]|40).*")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,40}")


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """An address that libpq takes, and a sentence on each thing that was left out of it."""

    url: str
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Parts:
    """An address split as libpq splits it; nothing is decoded."""

    driver: str
    user: str | None
    password: str | None
    hosts: str
    path: str
    query: tuple[str, ...]

    def __str__(self) -> str:
        login = "" if self.user is None else self.user + ("" if self.password is None else f":{self.password}") + "@"
        query = f"?{'&'.join(self.query)}" if self.query else ""
        return f"postgresql://{login}{self.hosts}{self.path}{query}"

    def parameters(self) -> dict[str, str]:
        return {unquote(key): unquote(value) for key, _, value in (pair.partition("=") for pair in self.query)}


def read_url(text: str, environ: Mapping[str, str], name: str = "DATABASE_URL") -> PostgresUrl:
    """Return what libpq is to be told. Raises: ConfigurationError with everything that can never work.

    environ says where the server is if the address does not.
    """
    value = text.strip(" \t\r\n\ufeff")
    if problem := _problem_of_form(value):
        raise ConfigurationError(f"{name} {problem}.")
    parts = _split(value)
    checked = _Check(_secret_part(value))
    query = tuple(checked.query(parts.query))
    checked.address(parts, query, environ)
    if "@" in f"{parts.hosts}{parts.path}" or ("@" in "".join(parts.query) and checked.problems):
        # Whatever else is wrong follows from it, and might show a part of the password.
        checked.problems = [
            "holds an @ in user or password that is not encoded, so that the host begins too early; write it as %40"
            if parts.user is not None
            else "has a / before its @, where libpq ends the host; inside user and password write / as %2F and @ as %40"
        ]
    if checked.problems:
        raise ConfigurationError(*(f"{name} {problem}." for problem in checked.problems))
    is_as_it_was = query == parts.query and value.startswith(("postgresql://", "postgres://"))
    url = value if is_as_it_was else str(replace(parts, query=query))
    if not _is_read_by_libpq(url):
        raise ConfigurationError(f"{name} cannot be read by libpq. Write it as {EXAMPLE}.")
    return PostgresUrl(url, tuple(checked.dropped))


def with_variables(url: str, variables: Mapping[str, str]) -> str:
    """Fill in what PG… variables say and the address leaves open. The address has passed read_url()."""
    given = parse_dsn(url)
    found = {PG_VARIABLES[name]: value for name, value in variables.items() if name in PG_VARIABLES and value}
    return with_parameters(url, {key: value for key, value in found.items() if not given.get(key) and is_known(key)})


def with_parameters(url: str, parameters: Mapping[str, str]) -> str:
    """Set parameters; of one that is named twice, libpq takes the last. The address has passed read_url()."""
    if not parameters:
        return url
    parts = _split(url)
    more = (f"{key}={quote(value, safe='')}" for key, value in parameters.items())
    return str(replace(parts, query=(*parts.query, *more)))


def shown_url(text: str) -> str:
    """Return the address with *** for its passwords; of one that cannot be read nothing is shown."""
    try:
        parts = _split(read_url(text, {"PGHOST": "elsewhere"}).url)
    except ConfigurationError:
        return "set, but wrong"
    hidden = (
        f"{key}=***" if unquote(key) in SECRET_PARAMETERS else f"{key}={value}"
        for key, _, value in (pair.partition("=") for pair in parts.query)
    )
    return str(replace(parts, password=parts.password and "***", query=tuple(hidden)))


def is_known(key: str) -> bool:
    """Tell whether this machine's libpq has a parameter of that name."""
    return bool(_KEY.fullmatch(key)) and _is_read_by_libpq(f"postgresql://host/name?{key}=1")


def _is_read_by_libpq(url: str) -> bool:
    try:
        parse_dsn(url)
    except (psycopg2.ProgrammingError, UnicodeError):
        return False  # Its text would repeat parts of the address.
    return True


def _problem_of_form(value: str) -> str | None:
    scheme, separator, _ = value.partition("://")
    is_postgres = bool(separator) and scheme.partition("+")[0].lower() in ("postgresql", "postgres")
    wrong = next((character for character in value if not character.isprintable()), None)
    problem = None
    if not value:
        problem = "is empty"
    elif value[0] in "\"'`" and value[-1] == value[0]:
        problem = "stands in quotation marks, which belong into .env and a shell only; take them away"
    elif wrong is not None:
        problem = f"holds a control character, or one that is not seen (U+{ord(wrong):04X}); take it away"
    elif value.lower().startswith("jdbc:"):
        problem = f"begins with jdbc:; take that away, and write it as {EXAMPLE}"
    elif not is_postgres and not separator and "=" in value:
        problem = f"is a string of key=value pairs; write it as {EXAMPLE}"
    elif not is_postgres:
        problem = f"must start with postgresql://, as in {EXAMPLE}"
    return problem


def _split(value: str) -> _Parts:
    scheme, _, rest = value.partition("://")
    user = password = None
    if "@" in rest.partition("/")[0]:
        login, _, rest = rest.partition("@")
        user, has_password, password = login.partition(":")
        password = password if has_password else None
    hosts = re.split("[/?]", rest, maxsplit=1)[0]
    path, _, query = rest[len(hosts) :].partition("?")
    pairs = tuple(pair for pair in query.split("&") if pair)
    return _Parts(scheme.partition("+")[2], user, password, hosts, path, pairs)


def _secret_part(value: str) -> str:
    """Return the longest stretch that could hold the password, however it was meant."""
    rest = value.partition("://")[2]
    before, _, _ = rest.rpartition("@")
    # To the end: an & that is not encoded ends no password that somebody wrote.
    more = re.findall(r"(?i)(?:pass|pwd|secret)\w*=(.*)", rest)
    return "\n".join([(before or rest).partition(":")[2], *more])


class _Check:
    """Collects what is wrong in an address and what is dropped from it."""

    def __init__(self, secret: str) -> None:
        self.problems: list[str] = []
        self.dropped: list[str] = []
        self._secret = f"{secret}\n{unquote(secret)}".lower()

    def shown(self, text: str) -> str:
        """Return a part of the address as it may be shown: not if it could give away a part of the password."""
        parts = (text[at : at + _REVEALING].lower() for at in range(max(len(text) - _REVEALING + 1, 1)))
        is_safe = bool(re.fullmatch(r"[\w .:/+-]{0,40}", text)) and not any(part in self._secret for part in parts)
        return repr(text) if is_safe else "one that is not shown"

    def query(self, pairs: Iterable[str]) -> Iterable[str]:
        """Yield the pairs that libpq is to get."""
        for pair in pairs:
            key, separator, value = pair.partition("=")
            if not separator or "=" in value or not _KEY.fullmatch(key):
                self.problems.append(
                    "has something after its ? that is no key=value pair; "
                    "inside a value write = as %3D, & as %26 and ? as %3F"
                )
            elif key == "ssl":
                yield from self._ssl(value)
            elif is_known(key):
                self._known(key, value)
                yield pair
            elif key.lower() in FOREIGN:
                self.dropped.append(f"{key.lower()} of {FOREIGN[key.lower()]}{HINTS.get(key.lower(), '')}")
            else:
                self._unknown(key)

    def _ssl(self, value: str) -> Iterable[str]:
        if value.lower() not in SSL_WORDS:
            self.problems.append(f"has ssl={self.shown(value)}; write sslmode=require, or sslmode=verify-full")
        elif mode := SSL_WORDS[value.lower()]:
            yield f"sslmode={mode}"
        else:
            self.dropped.append("ssl of other drivers")

    def _known(self, key: str, value: str) -> None:
        if self._decodes(f"the value of {key}", value) and (wanted := wrong_value(key, unquote(value))):
            self.problems.append(f"has a wrong {key}: it must be {wanted}, got {self.shown(unquote(value))}")

    def _unknown(self, key: str) -> None:
        import difflib  # Not for every producer's import.

        meant = difflib.get_close_matches(key, ("sslmode", "sslrootcert", "host", "port", "options", "connect_timeout"))
        # One that is misspelled is no password, wherever it stands.
        name = repr(key) if meant else self.shown(key)
        hint = f" (is {meant[0]} meant?)" if meant else ""
        self.problems.append(f"has a parameter that libpq does not know, {name}{hint}; correct it or take it away")

    def address(self, parts: _Parts, query: tuple[str, ...], environ: Mapping[str, str]) -> None:
        """Check user, password, hosts and database."""
        if parts.driver:
            self.dropped.insert(0, f"the driver's tag {self.shown(f'+{parts.driver}')}")
        for what, text in (("the user", parts.user), ("the password", parts.password), ("the database", parts.path)):
            self._decodes(what, text or "")
        given = replace(parts, query=query).parameters()
        for host in parts.hosts.split(","):
            self._host(host)
        names_host = any(re.sub(r":[0-9]*$", "", host) for host in parts.hosts.split(","))
        if not names_host and not any(given.get(key) or environ.get(name) for key, name in _PLACES.items()):
            self.problems.append(
                f"names no host; write it as {EXAMPLE}, or for a socket as postgresql:///name?host=/var/run/postgresql"
            )

    def _host(self, text: str) -> None:
        found = re.fullmatch(r"(\[[0-9A-Fa-f:.%a-z0-9]+\]|[^:\[\]]*)(?::([0-9]*))?", text)
        if found is None:
            # What stands there may be a password that no @ follows.
            self.problems.append(
                "has something else than a number as its port; a password ends with @, IPv6 addresses stand in [ ], "
                "and inside user and password / is written as %2F"
            )
        elif re.search(r"\s", text):
            self.problems.append("has a blank in its host; take it away")
        elif not _HOST.fullmatch(found[1]):
            # A part of a password that was taken for a host, and that libpq would name when it is not found.
            self.problems.append(
                "has something in its host that no host is called by; a password ends with @, and inside user and "
                "password : / @ , ? are written as %3A %2F %40 %2C %3F"
            )
        elif wanted := wrong_value("port", found[2] or ""):
            self.problems.append(f"has a wrong port: it must be {wanted}")
        else:
            self._decodes("the host", found[1])

    def _decodes(self, what: str, text: str) -> bool:
        if re.search("%(?![0-9A-Fa-f]{2})", text):
            self.problems.append(f"holds a % in {what} that is not encoded; write it as %25")
            return False
        if "%00" in text:
            self.problems.append(f"holds %00 in {what}, which libpq does not take")
            return False
        try:
            unquote_to_bytes(text).decode("utf-8")
        except UnicodeDecodeError:
            # Outside of this block, so that the error that is raised does not carry the bytes.
            is_text = False
        else:
            is_text = True
        if not is_text:
            self.problems.append(f"holds bytes in {what} that are no UTF-8; encode the text as UTF-8 first")
        return is_text
