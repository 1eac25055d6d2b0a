"""A frame of the ring has room for every packet of its device."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.packet.frame import NETWORK_OFFSET, RESERVED, SMALLEST_FRAME, VNET_HEADER, frame_size


@given(st.integers(0, 65_536))
def test_a_frame_is_the_smallest_power_of_two_that_holds_headers_and_packet(mtu):
    size = frame_size(mtu)
    assert size & (size - 1) == 0
    assert size >= NETWORK_OFFSET + mtu
    assert size == SMALLEST_FRAME or size // 2 < NETWORK_OFFSET + mtu


@pytest.mark.parametrize(
    ("mtu", "size"), [(68, 2048), (1500, 2048), (1952, 2048), (1953, 4096), (9000, 16384)]
)
def test_frame_sizes_of_usual_devices(mtu, size):
    assert frame_size(mtu) == size


@pytest.mark.parametrize("link_header", [0, 4, 14, 16])
def test_the_ip_header_lies_where_the_kernel_puts_it(link_header):
    """The sum of tpacket_rcv() in net/packet/af_packet.c, for TPACKET_V2 with a virtio_net_hdr."""
    alignment, tpacket2_header, sockaddr_ll = 16, 32, 20
    before = tpacket2_header + sockaddr_ll + max(link_header, 16)
    aligned = -(-before // alignment) * alignment
    assert aligned + RESERVED + VNET_HEADER == NETWORK_OFFSET
    assert NETWORK_OFFSET % 4 == 0
