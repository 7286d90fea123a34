"""Who really sent a request: the peer, or what trusted proxies say about it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from starlette.requests import HTTPConnection

from callboard.settings import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def client_address(peer: str | None, forwarded_for: Sequence[str], trusted: Iterable[Network]) -> Address | None:
    """Return the address of the nearest hop that is not a trusted proxy, or None if nobody can tell.

    forwarded_for are the X-Forwarded-For headers in their order. Each proxy appends whom it spoke to, so the list
    is read from its right end, and only as far as trusted proxies wrote it: what is left of the first
    untrusted hop is whatever that hop claims.
    """
    networks = tuple(trusted)
    hop = parse_address(peer or "")
    hops = [part.strip() for header in forwarded_for for part in header.split(",")]
    while hop is not None and hops and is_within(hop, networks):
        hop = parse_address(hops.pop())
    return hop


def client_name(request: HTTPConnection, trusted: Iterable[Network]) -> str:
    """Return what tells clients apart: the address, as far as trusted proxies say it."""
    peer = request.client.host if request.client else None
    return str(client_address(peer, request.headers.getlist("x-forwarded-for"), trusted) or peer or "unknown")


def is_within(address: Address, networks: Iterable[Network]) -> bool:
    """Say whether an address belongs to one of the networks."""
    return any(address.version == network.version and address in network for network in networks)


def parse_address(text: str) -> Address | None:
    """Return the address in a hop, with or without port; IPv4 inside IPv6 counts as IPv4.

    A zone such as %eth0 is left out: it means something on that machine only, and Postgres cannot store it.
    """
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return address
    return address.ipv4_mapped or ipaddress.IPv6Address(int(address))
