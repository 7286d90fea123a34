"""Whether a lost connection is an outage.

Servers end sessions on purpose: an idle_session_timeout, an administrator, a failover, a pooler that is restarted. Such
a session is replaced at once, and there is nothing to say. Only where the next one does not work either is the database
away; that is said once, and waited for.
"""

from __future__ import annotations

from typing import Any

import psycopg2

from callboard.db.grants import told
from callboard.errors import DatabaseMisconfigured, DatabaseUnavailable
from callboard.log import get_logger

log = get_logger(__name__)

#: Wait between tries while the database is away, s.
RECONNECT_WAIT_S = 0.5


class Outage:
    """What one loop over a connection of its own says about its losses, and how long it waits."""

    def __init__(
        self,
        *,
        lost: str,
        back: str,
        denied: str,
        denials: tuple[type[Exception], ...] = (psycopg2.errors.InsufficientPrivilege,),
        work_ends_denials: bool = False,
        refused: str | None = None,
    ) -> None:
        self._lost = lost
        #: Said, as an error, where the connection works and a statement lacks a grant, or what else denials are.
        self._denied = denied
        self._denials = denials
        #: Work is what was denied, done at last; elsewhere a tick may pass that does not come to the denied statement.
        self._work_ends_denials = work_ends_denials
        #: Said in place of lost, as an error, where Postgres refuses for good.
        self._refused = refused
        self._back = back
        #: The connection was lost and nothing has been done on a new one yet.
        self._is_replacing = False
        self._denials_said: set[str] = set()
        #: It was said.
        self.is_known = self._is_known_refused = False

    def note_loss(self, error: Exception, **fields: Any) -> float:
        """Say that the database is away, once, if it is; return how long to wait before the next try, s."""
        if isinstance(error, self._denials):
            self._note_denial(error, fields)
            return RECONNECT_WAIT_S
        if not self.is_known and not self._is_replacing and is_end_of_session(error):
            self._is_replacing = True
            log.debug("connection has ended and is made anew", error=str(error).strip())
            return 0.0
        is_refused = self._refused is not None and isinstance(error, DatabaseMisconfigured)
        if is_refused and not self._is_known_refused:
            # Also where its connections were lost first, and that was said: this does not pass by itself.
            log.error(str(self._refused), error=str(error), **fields)
        elif not self.is_known:
            log.warning(self._lost, error=str(error).strip(), **fields)
        self.is_known, self._is_known_refused = True, is_refused
        return RECONNECT_WAIT_S

    def _note_denial(self, error: Exception, fields: dict[str, Any]) -> None:
        """Say each denial once, until work ends it: a new connection opens, and the next try is denied the same."""
        said = str(error)
        if said not in self._denials_said:
            self._denials_said.add(said)
            log.error(self._denied, error=told("worker", error), **fields)
        self.is_known = self.is_known or self._work_ends_denials

    def note_work(self) -> None:
        """Note that something was done on the connection: the database is there."""
        if self.is_known:
            log.info(self._back)
        if self._work_ends_denials:
            self._denials_said.clear()
        self.is_known = self._is_known_refused = self._is_replacing = False


def is_end_of_session(error: Exception) -> bool:
    """Tell the end of a session that worked from one that could not be opened, a silence, and a statement's error."""
    if isinstance(error, DatabaseUnavailable | TimeoutError):
        return False
    if not isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
        return False
    code = error.pgcode or ""
    # 57P01 and its kin, connection failures, and what a pooler says when it gives up (08P01); none from a dead socket.
    return not code or code.startswith(("57P", "08"))
