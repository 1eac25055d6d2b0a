"""What an IPv4 address can stand for: a group, a host, or neither."""

from __future__ import annotations

LOOPBACK_DEVICE = "lo"


def is_group(address: str) -> bool:
    """Tell whether an address is a multicast group: 224.0.0.0/4 (RFC 5771)."""
    return 224 <= _first_octet(address) <= 239


def is_link_local_group(address: str) -> bool:
    """Tell whether an address is a group that no router forwards: 224.0.0.0/24 (RFC 5771, section 4)."""
    return address.startswith("224.0.0.")


def why_no_host(address: str, device: str = LOOPBACK_DEVICE) -> str:
    """Return why an address is not one of a host that a device leads to, or nothing."""
    first = _first_octet(address)
    if is_group(address):
        return f"{address} is a multicast group, not the address of a host"
    if (
        first == 0 or first >= 240
    ):  # RFC 1122, section 3.2.1.3; RFC 1112, section 4, and the broadcast address
        return f"{address} is not the address of a host"
    if first == 127 and device != LOOPBACK_DEVICE:
        return f"{address} is reached through the device {LOOPBACK_DEVICE} alone, not through {device}"
    return ""


def _first_octet(address: str) -> int:
    return int(address.partition(".")[0])
