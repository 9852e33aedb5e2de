"""Which addresses are public, in whatever form they are written."""

from __future__ import annotations

import ipaddress

import pytest

from rlm_graph.fetching.addresses import is_public

INSIDE = ["127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.100.100.200", "168.63.129.16"]


def forms(inside: str) -> list[str]:
    """The same place as IPv6 writes it: mapped, compatible, translated, NAT64, 6to4, Teredo (both ends), ISATAP."""
    four = int(ipaddress.IPv4Address(inside))
    high, low = f"{four >> 16:x}", f"{four & 0xFFFF:x}"
    hidden = f"{(four ^ 0xFFFFFFFF) >> 16:x}:{(four ^ 0xFFFFFFFF) & 0xFFFF:x}"
    return [
        f"::ffff:{inside}", f"::{inside}", f"::ffff:0:{inside}", f"64:ff9b::{inside}", f"2002:{high}:{low}::1",
        f"2001:0:5db8:d822:8000:63bf:{hidden}", f"2001:0:{high}:{low}:8000:63bf:a247:27dd", f"2606:4700::5efe:{inside}",
        f"64:ff9b:1::{inside}",
    ]  # fmt: skip


@pytest.mark.parametrize("address", [*INSIDE, *(form for inside in INSIDE for form in forms(inside))])
def test_what_leads_inside_is_not_public_in_any_form(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "0.1.2.3", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1",
        "192.0.0.192", "::", "::1", "fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
        "100::1", "3fff::1", "5f00::1", "192.88.99.1",
    ],
)  # fmt: skip
def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1", "::ffff:93.184.216.34", "64:ff9b::93.184.216.34"])
def test_the_rest_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))
