"""Settings as one value: what can be read is there, what cannot raises when it is used."""

from __future__ import annotations

import os
from typing import Any

from pydantic import ValidationError

from callboard.errors import ConfigurationError
from callboard.postgres_url import PG_VARIABLES, read_url, with_variables
from callboard.settings.fields import ACCOUNTS, ENV_FILE, Settings
from callboard.settings.sources import ALIASES, PREFIX, Reading, read_sources

_UNSET: Any = object()


def load_settings(**overrides: Any) -> Settings:
    """Read and check all settings.

    Raises: ConfigurationError with one line a problem: the variable, its value unless secret, what to do.
    """
    settings = read_settings(**overrides)
    if settings.faults:
        raise ConfigurationError(*dict.fromkeys(settings.faults.values()))
    return settings


def read_settings(*, reading: Reading | None = None, _env_file: Any = _UNSET, **overrides: Any) -> Settings:
    """Read all settings. Nothing is raised: one that is wrong raises ConfigurationError when it is used."""
    found = read_all(_env_file) if reading is None else reading
    faults = {name.lower(): sentence for name, sentence in found.faults.items()}
    given = {name.lower(): value for name, value in found.values.items()} | overrides
    dropped = _judge_database_url(given, found, faults)
    settings = _validated(given, found, faults)
    if found.env_file_fault is not None:
        faults[ENV_FILE] = found.env_file_fault
    # In the order of the fields, as every list of problems is read.
    order = [*Settings.model_fields, ENV_FILE]
    settings._faults.update(sorted(faults.items(), key=lambda item: order.index(item[0])))  # noqa: SLF001 - its own maker
    for name in faults:
        settings.__dict__.pop(name, None)
    settings._warnings.extend(dict.fromkeys(found.warnings))  # noqa: SLF001 - the same
    settings._library.update(found.library)  # noqa: SLF001 - the same
    settings._warnings.extend(  # noqa: SLF001 - the same
        f"{name} in .env does not act: libpq reads it from the environment only. Set it there, or what it says in "
        "DATABASE_URL."
        for name in found.library
        if name.startswith("PG") and name not in PG_VARIABLES
    )
    settings._dropped.extend(dropped)  # noqa: SLF001 - the same
    return settings


def read_all(env_file: Any = _UNSET) -> Reading:
    """Look all variables up; env_file replaces the .env of this folder."""
    place = Settings.model_config.get("env_file") if env_file is _UNSET else env_file
    return read_sources([name.upper() for name in Settings.model_fields], place)


def _judge_database_url(given: dict[str, Any], found: Reading, faults: dict[str, str]) -> tuple[str, ...]:
    """Put what libpq is to be told in place of DATABASE_URL, or a fault; return what was left out of it."""
    value = given.get("database_url")
    if not isinstance(value, str):
        return ()
    try:
        read = read_url(value, found.library | os.environ)
    except ConfigurationError as error:
        origin = found.origins.get("DATABASE_URL")
        source = "" if origin is None or origin.variable == "DATABASE_URL" else f" (set by {origin})"
        faults["database_url"] = f"{' '.join(error.problems)}{source}"
        del given["database_url"]
        return ()
    given["database_url"] = with_variables(read.url, found.library)
    return read.dropped


def _validated(given: dict[str, Any], found: Reading, faults: dict[str, str]) -> Settings:
    """Return the settings with defaults in place of what is wrong; what that is goes to the faults."""
    defaults = {name: field.get_default(call_default_factory=True) for name, field in Settings.model_fields.items()}
    values = defaults | given
    # An account without its secret is none: what is wrong with one of them is wrong with both.
    partner = ACCOUNTS | {account: secret for secret, account in ACCOUNTS.items()}
    for name in [*faults]:
        faults.setdefault(partner.get(name, name), faults[name])
    tried = False
    while True:
        values |= {name: defaults[name] for name in faults}
        try:
            # Without the library's own look into .env, which raises for one that cannot be read.
            return Settings(**values, _env_file=None)
        except ValidationError as error:
            items: list[dict[str, Any]] = [dict(item) for item in error.errors()]
        if tried:
            raise ConfigurationError(*(_problem(str(item["loc"][0]), item, found) for item in items))
        tried = True
        for item in items:
            name = str(item["loc"][0])
            faults[name] = _problem(name, item, found)
            faults.setdefault(partner.get(name, name), faults[name])


def _problem(name: str, item: dict[str, Any], found: Reading) -> str:
    """Phrase one validation error as variable, value, remedy."""
    text = str(item["msg"]).removeprefix("Value error, ")
    text = text[:1].lower() + text[1:]
    field, variable = Settings.model_fields[name], name.upper()
    origin = found.origins.get(variable)
    got = "a secret value that is not shown" if is_secret(name) else repr(item.get("input"))
    place = ".env" if origin is not None and origin.place == ".env" else "the environment"
    default = "" if field.default is None else f" for {_shown(field.default)}"
    what = f"{variable} ({field.description})"
    if origin is not None and origin.variable != variable:
        own = origin.variable.removeprefix(PREFIX).removesuffix("_FILE")
        of = [name for name, aliases in ALIASES.items() if own in aliases]
        # An alias is wrong once, whatever it stands for.
        what, default = (
            (f"{origin.variable} (for {' and '.join(of)})", "") if of else (f"{what}, set by {origin}", default)
        )
    return f"{what}: {text}, got {got}. Correct it in {place} or remove it{default}."


def is_secret(name: str) -> bool:
    """Tell whether a field's value must not be shown."""
    return "SecretStr" in str(Settings.model_fields[name].annotation)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "the default" if "Undefined" in str(value) else str(value)
