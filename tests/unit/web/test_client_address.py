"""Who sent a request is what trusted proxies say, and nobody else."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callboard.web.requests.client_address import client_address

TRUSTED = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("185.71.76.5", [], "185.71.76.5"),
        # Nobody trusted speaks: what it claims does not count.
        ("8.8.8.8", ["185.71.76.5"], "8.8.8.8"),
        ("10.0.0.1", ["185.71.76.5"], "185.71.76.5"),
        # The client's own claim stands left of what the proxy saw.
        ("10.0.0.1", ["185.71.76.5, 8.8.8.8"], "8.8.8.8"),
        ("10.0.0.1", ["185.71.76.5", "8.8.8.8"], "8.8.8.8"),
        ("10.0.0.1", ["185.71.76.5, 10.0.0.2"], "185.71.76.5"),
        ("10.0.0.1", ["185.71.76.5, 8.8.8.8, 10.0.0.2, fd00::1"], "8.8.8.8"),
        ("10.0.0.1", ["10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["::ffff:185.71.76.5"], "185.71.76.5"),
        ("10.0.0.1", ["185.71.76.5:4711"], "185.71.76.5"),
        ("10.0.0.1", ["[2a02:5180::1]:443"], "2a02:5180::1"),
        ("10.0.0.1", ["185.71.76.5, garbage"], None),
        ("10.0.0.1", ["185.71.76.5,"], None),
        ("10.0.0.1", [""], None),
        ("testclient", ["185.71.76.5"], None),
        (None, ["185.71.76.5"], None),
        # A zone means something on the proxy's machine only.
        ("10.0.0.1", ["fe80::1%eth0"], "fe80::1"),
        ("10.0.0.1", ["[fe80::1%25eth0]:443"], "fe80::1"),
        ("10.0.0.1", ["185.71.76.5, fd00::7%wlan0"], "185.71.76.5"),
        ("fd00::1%eth0", ["185.71.76.5"], "185.71.76.5"),
        ("fe80::2%1", [], "fe80::2"),
        ("10.0.0.1", ["1.2.3.4%eth0"], None),
        ("10.0.0.1", ["fe80::1%"], None),
        ("10.0.0.1", ["["], None),
        ("10.0.0.1", ["[]:1"], None),
        ("10.0.0.1", ["::ffff:185.71.76.5%x"], "185.71.76.5"),
        ("10.0.0.1", [", ".join(["10.0.0.2"] * 1_000)], "10.0.0.2"),
        ("10.0.0.1", [", ".join(["8.8.8.8"] * 1_000)], "8.8.8.8"),
    ],
)
def test_the_nearest_untrusted_hop_is_the_client(peer, forwarded, expected):
    found = client_address(peer, forwarded, TRUSTED)
    assert found == (ipaddress.ip_address(expected) if expected else None)


@given(st.lists(st.text(alphabet="0123456789abcdef.:%[]/, \t\x00é٣", max_size=60), max_size=5), st.text(max_size=20))
@example(["fe80::1%eth0%eth1"], "fd00::1%" + "x" * 300)
def test_no_header_and_no_peer_makes_it_fail(forwarded, peer):
    for first in (peer, "10.0.0.1"):
        found = client_address(first, forwarded, TRUSTED)
        assert found is None or "%" not in str(found)
