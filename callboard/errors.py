"""Every error Callboard raises, in one tree.

CallboardError
├── ConfigurationError      wrong or missing settings, all of them at once
│   ├── AddressRefused      the address to listen on is none, or not ours
│   └── DatabaseMisconfigured   Postgres refuses us for good: role, password, database's name, certificate
├── PortTaken               another program listens on the port
├── DatabaseUnavailable     no answer from Postgres within the deadline
│   └── BrokerUnavailable   send() could not store its message; carries it, sending it again is safe
├── SchemaOutdated          the database is older or newer than this code
│   └── DatabaseUnfit       the database can never hold our schema as it is
├── MissingGrant            the database's role may not do what it is used for
├── UpgradeRefused          Postgres refused to upgrade the schema
├── InvalidMessage          a message that can never be stored (too large, NUL, not JSON)
├── LeaseLost               another worker owns the message by now; this attempt may write nothing
├── NotFound                an id or a name that does not exist
├── Conflict                the thing is in a state that forbids the request
├── InvalidRequest          an operator asked for something that cannot be meant: a typo, a moment in the past
├── TooSlow                 what an operator asked for takes Postgres longer than it may
├── TemporaryError          try again later: retried within the limits
└── PermanentError          will never succeed: dead letter at once
Postponed                   not a failure: run later, counts no retry (a pause, a rate limit, a provider that is down)
Cancelled                   not an Exception: raised in the thread whose message an operator cancels

Whether a failure is temporary or permanent is its class, nowhere a string. Exceptions that are
neither (a bug, a library's own error) count as temporary.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import dramatiq.errors
from dramatiq.errors import Retry
from dramatiq.middleware import Interrupt, MiddlewareError

# Dramatiq 2 renamed it, and warns of the old name.
if TYPE_CHECKING or not hasattr(dramatiq.errors, "BrokerConnectionError"):
    from dramatiq.errors import ConnectionError as DramatiqConnectionError
else:
    from dramatiq.errors import BrokerConnectionError as DramatiqConnectionError


def one_line(text: str) -> str:
    """Return what somebody says in several lines, as libpq, servers and libraries do, in one."""
    return " ".join(text.split())


class CallboardError(Exception):
    """Anything Callboard reports on purpose."""

    #: What tells errors of one class and one place apart when failures are grouped by their cause, such as a code.
    kind: str | None = None


class ConfigurationError(CallboardError):
    """Settings are wrong; problems lists each with variable, value and remedy."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class AddressRefused(ConfigurationError):
    """The address to listen on does not resolve, is not this machine's, or may not be opened."""


class PortTaken(CallboardError):
    """Another program listens on the port; it may end, so that another try may help."""


class DatabaseMisconfigured(ConfigurationError):
    """Postgres, or what stands before it, refuses the connection until somebody corrects something: no outage."""


class DatabaseUnavailable(CallboardError):
    """Postgres did not answer within the deadline. The text is one line, whatever libpq's has."""

    def __init__(self, text: str = "") -> None:
        super().__init__(one_line(text))


class BrokerUnavailable(DatabaseUnavailable, DramatiqConnectionError):
    """A message could not be stored; `message` carries it, and sending it again is safe."""

    def __init__(self, text: str, message: Any = None) -> None:
        Exception.__init__(self, one_line(text))
        self.message = message

    def __str__(self) -> str:
        return str(self.args[0])


class SchemaOutdated(CallboardError):
    """The database's schema is not the one this code was written for."""


class DatabaseUnfit(SchemaOutdated):
    """The database can never hold our schema as it is, such as one that is not UTF-8."""


class MissingGrant(CallboardError):
    """The database's role lacks a grant; the text names the table and what is needed there."""


class UpgradeRefused(CallboardError):
    """Postgres refused to upgrade the schema; the text says at which statement, and what is missing."""


class InvalidMessage(CallboardError):
    """A message that Postgres can never store."""


class LeaseLost(CallboardError):
    """The lease of the running message has passed to another worker."""


class NotFound(CallboardError):
    """The named thing does not exist."""


class Conflict(CallboardError):
    """The named thing is in a state that forbids the request."""


class InvalidRequest(CallboardError):
    """What was asked for cannot be meant."""


class TooSlow(CallboardError):
    """What was asked for takes Postgres longer than it may."""


class TemporaryError(CallboardError):
    """A failure that may pass: the message is retried within its limits.

    retry_after_s, where the other side named a wait, replaces the usual one.
    """

    def __init__(self, text: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class PermanentError(CallboardError):
    """A failure that will not pass: the message becomes a dead letter at once."""


class Postponed(Retry, MiddlewareError):
    """Run the message later without counting a retry; raised by actors and by guards in middleware.

    Give either wait_s (seconds from now) or until (an aware datetime). reason is kept with the message.
    It is Dramatiq's Retry so that the worker logs no error, and a MiddlewareError so that a guard's
    refusal in before_process_message is not swallowed.
    """

    def __init__(self, reason: str, *, wait_s: float | None = None, until: datetime | None = None) -> None:
        if (wait_s is None) == (until is None):
            raise ValueError("Postponed needs exactly one of wait_s and until.")
        super().__init__(reason)
        self.reason = reason
        self.wait_s = wait_s
        self.until = until

    def wait_from(self, now: datetime) -> timedelta:
        """Return how long to wait from now, never negative."""
        wait = self.until - now if self.until is not None else timedelta(seconds=self.wait_s or 0)
        return max(wait, timedelta(0))


class Cancelled(Interrupt):
    """An operator asks the running message to stop.

    Raised in the middle of the actor, wherever it is. It is no Exception, so that nothing but a bare except or a
    finally stands in its way; an actor may catch it to clean up, and raises it again.
    """

    def __str__(self) -> str:
        return "An operator cancelled the message while it ran."
