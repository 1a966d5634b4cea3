"""Which addresses are the public Internet's.

Python's `is_global` is not asked: what it says differs between its patch releases, and an IPv4 address that is carried
in an IPv6 one, an anycast address of the own router's and a cloud's own services pass it.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

type Address = IPv4Address | IPv6Address

# The IANA IPv4 Special-Purpose Address Registry, but for the blocks that are services on the public Internet, and
# multicast.
_SPECIAL_IPV4 = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host on this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; Alibaba's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # public by its number, but Azure's own services to a machine
        "169.254.0.0/16",  # link-local; most clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments: anycast of the own router's among them; Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
]

# All that IANA gives out as unicast addresses, and what is special in it. Private, link-local, site-local and multicast
# addresses lie outside, and so does whatever is defined next.
_UNICAST_IPV6 = IPv6Network("2000::/3")
_SPECIAL_IPV6 = [
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, which carries any IPv4 address, among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which carries any IPv4 address
        "3fff::/20",  # documentation
    )
]
# A network without IPv4 reaches all of it by this prefix (RFC 6052).
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """Tell whether an address is on the public Internet; what carries an IPv4 address is what that one is."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_IPV4)
    carried = IPv4Address(int(address) & 0xFFFF_FFFF) if address in _NAT64 else address.ipv4_mapped
    if carried:
        return is_public(carried)
    return address in _UNICAST_IPV6 and not any(address in network for network in _SPECIAL_IPV6)
