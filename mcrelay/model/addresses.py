"""IPv4 addresses: their text, their number, and their meaning (group, loopback, host).

An address is a dotted quad (`239.1.1.1`) everywhere except in the tables of the data plane and in shared
memory. There it is a number: its four bytes in network order (`0xEF010101`). Other modules only compare
addresses and pass them on. The meaning of an address is decided here, so that support for another address
family changes this module.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address

LOOPBACK_DEVICE = "lo"
UNSPECIFIED_ADDRESS = "0.0.0.0"
FIRST_GROUP, LAST_GROUP = 0xE000_0000, 0xEFFF_FFFF
"""The numbers of the multicast groups: 224.0.0.0/4 (RFC 5771)."""
LIMITED_BROADCAST = "255.255.255.255"
"""The broadcast address of every network (RFC 919)."""
BROADCAST_UNSUPPORTED = "broadcast is not supported yet: choose a group or the address of a host"
"""The end of a message about a broadcast address."""
GROUP_RANGE = "224.0.0.0 to 239.255.255.255"
"""The multicast groups, for messages."""

_ADDRESS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}")


# Text and number.


@lru_cache(1 << 16)  # when a flow changes, the addresses of all flows are converted again
def address_to_number(address: str) -> int:
    """Return the number of an address."""
    a, b, c, d = address.split(".")
    return int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)


def number_to_address(number: int) -> str:
    """Return the address of a number; bits above the lowest 32 are ignored."""
    return f"{number >> 24 & 255}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def address_to_bytes(address: str) -> bytes:
    """Return an address as in a packet header or a struct in_addr: four bytes in network order."""
    return address_to_number(address).to_bytes(4, "big")


def normalize_address(text: str) -> str:
    """Return the dotted quad of an address that a user wrote.

    Raises ValueError if the text is not an IPv4 address.
    """
    try:
        return str(IPv4Address(text))
    except AddressValueError:
        raise ValueError(f"{text!r} is not an IPv4 address") from None


def looks_like_address(text: str) -> bool:
    """Return whether a text has the form of an address, even if one of its numbers is too large."""
    return _ADDRESS.fullmatch(text) is not None


def format_endpoint(address: str, port: int) -> str:
    """Return the text of an address with a UDP port: `239.1.1.1:5001`."""
    return f"{address}:{port}"


def split_endpoint(text: str) -> tuple[str, str | None]:
    """Return the address and the port of a text such as `239.1.1.1:5001`, both unchecked.

    The port is None if the text has no port.
    """
    address, colon, port = text.partition(":")
    return address, port if colon else None


# Meaning.


def is_group(address: str) -> bool:
    """Return whether an address is a multicast group."""
    return 224 <= _first_byte(address) <= 239


def is_group_number(number: int) -> bool:
    """Return whether the address of a number is a multicast group."""
    return FIRST_GROUP <= number <= LAST_GROUP


def is_link_local_group(address: str) -> bool:
    """Return whether an address is a group that no router forwards: 224.0.0.0/24 (RFC 5771, section 4)."""
    return address.startswith("224.0.0.")


def is_source_specific_group(address: str) -> bool:
    """Return whether a group is for source-specific multicast: 232.0.0.0/8 (RFC 4607)."""
    return address.startswith("232.")


def broadcast_address(address: str, prefix_length: int) -> str:
    """Return the broadcast address of the subnet of an address (RFC 919)."""
    return number_to_address(address_to_number(address) | 0xFFFF_FFFF >> prefix_length)


def group_ethernet_address(group: str) -> str:
    """Return the Ethernet address to which packets to a group are sent (RFC 1112, section 6.4)."""
    number = address_to_number(group)
    return f"01:00:5e:{number >> 16 & 127:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def is_loopback(address: str) -> bool:
    """Return whether an address is a loopback address: 127.0.0.0/8 (RFC 1122, section 3.2.1.3)."""
    return address.startswith("127.")


def reason_not_host(address: str, device: str = LOOPBACK_DEVICE) -> str:
    """Return the reason why no host behind `device` can have an address, or an empty text if one can.

    No host has an address of 0.0.0.0/8 (RFC 1122, section 3.2.1.3) or 240.0.0.0/4 (RFC 1112, section 4).
    """
    if is_group(address):
        return f"{address} is a multicast group, not the address of a host"
    if _first_byte(address) == 0 or _first_byte(address) >= 240:
        return f"{address} is not the address of a host"
    if is_loopback(address) and device != LOOPBACK_DEVICE:
        return f"{address} is reached through the device {LOOPBACK_DEVICE} alone, not through {device}"
    return ""


def _first_byte(address: str) -> int:
    return int(address.partition(".")[0])
