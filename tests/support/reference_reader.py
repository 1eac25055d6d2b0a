"""A reference reader, written from RFC 791 and RFC 768, with which the other readers must agree."""

from mcrelay.model.addresses import number_to_address
from mcrelay.packet.frame import NETWORK_OFFSET
from mcrelay.packet.headers import Fault
from mcrelay.packet.keys import endpoint_key
from tests.support.packets import IP_HEADER, UDP_HEADER, checksum, udp_checksum

VLAN_TYPES = (0x8100, 0x88A8)
VOUCHED = 0x88  # TP_STATUS_CSUM_VALID and TP_STATUS_CSUMNOTREADY of linux/if_packet.h


def fault_of_frame(frame):
    """Return the fault of the packet in a ring frame."""
    vlan, ethertype, tags = tags_of(frame)
    if vlan:
        return Fault.TAGGED
    if ethertype != 0x0800:
        return Fault.MALFORMED
    return fault_of(captured_octets(frame)[tags:], len(frame.packet) - tags, frame.status, frame.gso)


def captured_octets(frame):
    """Return the octets of the packet that are in the ring, with the VLAN tags before the IP header."""
    return frame.packet if frame.captured is None else frame.packet[: frame.captured]


def tags_of(frame):
    """Return the VLAN of a frame, the Ethernet type of its packet, and the octets of tags before it."""
    vlan, ethertype, tags, octets = frame.tag & 0xFFF, frame.ethertype, 0, captured_octets(frame)
    while ethertype in VLAN_TYPES and tags < 8 and len(octets) >= tags + 4:
        tag = int.from_bytes(octets[tags : tags + 2], "big") & 0xFFF
        ethertype = int.from_bytes(octets[tags + 2 : tags + 4], "big")
        vlan, tags = vlan or tag, tags + 4
    return vlan, ethertype, tags


def fault_of(packet, present, status, gso):
    """Return the fault of a packet with these captured octets, and `present` octets on the wire."""
    if len(packet) < 20:
        return Fault.MALFORMED
    first, _, total, _, fragment, _, protocol, _, source, destination = IP_HEADER.unpack_from(packet)
    header = 4 * (first & 15)
    if first >> 4 != 4 or header < 20 or len(packet) < header:
        return Fault.MALFORMED
    if not header <= total <= present or protocol != 17 or checksum(packet[:header]) != 0:
        return Fault.MALFORMED
    if gso or len(packet) < present:
        return Fault.OVERSIZE
    if fragment & 0x3FFF:
        return Fault.FRAGMENT
    if total - header < 8:
        return Fault.MALFORMED
    source_port, port, length, found = UDP_HEADER.unpack_from(packet, header)
    if not 8 <= length <= total - header:
        return Fault.MALFORMED
    bare = UDP_HEADER.pack(source_port, port, length, 0) + packet[header + 8 : header + length]
    if not status & VOUCHED and found and found != udp_checksum(source + destination, bare):
        return Fault.MALFORMED
    return Fault.NONE


def fields_of(frame):
    """Return the header fields of a frame without a fault, by the names of `Headers`."""
    _, _, tags = tags_of(frame)
    packet = captured_octets(frame)[tags:]
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
        "payload": NETWORK_OFFSET + tags + header + 8,
        "length": udp_length - 8,
        "network": NETWORK_OFFSET + tags,
    }


def _key(address, port):
    return endpoint_key(number_to_address(int.from_bytes(address, "big")), port)
