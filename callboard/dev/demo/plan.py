"""The fixed plan of the morning: who orders what, and what goes wrong with whom."""

from __future__ import annotations

import random
from dataclasses import dataclass
from decimal import Decimal

from callboard.dev.mail_server import MailPlan

ORDERS = 40
SEED = 20_260_105
OWNER = "owner@shop.example"

#: Order numbers by what happens to them; every other order is paid and its receipt delivered.
CANCELED = frozenset({4, 11, 19, 27, 33})
ANNOUNCED_TWICE = frozenset({2, 9, 16, 23})
OUT_OF_ORDER = frozenset({6, 14, 30})
#: Announced as paid from an address that is not YooKassa's; the customer never pays.
ANNOUNCED_FROM_OUTSIDE = 8
#: Announced as paid from a genuine address; the customer never pays.
FORGED = 21
CREATION_TIMES_OUT = 17
REFUSED_MAILBOX = 13
GREYLISTED_MAILBOX = 25
GREYLISTED_TIMES = 2
#: Its receipt is being sent when the worker process is stopped and then killed.
WORKER_KILLED = ORDERS
#: How long the mail server takes over that receipt the first time, so that there is a moment to stop the worker, s.
SLOW_MAILBOX_S = 5.0
#: Time the database may take for an answer: server, shop and workers share one machine, which may be a busy one, s.
DATABASE_TIMEOUT_S = 30.0
#: An address outside of YooKassa's networks (reserved for documentation).
OUTSIDE_ADDRESS = "203.0.113.7"


@dataclass(frozen=True)
class Order:
    """One customer's order."""

    number: int
    amount: Decimal

    @property
    def order_id(self) -> str:
        return f"A-{self.number:03d}"

    @property
    def email(self) -> str:
        return f"customer{self.number:02d}@mail.example"

    @property
    def is_paid(self) -> bool:
        return self.number not in CANCELED and self.number not in (ANNOUNCED_FROM_OUTSIDE, FORGED)

    @property
    def webhook_manner(self) -> str:
        if self.number in ANNOUNCED_TWICE:
            return "twice"
        return "out_of_order" if self.number in OUT_OF_ORDER else "once"


def orders() -> list[Order]:
    """Return the morning's orders, the same at every run."""
    chance = random.Random(SEED)  # noqa: S311 - the same morning each time, not cryptography
    return [Order(number, Decimal(chance.randint(9_900, 1_250_000)) / 100) for number in range(1, ORDERS + 1)]


def mail_plan(morning: list[Order]) -> MailPlan:
    """Return how the mail server treats the customers' mailboxes."""
    address = {order.number: order.email for order in morning}
    return MailPlan(
        refused=frozenset({address[REFUSED_MAILBOX]}),
        greylisted={address[GREYLISTED_MAILBOX]: GREYLISTED_TIMES},
        slow_once_s={address[WORKER_KILLED]: SLOW_MAILBOX_S},
    )
