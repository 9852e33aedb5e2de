"""Whether an address is one of the public internet, whatever form it is written in."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_LOW_32 = 0xFFFFFFFF
_CARRIERS = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "::/96",  # IPv4-compatible: RFC 4291, 2.5.5.1
            "::ffff:0:0/96",  # IPv4-mapped: RFC 4291, 2.5.5.2
            "::ffff:0:0:0/96",  # IPv4-translated: RFC 2765
            "64:ff9b::/96",  # NAT64: RFC 6052
        ),
    )
)
"""Networks whose addresses carry an IPv4 address in their last 32 bits, which is where they lead."""
_SPECIAL = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.0.0.0/24",  # the protocols' own, and Oracle's metadata: RFC 6890
            "192.88.99.0/24",  # relays of 6to4: RFC 7526
            "64:ff9b:1::/48",  # NAT64 of a network's own, which chooses where the IPv4 address stands: RFC 8215
            "3fff::/20",  # documentation: RFC 9637
            "5f00::/16",  # segment routing: RFC 9602
        ),
    )
)
"""What IANA's registries of special addresses name, and `ipaddress` does not in every version of Python."""
_ISATAP = (0x00005EFE, 0x02005EFE)
"""How the interface part of an ISATAP address begins: RFC 5214, 6.1."""
_METADATA = frozenset({ipaddress.IPv4Address("168.63.129.16")})
"""Services that hand a machine's keys to whoever asks from it, at addresses that look public: Azure's. Those of other
clouds are link-local (169.254.169.254), unique local (fd00:ec2::254) or shared (100.100.100.200)."""


def is_public(address: Address) -> bool:
    """Tell whether an address, and every address that it carries, is public: not loopback, private, link-local,
    shared, multicast, reserved or a cloud's metadata service."""
    if isinstance(address, ipaddress.IPv6Address):
        carried = list(_carried(address))
        if carried and not all(map(is_public, carried)):
            return False
        if any(address in network for network in _CARRIERS):
            return True
        if address.is_site_local:
            return False
    if any(address in network for network in _SPECIAL) or address in _METADATA:
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _carried(address: ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    """Yield the IPv4 addresses that an IPv6 address carries."""
    number = int(address)
    if any(address in network for network in _CARRIERS) or (number >> 32) & _LOW_32 in _ISATAP:
        yield ipaddress.IPv4Address(number & _LOW_32)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
