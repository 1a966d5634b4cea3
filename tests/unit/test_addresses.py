"""Which addresses are the public Internet's, and which ones an operator allows besides."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from turnstream.addresses import is_public
from turnstream.settings import FetchSettings

NAT64 = int(IPv6Address("64:ff9b::"))
MAPPED = int(IPv6Address("::ffff:0:0"))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.255",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.9",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::1%lo",
        "::127.0.0.1",
        "::8.8.8.8",
        "::ffff:0:10.0.0.1",
        "64:ff9b:1::8.8.8.8",
        "100::1",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:1::1",
        "2001:db8::1",
        "2002:0808:0808::1",
        "2002:7f00:1::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    """This machine, its networks, clouds' metadata, groups and what is reserved are not the public Internet."""
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "192.0.1.1",
        "223.255.255.255",
        "2606:4700::1111",
        "2a00:1450::1",
        "2001:4860::8888",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
    ],
)
def test_public_addresses(address: str) -> None:
    """Addresses beside the special blocks are public, and so is one that carries such a one."""
    assert is_public(ip_address(address))


@given(st.ip_addresses())
def test_what_python_knows_is_known(address: IPv4Address | IPv6Address) -> None:
    """No address is public that Python calls private, local, a group or reserved, but for those that carry another."""
    carries = isinstance(address, IPv6Address) and (address.ipv4_mapped or int(address) >> 32 == NAT64 >> 32)
    special = address.is_private or address.is_link_local or address.is_multicast or address.is_reserved
    assert carries or not (special and is_public(address))


@given(st.ip_addresses(v=4), st.sampled_from([NAT64, MAPPED]))
def test_carried_addresses(address: IPv4Address, prefix: int) -> None:
    """An IPv6 address that leads to an IPv4 one is public if that one is."""
    assert is_public(IPv6Address(prefix | int(address))) == is_public(address)


@given(st.ip_addresses(v=4), st.integers(0, (1 << 64) - 1))
def test_tunnels(address: IPv4Address, rest: int) -> None:
    """Addresses of tunnels, which may end anywhere, are not public."""
    six_to_four = 0x2002 << 112 | int(address) << 80 | rest
    teredo = 0x2001_0000 << 96 | rest << 32 | int(address) ^ 0xFFFF_FFFF
    assert not is_public(IPv6Address(six_to_four))
    assert not is_public(IPv6Address(teredo))


def test_what_an_operator_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks, single addresses and names may be allowed; a name's case does not matter."""
    monkeypatch.setenv("TURNSTREAM_FETCH_ALLOW", '["Files.Corp", "10.1.0.0/16", "10.2.0.1", "fd00::/8"]')
    networks = [ip_network(network) for network in ("10.1.0.0/16", "10.2.0.1/32", "fd00::/8")]
    assert FetchSettings().fetch_allow == ["files.corp", *networks]


@pytest.mark.parametrize("wrong", ["10.0.0.1/8", "http://files.corp", "files.corp:80", "*", "", "10.0.0.0/33"])
def test_what_an_operator_cannot_mean(wrong: str) -> None:
    """What is neither a network nor a host's name stops the process at its start, instead of allowing nothing."""
    with pytest.raises(ValidationError):
        FetchSettings.model_validate({"fetch_allow": [wrong]})
