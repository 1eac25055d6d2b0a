"""TAP devices: frames come in and go out octet by octet, with what the kernel knows of their checksums.

A frame that is written is received, and relayed by the program of the kernel plane, before the write ends.
"""

import errno
import fcntl
import os
import socket
import struct

TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0  # linux/if_tun.h
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
VNET_HEADER = struct.Struct("=BBHHHH")  # struct virtio_net_hdr of linux/virtio_net.h
NEEDS_CHECKSUM = 1  # one of its flags
GSO_UDP_L4 = 5
UDP_CHECKSUM = 6  # offset in the UDP header


class Tap:
    """A TAP device of a host, which is up."""

    def __init__(self, host, device):
        self.device = device
        with host.enter_namespace():
            self._descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            request = struct.pack("16sH22x", device.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
            fcntl.ioctl(self._descriptor, TUNSETIFF, request)
            self.ifindex = socket.if_nametoindex(device)
        host.ip(f"link set {device} txqueuelen 10000 up")

    def close(self):
        os.close(self._descriptor)

    def send(self, frame, is_partial=False, udp=34, segment=0):
        """Let the device receive a frame whose UDP header has the offset `udp`.

        If it is partial, its checksum is still to be computed. With a `segment`, the payload is that of
        several datagrams, with so many octets each.
        """
        flags, start, offset = (NEEDS_CHECKSUM, udp, UDP_CHECKSUM) if is_partial else (0, 0, 0)
        kind, header = (GSO_UDP_L4, udp + 8) if segment else (0, 0)
        os.write(self._descriptor, VNET_HEADER.pack(flags, kind, header, segment, start, offset) + frame)

    def receive(self):
        """Return the frames that the device has sent since the last call."""
        frames = []
        while True:
            try:
                frames.append(os.read(self._descriptor, 1 << 17)[VNET_HEADER.size :])
            except OSError as error:
                if error.errno == errno.EAGAIN:
                    return frames
                raise
