"""Why a port cannot be listened on: each cause has a sentence, and only a taken port is called taken."""

from __future__ import annotations

import errno
import os
import re
import socket

import pytest

from callboard.errors import AddressRefused, PortTaken
from callboard.processes.listening import Address, open_listeners


def address(host, port=0):
    return Address(host, port, "METRICS_HOST", "METRICS_PORT", "another or to off")


def listened(host, port=0):
    """Return the names of what is listened on, closed again."""
    listeners = open_listeners(address(host, port))
    try:
        return {listener.getsockname()[0] for listener in listeners}
    finally:
        for listener in listeners:
            listener.close()


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("127.0.0.1", {"127.0.0.1"}),
        ("0.0.0.0", {"0.0.0.0"}),
        pytest.param("::1", {"::1"}, marks=needs_ipv6),
        pytest.param("[::1]", {"::1"}, marks=needs_ipv6),
        pytest.param("::", {"::"}, marks=needs_ipv6),
    ],
)
def test_addresses_of_both_kinds_are_listened_on(host, found):
    assert listened(host) == found


def test_a_name_stands_for_all_its_addresses():
    assert "127.0.0.1" in listened("localhost")


@needs_ipv6
def test_two_colons_stand_for_ipv4_too():
    (listener,) = open_listeners(address("::"))
    with listener, socket.create_connection(("127.0.0.1", listener.getsockname()[1]), timeout=5):
        pass


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_is_called_taken(host):
    with socket.create_server((host, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=f"METRICS_PORT={port} is taken.*Set METRICS_PORT to another or to off"):
            open_listeners(address(host, port))


def test_a_name_that_does_not_resolve_is_named():
    with pytest.raises(AddressRefused, match=r"METRICS_HOST=nowhere\.invalid does not resolve"):
        open_listeners(address("nowhere.invalid"))


@pytest.mark.parametrize("host", ["a" * 80, "no such name", "300.300.300.300", "::g"])
def test_what_is_no_name_is_named(host):
    with pytest.raises(AddressRefused, match=f"METRICS_HOST={re.escape(host)} does not resolve"):
        open_listeners(address(host))


@pytest.mark.parametrize("host", ["192.0.2.1", pytest.param("2001:db8::1", marks=needs_ipv6)])
def test_an_address_of_another_machine_is_named(host):
    with pytest.raises(AddressRefused, match=f"METRICS_HOST={host} is no address of this machine"):
        open_listeners(address(host))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EACCES, "METRICS_PORT=80 may not be opened by this user.*1024"),
        (errno.EPERM, "METRICS_PORT=80 may not be opened by this user.*1024"),
        (errno.EAFNOSUPPORT, "IPv6 switched off"),
        (errno.EMFILE, "Nothing can listen at METRICS_HOST=127.0.0.1, METRICS_PORT=80: Too many open files"),
        (errno.ENOBUFS, "Nothing can listen at METRICS_HOST=127.0.0.1, METRICS_PORT=80"),
    ],
)
def test_every_other_refusal_has_its_own_sentence(monkeypatch, number, said):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("callboard.processes.listening._open", refuse)
    with pytest.raises(AddressRefused, match=said):
        open_listeners(address("127.0.0.1", 80))


def test_a_machine_without_ipv6_listens_on_the_rest_of_a_name(monkeypatch):
    from callboard.processes import listening

    really = listening._open

    def without_ipv6(family, place):
        if family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        return really(family, place)

    monkeypatch.setattr(listening, "_open", without_ipv6)
    places = [(socket.AF_INET6, ("::1", 0, 0, 0)), (socket.AF_INET, ("127.0.0.1", 0))]
    monkeypatch.setattr(listening, "_places", lambda _: places)
    assert listened("localhost") == {"127.0.0.1"}
    # And where it is all that was asked for, that is said
    monkeypatch.setattr(listening, "_places", lambda _: places[:1])
    with pytest.raises(AddressRefused, match=r"IPv6 switched off.*0\.0\.0\.0"):
        open_listeners(address("::"))
