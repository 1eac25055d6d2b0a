"""A reference reader, written from RFC 791 and RFC 768, with which the other readers must agree."""

from mcrelay.model.addresses import number_to_address
from mcrelay.packet.frame import NETWORK_OFFSET, TP_STATUS_VLAN_VALID
from mcrelay.packet.headers import Fault
from mcrelay.packet.keys import endpoint_key
from tests.support.packets import IP_HEADER, UDP_HEADER, checksum


def fault_of_frame(frame):
    """Return the fault of the packet in a ring frame."""
    return fault_of(captured_octets(frame), len(frame.packet), frame.status, frame.gso)


def captured_octets(frame):
    """Return the octets of the packet that are in the ring."""
    return frame.packet if frame.captured is None else frame.packet[: frame.captured]


def fault_of(packet, present, status, gso):
    """Return the fault of a packet with these captured octets, and `present` octets on the wire."""
    if status & TP_STATUS_VLAN_VALID:
        return Fault.TAGGED
    if len(packet) < 20:
        return Fault.MALFORMED
    first, _, total, _, fragment, _, protocol, _, _, _ = IP_HEADER.unpack_from(packet)
    header = 4 * (first & 15)
    if first >> 4 != 4 or header < 20 or len(packet) < header:
        return Fault.MALFORMED
    if not header <= total <= present or protocol != 17 or checksum(packet[:header]) != 0:
        return Fault.MALFORMED
    if gso or len(packet) < present:
        return Fault.OVERSIZE
    if fragment & 0x3FFF:
        return Fault.FRAGMENT
    if total - header < 8 or not 8 <= UDP_HEADER.unpack_from(packet, header)[2] <= total - header:
        return Fault.MALFORMED
    return Fault.NONE


def fields_of(packet):
    """Return the header fields of a packet without a fault, by the names of `Headers`."""
    first, tos, _, _, _, ttl, _, _, source, destination = IP_HEADER.unpack_from(packet)
    header = 4 * (first & 15)
    source_port, destination_port, udp_length, _ = UDP_HEADER.unpack_from(packet, header)
    return {
        "destination_address": int.from_bytes(destination, "big"),
        "source_address": int.from_bytes(source, "big"),
        "destination": _key(destination, destination_port),
        "source": _key(source, source_port),
        "ttl": ttl,
        "tos": tos,
        "payload": NETWORK_OFFSET + header + 8,
        "length": udp_length - 8,
    }


def _key(address, port):
    return endpoint_key(number_to_address(int.from_bytes(address, "big")), port)
