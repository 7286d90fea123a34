"""Actors of a shop on a bad night, whose worker runs in a folder that holds a copy of this file and prices.json.

tests/acceptance/test_operations_page.py replays that night. Line numbers of this file stand on the page.
"""

from __future__ import annotations

import json
from pathlib import Path

import actors  # noqa: F401 - names the broker that Dramatiq looks up
from callboard.app import actor
from callboard.errors import PermanentError


@actor(queue_name="orders", max_retries=1, min_backoff=10, max_backoff=10)
def bill_order(goods: str, quantity: int) -> None:
    """Work out what an order costs."""
    if quantity < 1:
        raise PermanentError(f"an order needs a quantity of 1 or more, got {quantity}")
    price_of(goods)


def price_of(goods: str) -> float:
    prices = json.loads(Path("prices.json").read_text(encoding="utf-8"))
    return float(prices[goods])


@actor(queue_name="orders")
def confirm_order(to: str) -> None:
    """Refuse, as a mail server does that does not know the mailbox."""
    raise PermanentError("550 5.1.1 mailbox does not exist")
