"""The layout of a frame in a packet ring (TPACKET_V2, linux/if_packet.h), with the sizes that mcrelay sets.

0   struct tpacket2_hdr    status, lengths, time stamp, VLAN tag; in the host's byte order
32  struct sockaddr_ll     the protocol that follows the VLAN tag, and whether this host sends the packet
..  struct virtio_net_hdr  10 octets directly before the link header: its GSO type marks super-packets
..  link header            0 to 16 octets, directly before the IP header
96  IP header
"""

from __future__ import annotations

import struct

# In octets. TPACKET_ALIGN(TPACKET2_HDRLEN) + 16 is 80 for every device with up to 16 octets of link header,
# and the virtio_net_hdr adds 10 (tpacket_rcv in net/packet/af_packet.c); 6 reserved octets align the IP
# header again.
RESERVED = 6
VNET_HEADER = 10
NETWORK_OFFSET = 80 + RESERVED + VNET_HEADER  # of the IP header

# Indexes of the fields of struct tpacket2_hdr, in words of 32 bits.
STATUS, LENGTH, CAPTURED, OFFSETS, SECONDS, NANOSECONDS, VLAN = range(7)
LINK_PROTOCOL = 8  # a word of struct sockaddr_ll: AF_PACKET, and the Ethernet type in network byte order
PACKET_TYPE = 32 + 10  # offset of sll_pkttype, in octets
GSO_TYPE = 1  # offset in struct virtio_net_hdr, in octets; the value 0 is VIRTIO_NET_HDR_GSO_NONE

PACKET_OUTGOING = 4  # a packet type (linux/if_packet.h)
TP_STATUS_KERNEL = 0
TP_STATUS_USER = 1 << 0
TP_STATUS_LOSING = 1 << 2  # packets were dropped, and the statistics were not read since
TP_STATUS_CSUMNOTREADY = 1 << 3
TP_STATUS_VLAN_VALID = 1 << 4
TP_STATUS_CSUM_VALID = 1 << 7

# A UDP checksum that was verified, or that a device has yet to compute (a packet of this host or of a guest).
CHECKSUM_VOUCHED = TP_STATUS_CSUMNOTREADY | TP_STATUS_CSUM_VALID

# The kernel moves the outermost VLAN tag of a frame to the word VLAN, and leaves the word 0 without a tag. It
# does not move the tags behind the outermost one.
VLAN_NUMBER = 0x0FFF  # bits of the tag (IEEE 802.1Q); the number 0 marks a priority tag, which is no VLAN
VLAN_TYPES = (0x8100, 0x88A8)  # ETH_P_8021Q, ETH_P_8021AD (linux/if_ether.h)
VLAN_TAG = 4  # octets of a tag before the IP header, with the Ethernet type that follows it
MAX_NESTED_TAGS = 2  # the packet filter refuses frames with more tags before the IP header

SMALLEST_FRAME = 2048  # octets
_AF_PACKET = 17  # linux/socket.h


def protocol_word(ethertype: int) -> int:
    """Return the word LINK_PROTOCOL of a frame with this Ethernet type behind its outermost VLAN tag."""
    word: int = struct.unpack("=I", struct.pack("=H", _AF_PACKET) + struct.pack("!H", ethertype))[0]
    return word


IPV4_WORD = protocol_word(0x0800)  # ETH_P_IP (linux/if_ether.h)


def frame_size(mtu: int) -> int:
    """Return the octets of a frame for IP packets up to `mtu` octets: a power of two, to fill blocks."""
    return max(SMALLEST_FRAME, 1 << (NETWORK_OFFSET + mtu - 1).bit_length())
