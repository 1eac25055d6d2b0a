"""The layout of a frame in a packet ring (TPACKET_V2, linux/if_packet.h), with the sizes mcrelay asks for.

0   struct tpacket2_hdr    status, lengths, time stamp, VLAN tag; in the host's byte order
..  struct virtio_net_hdr  10 octets right before the link header: tells super-packets (GSO) apart
..  link header            none to 16 octets, ends where the IP header begins
96  IP header
"""

from __future__ import annotations

# TPACKET_ALIGN(TPACKET2_HDRLEN) + 16 is 80 for every device with up to 16 octets of link header, and the
# virtio_net_hdr adds 10 (tpacket_rcv in net/packet/af_packet.c); 6 reserved ones align the IP header again.
RESERVED = 6
VNET_HEADER = 10
NETWORK_OFFSET = 80 + RESERVED + VNET_HEADER

HEADER_WORDS = 8  # struct tpacket2_hdr, in words of 32 bits
STATUS, LENGTH, CAPTURED, OFFSETS, SECONDS, NANOSECONDS, VLAN = range(7)  # its words
GSO_TYPE = 1  # octet of struct virtio_net_hdr; 0 is VIRTIO_NET_HDR_GSO_NONE

TP_STATUS_KERNEL = 0
TP_STATUS_USER = 1 << 0
TP_STATUS_VLAN_VALID = 1 << 4

SMALLEST_FRAME = 2048


def frame_size(mtu: int) -> int:
    """Return the octets a frame needs for IP packets up to `mtu`: a power of two, to tile blocks."""
    return max(SMALLEST_FRAME, 1 << (NETWORK_OFFSET + mtu - 1).bit_length())
