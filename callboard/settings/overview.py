"""Every setting as somebody may see it: what counts, where it came from, and what is wrong with it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from callboard.postgres_url import PG_VARIABLES, shown_url
from callboard.settings.fields import Settings
from callboard.settings.loading import is_secret, read_all, read_settings
from callboard.settings.sources import LIBRARY_VARIABLES, Reading


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One variable. A secret is only set or unset; problem says why it stops whoever uses it."""

    setting: str
    value: str
    source: str
    problem: str | None = None


def overview() -> tuple[Settings, list[SettingRow]]:
    """Return the settings, and a row for each and for each variable of a library that is set."""
    reading = read_all()
    settings = read_settings(reading=reading)
    return settings, [*_settings(settings, reading), *_libraries(reading)]


def _settings(settings: Settings, reading: Reading) -> Iterator[SettingRow]:
    for name in type(settings).model_fields:
        variable = name.upper()
        source = str(reading.origins.get(variable, "default"))
        problem = settings.faults.get(name)
        value = "set, but wrong" if problem and variable in reading.origins else _shown(name, settings.or_default(name))
        yield SettingRow(variable, value, source, problem)


def _libraries(reading: Reading) -> Iterator[SettingRow]:
    for variable in sorted({*filter(LIBRARY_VARIABLES.fullmatch, os.environ), *reading.library}):
        if not variable.startswith("PG") or variable in PG_VARIABLES:
            source = ".env" if variable in reading.library else f"{variable} (environment)"
            yield SettingRow(variable, "set", source)


def _shown(name: str, value: Any) -> str:
    if value is None or value == []:
        return "unset"
    if name == "database_url":
        return shown_url(value.get_secret_value())
    if is_secret(name):
        return "set"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ",".join(map(str, value))
    # Storage and services may be given with their login inside the address.
    return re.sub(r"//[^/@\s]*@", "//***@", str(value))
