"""Opening a port to listen on, and saying in a sentence why that is refused."""

from __future__ import annotations

import contextlib
import errno
import socket
from dataclasses import dataclass

from callboard.errors import AddressRefused, PortTaken

BACKLOG = 128


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen, and the names of the settings that say so, for the sentences."""

    host: str
    port: int
    host_setting: str
    port_setting: str
    #: What to set the port to where it is taken.
    port_choices: str = "another"

    @property
    def literal(self) -> str:
        """The host without the brackets that an IPv6 address has in a URL."""
        return self.host.removeprefix("[").removesuffix("]")


def open_listeners(address: Address) -> list[socket.socket]:
    """Listen on every address that the host stands for; :: stands for all of IPv4 too.

    Raises: PortTaken only where another program listens there, AddressRefused for whatever else.
    """
    opened: list[socket.socket] = []
    refusals: list[OSError] = []
    with contextlib.ExitStack() as undone:
        for family, place in _places(address):
            try:
                opened.append(undone.enter_context(_open(family, place)))
            except OSError as error:
                # A name may stand for two addresses, of which the machine has one: localhost where IPv6 is off.
                if _is_about_one_address(error):
                    refusals.append(error)
                    continue
                raise _refusal(address, error) from error
        if not opened:
            raise _refusal(address, refusals[0]) from refusals[0]
        undone.pop_all()
    return opened


def is_free(address: Address) -> bool:
    """Tell whether the port can be listened on now. Raises: AddressRefused where it never can."""
    try:
        listeners = open_listeners(address)
    except PortTaken:
        return False
    for listener in listeners:
        listener.close()
    return True


def _is_about_one_address(error: OSError) -> bool:
    """Tell whether this is about one address of several, and no reason to leave the others."""
    return error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def _places(address: Address) -> list[tuple[socket.AddressFamily, tuple[object, ...]]]:
    try:
        found = socket.getaddrinfo(address.literal, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        why = error.strerror if isinstance(error, socket.gaierror) else error
        raise AddressRefused(
            f"{address.host_setting}={address.host} does not resolve: {why}. "
            f"Set {address.host_setting} to an address of this machine, or to 0.0.0.0 or :: for all of them."
        ) from error
    return list(dict.fromkeys((family, place) for family, _, _, _, place in found))


def _open(family: socket.AddressFamily, place: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Connections of a former process that are still closing do not count.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, place[0] != "::")
        listener.bind(place)
        # Two may bind one address, and only one may listen.
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _refusal(address: Address, error: OSError) -> AddressRefused | PortTaken:
    host, port = f"{address.host_setting}={address.host}", f"{address.port_setting}={address.port}"
    number = errno.EAFNOSUPPORT if error.errno == errno.EADDRNOTAVAIL and address.literal == "::" else error.errno
    match number:
        case errno.EADDRINUSE:
            return PortTaken(
                f"{port} is taken: another program listens on port {address.port} of {address.host}. "
                f"Set {address.port_setting} to {address.port_choices}, or end that program."
            )
        case errno.EADDRNOTAVAIL:
            text = (
                f"{host} is no address of this machine. Set it to one of its own, or to 0.0.0.0 or :: for all of them."
            )
        case errno.EAFNOSUPPORT:
            text = (
                f"{host} is an IPv6 address, and this machine has IPv6 switched off. Set it to 0.0.0.0 for all of IPv4."
            )
        case errno.EACCES | errno.EPERM:
            text = f"{port} may not be opened by this user: ports below 1024 are root's. Set it to 1024 or above."
        case _:
            text = f"Nothing can listen at {host}, {port}: {error.strerror or error}."
    return AddressRefused(text)
