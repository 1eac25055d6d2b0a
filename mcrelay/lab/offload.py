"""Switches offloads of a device as `ethtool -K` does, without the program ethtool."""

from __future__ import annotations

import array
import fcntl
import socket
import struct

from mcrelay.linux.constants import SIOCETHTOOL

# linux/ethtool.h
ETHTOOL_GSTRINGS = 0x1B
ETHTOOL_GSSET_INFO = 0x37
ETHTOOL_SFEATURES = 0x3B
ETH_SS_FEATURES = 4
ETH_GSTRING_LEN = 32


def switch_offload(device: str, feature: str, on: bool) -> None:
    """Switch a feature, such as `tx-udp-segmentation`, of a device in the current network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        names = _feature_names(control, device)
        word, bit = divmod(names.index(feature), 32)
        words = -(-len(names) // 32)
        blocks = [0] * (2 * words)  # for each 32 features, the bits to change and their new values
        blocks[2 * word] = 1 << bit
        blocks[2 * word + 1] = (1 << bit) if on else 0
        _ethtool(control, device, struct.pack(f"=II{2 * words}I", ETHTOOL_SFEATURES, words, *blocks))


def _feature_names(control: socket.socket, device: str) -> list[str]:
    request = struct.pack("=IIQI", ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_FEATURES, 0)
    count = struct.unpack("=IIQI", _ethtool(control, device, request))[3]
    header = struct.pack("=III", ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count)
    answer = _ethtool(control, device, header + bytes(count * ETH_GSTRING_LEN))
    names = struct.iter_unpack(f"{ETH_GSTRING_LEN}s", answer[len(header) :])
    return [name.rstrip(b"\0").decode() for (name,) in names]


def _ethtool(control: socket.socket, device: str, command: bytes) -> bytes:
    """Run an ethtool command, and return the buffer into which the kernel has written its answer."""
    data = array.array("B", command)
    request = struct.pack("=16sQ16x", device.encode(), data.buffer_info()[0])  # struct ifreq
    fcntl.ioctl(control, SIOCETHTOOL, request)
    return data.tobytes()
