"""The layout of a frame in a packet ring (TPACKET_V2, linux/if_packet.h), with the sizes that mcrelay sets.

0   struct tpacket2_hdr    status, lengths, time stamp, VLAN tag; in the host's byte order
..  struct virtio_net_hdr  10 octets directly before the link header: its GSO type marks super-packets
..  link header            0 to 16 octets, directly before the IP header
96  IP header
"""

from __future__ import annotations

# In octets. TPACKET_ALIGN(TPACKET2_HDRLEN) + 16 is 80 for every device with up to 16 octets of link header,
# and the virtio_net_hdr adds 10 (tpacket_rcv in net/packet/af_packet.c); 6 reserved octets align the IP
# header again.
RESERVED = 6
VNET_HEADER = 10
NETWORK_OFFSET = 80 + RESERVED + VNET_HEADER  # of the IP header

# Indexes of the fields of struct tpacket2_hdr, in words of 32 bits.
STATUS, LENGTH, CAPTURED, OFFSETS, SECONDS, NANOSECONDS, VLAN = range(7)
GSO_TYPE = 1  # offset in struct virtio_net_hdr, in octets; the value 0 is VIRTIO_NET_HDR_GSO_NONE

TP_STATUS_KERNEL = 0
TP_STATUS_USER = 1 << 0
TP_STATUS_VLAN_VALID = 1 << 4

SMALLEST_FRAME = 2048  # octets


def frame_size(mtu: int) -> int:
    """Return the octets of a frame for IP packets up to `mtu` octets: a power of two, to fill blocks."""
    return max(SMALLEST_FRAME, 1 << (NETWORK_OFFSET + mtu - 1).bit_length())
