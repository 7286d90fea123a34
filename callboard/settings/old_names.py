"""Variables of the workers that Callboard replaces, and what takes their place."""

from __future__ import annotations

from collections.abc import Mapping

SUCCESSORS = {
    "SUPABASE_URL": "DATABASE_URL",
    "SUPABASE_SERVICE_ROLE_KEY": "DATABASE_URL",
    "DB_QUEUE_RETRY_AFTER": "nothing: a dead worker's messages run again within 5 s",
    "QUEUE_CONNECTION": "DATABASE_URL",
    "REDIS_URL": "DATABASE_URL",
}


def successors(environ: Mapping[str, str]) -> list[str]:
    """Return a line for each variable of the old workers that is set and has a successor here."""
    return [
        f"{old} is no longer read. Set {new} instead."
        if not new.startswith("nothing")
        else f"{old} is no longer read; set {new}."
        for old, new in SUCCESSORS.items()
        if environ.get(old)
    ]
