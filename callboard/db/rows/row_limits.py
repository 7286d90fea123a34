"""What a row may hold: limits of ours, so that they are the same on every Python and for every way in.

The database has them too, for what others write (migrations 0010 and 0011); a row from before is a dead letter with
its reason.
"""

from __future__ import annotations

from typing import Any

#: Largest message that is sent, bytes of JSON.
MESSAGE_BYTES_MAX = 256 * 1024
#: Largest message that a worker takes, bytes of JSON; more than is sent, as retries add to it.
ROW_BYTES_MAX = 1024 * 1024
#: Lists and objects inside each other. Python's own end lies at some hundreds, and elsewhere in each version.
LEVELS_MAX = 100
#: Longest name of a queue or an actor, bytes: both stand in one index entry.
NAME_BYTES_MAX = 255
#: Longest dedupe key, characters.
DEDUPE_KEY_MAX = 255
#: Highest count of attempts and retries; counting on stops there.
COUNT_MAX = 1_000_000_000


def may_be_too_deep(text: str) -> bool:
    """Tell whether JSON may nest deeper than LEVELS_MAX; quick, and nearly always the last word."""
    return text.count("[") + text.count("{") > LEVELS_MAX


def is_too_deep(value: Any) -> bool:
    """Tell whether a value nests deeper than LEVELS_MAX; level by level, as recursion has an end of its own."""
    layer = [value]
    for _ in range(LEVELS_MAX):
        # Each once: a value that contains itself twice would double with every level.
        inner = {
            id(item): item
            for holder in layer
            for item in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(item, dict | list | tuple)
        }
        layer = [*inner.values()]
        if not layer:
            return False
    return True
