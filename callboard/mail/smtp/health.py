"""What this process last saw of each mail server: one line when that changes, none at every attempt."""

from __future__ import annotations

import threading
import time

from callboard.log import get_logger

log = get_logger(__name__)


class ServerHealth:
    """Log a server's trouble when it begins or changes, and its end; shared by the threads of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._troubles: dict[str, str] = {}
        self._troubled_since_s: dict[str, float] = {}
        #: Mails that failed at each server since it last did its part for one, two at most.
        self._failing: dict[str, set[str]] = {}

    def is_down(self, server: str, problem: str) -> None:
        """Note that the server cannot be reached."""
        # One outage fails in many ways (refused, reset, timed out); they are one change of state.
        if self._changed(server, "down"):
            log.warning("mail server became unreachable", server=server, problem=problem)

    def is_misconfigured(self, server: str, problem: str, *, kind: str) -> None:
        """Note that no mail can leave before somebody corrects the settings."""
        # The problem may quote an answer that differs each time; its kind does not.
        if self._changed(server, kind):
            log.error("mail settings stopped working", server=server, problem=problem)

    def is_limiting(self, server: str, problem: str) -> None:
        """Note that the server takes no more mail from us for now."""
        if self._changed(server, "limit"):
            log.warning("mail server limits what we send", server=server, problem=problem)

    def fails_alone(self, server: str, mail: str) -> bool:
        """Note that a mail failed as no other might, and return whether no other did since one got through."""
        with self._lock:
            failing = self._failing.setdefault(server, set())
            if len(failing) < 2:  # noqa: PLR2004 - more would tell nothing more
                failing.add(mail)
            return failing == {mail}

    def troubled_for_s(self, server: str) -> float:
        """Return since how long this process has had trouble with the server, s."""
        with self._lock:
            since_s = self._troubled_since_s.get(server)
        return 0.0 if since_s is None else time.monotonic() - since_s

    def is_well(self, server: str) -> None:
        """Note that the server did its part for a mail."""
        with self._lock:
            had_trouble = self._troubles.pop(server, None) is not None
            self._troubled_since_s.pop(server, None)
            self._failing.pop(server, None)
        if had_trouble:
            log.info("mail server became reachable", server=server)

    def _changed(self, server: str, trouble: str) -> bool:
        with self._lock:
            before = self._troubles.get(server)
            self._troubles[server] = trouble
            self._troubled_since_s.setdefault(server, time.monotonic())
        return before != trouble


#: One for all threads of the process.
mail_health = ServerHealth()
