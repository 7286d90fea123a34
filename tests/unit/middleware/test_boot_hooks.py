"""A worker whose start fails half-way ends: Dramatiq swallows what its hooks raise."""

from __future__ import annotations

import inspect
import pkgutil

import psycopg2
import pytest
from dramatiq.middleware import Middleware

import middleware
from callboard.errors import ConfigurationError
from middleware.boot_hooks import ends_process

BOOT_HOOKS = [
    f"{when}_{what}" for when in ("before", "after") for what in ("process_boot", "worker_boot", "consumer_boot")
]


def own_hooks() -> list[object]:
    """Return every hook of a start that our middleware defines."""
    found = []
    for module in pkgutil.iter_modules(middleware.__path__):
        for kind in vars(__import__(f"middleware.{module.name}", fromlist=["*"])).values():
            if inspect.isclass(kind) and issubclass(kind, Middleware) and kind.__module__.startswith("middleware."):
                found += [vars(kind)[name] for name in BOOT_HOOKS if name in vars(kind)]
    return found


def test_every_hook_of_a_start_ends_the_process_when_it_fails():
    hooks = own_hooks()
    assert len(hooks) >= 5
    for hook in hooks:
        assert inspect.unwrap(hook) is not hook, hook  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (ConfigurationError("METRICS_HOST is wrong."), 2, "METRICS_HOST is wrong."),
        (PermissionError(13, "Permission denied", "/metrics"), 2, "/metrics"),
        (psycopg2.errors.InsufficientPrivilege("permission denied for schema callboard"), 2, "USAGE on the schemas"),
        (RuntimeError("can't start new thread"), 1, "RuntimeError: can't start new thread"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_it_ends_with_a_sentence_and_a_code(error, code, says, capsys):
    @ends_process
    def hook(broker):
        raise error

    with pytest.raises(SystemExit) as caught:
        hook(None)
    assert caught.value.code == code
    assert says in capsys.readouterr().err
