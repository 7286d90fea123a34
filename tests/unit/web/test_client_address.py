"""Who sent a request is what trusted proxies say, and nobody else."""

from __future__ import annotations

import ipaddress

import pytest

from callboard.web.client_address import client_address

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
    ],
)
def test_the_nearest_untrusted_hop_is_the_client(peer, forwarded, expected):
    found = client_address(peer, forwarded, TRUSTED)
    assert found == (ipaddress.ip_address(expected) if expected else None)
