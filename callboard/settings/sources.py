"""Where values come from, and that each means the same wherever it stands.

A variable may be set by its own name or by its twin CALLBOARD_…, directly or as the file that NAME_FILE names, in the
environment or in .env. Nothing here raises: what is wrong with one value stops only whoever uses it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any
from unicodedata import category

from callboard.settings.announced import ANNOUNCED_FILE, read_announced

PREFIX = "CALLBOARD_"
#: The place of what `callboard dev` or `callboard demo` runs with, in its folder and while it runs.
STACK = str(ANNOUNCED_FILE)
#: Other names of a variable, which count where it is not set itself.
ALIASES = {"API_PORT": ("PORT",), "METRICS_PORT": ("PORT",)}
#: Variables of libraries; those of libpq are in callboard.postgres_url.
LIBRARY_VARIABLES = re.compile(
    r"AWS_\w+|PG[A-Z]\w*|SSL_CERT_(?:FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|(?:HTTPS?|ALL|NO)_PROXY|"
    r"(?:https?|all|no)_proxy|GOOGLE_APPLICATION_CREDENTIALS|AZURE_STORAGE_\w+|TZ"
)
#: Kubernetes sets API_PORT=tcp://10.0.0.1:80 in every pod beside a Service named "api".
_SERVICE_LINK = re.compile(r"(?:tcp|udp|sctp)://[0-9A-Fa-f.:\[\]]+:[0-9]+")
_EDGES = " \t\r\n\ufeff"
_CONTROLS = {"\0": "NUL", "\t": "a tab", "\n": "a line feed", "\r": "a carriage return", "\x1b": "an escape"}


@dataclass(frozen=True, slots=True)
class Origin:
    """Which variable gave a value, and where that stood."""

    variable: str
    place: str  # "environment", ".env", STACK
    file: str | None = None

    def __str__(self) -> str:
        where = f"{self.variable} in {self.place}" if self.place != "environment" else f"{self.variable} (environment)"
        return where if self.file is None else f"{where}, file {self.file}"


@dataclass(slots=True)
class Reading:
    """All that was found: a value or a fault for each variable that is set somewhere."""

    values: dict[str, str] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    #: By variable, a sentence each.
    faults: dict[str, str] = field(default_factory=dict)
    #: Why .env could not be read at all.
    env_file_fault: str | None = None
    #: What works, and is probably not meant.
    warnings: list[str] = field(default_factory=list)
    #: The variables of libraries that only .env sets.
    library: dict[str, str] = field(default_factory=dict)


def read_sources(names: list[str], env_file: Any, environ: Mapping[str, str] | None = None) -> Reading:
    """Look each variable up. env_file is the path of .env, several, or None: then only the environment counts."""
    environment = os.environ if environ is None else environ
    reading = Reading()
    dotenv = _read_env_files(env_file, reading)
    stack = read_announced() if env_file is not None else {}
    for name in names:
        for own in (name, *ALIASES.get(name, ())):
            if _look_up(name, own, {"environment": environment, ".env": dotenv, STACK: stack}, reading):
                break
    for key, value in dotenv.items():
        if LIBRARY_VARIABLES.fullmatch(key) and key not in environment:
            if why := _unfit(value):
                reading.warnings.append(f"{key} in .env holds {why} and is left out.")
            else:
                reading.library[key] = _clean(value)
    return reading


def _look_up(name: str, own: str, places: Mapping[str, Mapping[str, str]], reading: Reading) -> bool:
    """Take the first value that is not empty; return whether there was one, or a fault."""
    for variable, place, given, names_file in _candidates(own, places):
        origin, value = Origin(variable, place), given
        if names_file:
            origin = Origin(variable, place, file=_clean(given))
            content, why = _read_text(_clean(given)) if _clean(given) else ("", None)
            if why is not None:
                reading.faults[name] = (
                    f"{variable} names {_clean(given)!r}, which cannot be read ({why}). "
                    "Mount the file or unset the variable."
                )
                reading.origins[name] = origin
                return True
            value = content
        value = _clean(value)
        if not value:
            continue
        if own.endswith("PORT") and _SERVICE_LINK.fullmatch(value):
            reading.warnings.append(
                f"{variable} is {value}, as Kubernetes sets it for a Service of that name, and counts as not set. "
                "Set enableServiceLinks: false in the pod."
            )
            continue
        reading.origins[name] = origin
        if why := _unfit(value):
            reading.faults[name] = f"{variable} holds {why}. Take it out, or write the value anew."
        else:
            reading.values[name] = value
            if place == "environment" and len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
                reading.warnings.append(
                    f"{variable} begins and ends with quotation marks, which are part of the value: "
                    "only .env and a shell take them away."
                )
        return True
    return False


def _candidates(own: str, places: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str, str, bool]]:
    """Yield variable, place, what is there, and whether that names a file.

    The twin comes before the name wherever they stand, and of the places the first before the next.
    """
    for stem in (f"{PREFIX}{own}", own):
        for place, variables in places.items():
            for variable, names_file in ((stem, False), (f"{stem}_FILE", True)):
                if given := variables.get(variable):
                    yield variable, place, given, names_file


def _clean(value: str) -> str:
    # A secret ends with the line end of the file it was made from; a byte order mark is no part of any text.
    return value.strip(_EDGES)


def _unfit(value: str) -> str | None:
    """Return what of a value no setting may hold, with its place."""
    for number, character in enumerate(value, 1):
        kind = category(character)
        if kind in ("Cc", "Zl", "Zp") or character == "\ufeff":
            name = _CONTROLS.get(character, "a control character")
            return f"{name} (U+{ord(character):04X}) at character {number}"
        if kind == "Cs":
            return f"bytes that are no UTF-8, from character {number} on"
    return None


def _read_text(path: str) -> tuple[str, str | None]:
    """Return a file's text, or why it cannot be read."""
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        return "", str(error)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        # What Windows' own tools write for `echo … > file`.
        return content.decode("utf-16", errors="replace"), None
    # Bytes of another encoding stay marked, and are the fault of the value that holds them.
    return content.decode("utf-8", errors="surrogateescape"), None


def _read_env_files(env_file: Any, reading: Reading) -> dict[str, str]:
    """Return the variables of .env. A dollar sign stays one: nothing in a value is replaced."""
    from dotenv.parser import parse_stream

    found: dict[str, str] = {}
    paths = [env_file] if isinstance(env_file, str | os.PathLike) else list(env_file or ())
    for path in map(Path, paths):
        text, why = _read_text(str(path))
        if why is not None:
            if not os.path.lexists(path):
                continue
            reading.env_file_fault = (
                f"{path} cannot be read ({why}), so what it sets is not known. Make it a readable file, or remove it."
            )
            continue
        for binding in parse_stream(StringIO(text.lstrip("\ufeff"))):
            if binding.error:
                reading.warnings.append(f"{path}, line {binding.original.line}: not understood and left out.")
            elif binding.key is not None and binding.value:
                found[binding.key] = binding.value
    return found


def is_alias(name: str, reading: Reading) -> bool:
    """Tell whether a variable's value came by another name: PORT for METRICS_PORT."""
    origin = reading.origins.get(name)
    own = "" if origin is None else origin.variable.removeprefix(PREFIX).removesuffix("_FILE")
    return own in ALIASES.get(name, ())
