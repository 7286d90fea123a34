"""HTTP to YooKassa with an end: a request has its time as a whole, and not anew with every byte that comes.

requests bounds the wait for the next byte alone. A side that sends its handshake, its headers or its body a byte at a
time, or one `100 Continue` after the other, would hold the thread for as long as it likes.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from callboard.watchdog import Allowance, allowing

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

#: The allowance of the request that this thread is making.
_current = threading.local()


@contextmanager
def ending_after(timeout_s: float) -> Iterator[None]:
    """Give the request in the block so long, from its connection to its last byte. Raises: TimeoutError."""
    with allowing(timeout_s) as allowance:
        _current.allowance = allowance
        try:
            yield
        finally:
            _current.allowance = None


def new_session() -> requests.Session:
    """Return a session that repeats nothing behind our back, and whose requests know their end."""
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(max_retries=0, pool_maxsize=1))
    return session


def _cover(peer: socket.socket | None) -> None:
    allowance: Allowance | None = getattr(_current, "allowance", None)
    if allowance is not None and peer is not None:
        allowance.cover(peer)


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        # Before any handshake.
        peer = super()._new_conn()
        _cover(peer)
        return peer

    def putrequest(self, *arguments: Any, **options: Any) -> None:
        # A connection that was kept belongs to this request from here on.
        _cover(self.sock)
        super().putrequest(*arguments, **options)


class _SecureConnection(_Connection, HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*arguments, **options)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        return manager
