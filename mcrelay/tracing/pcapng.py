"""Packet captures in the format pcapng (draft-ietf-opsawg-pcapng), which Wireshark reads."""

from __future__ import annotations

import struct

# Block types and option codes of the draft, sections 4 and 3.5.
_SECTION_HEADER, _INTERFACE_DESCRIPTION, _ENHANCED_PACKET = 0x0A0D0D0A, 1, 6
_END_OF_OPTIONS, _COMMENT = 0, 1
_SECTION_APPLICATION = 4
_INTERFACE_NAME, _INTERFACE_DESCRIPTION_TEXT, _TIME_RESOLUTION = 2, 3, 9
_PACKET_FLAGS, _INBOUND = 2, 1

_BYTE_ORDER, _UNKNOWN_LENGTH = 0x1A2B3C4D, 0xFFFF_FFFF_FFFF_FFFF
_NANOSECONDS = b"\x09"  # the time resolution is 10 to the power of -9 seconds
_RAW_IP = 101  # LINKTYPE_RAW: the packet begins with its IP header
_MAX_OPTION_OCTETS = 65535


class Capture:
    """One section of a capture: `header`, followed by the octets of each packet."""

    def __init__(self, application: str) -> None:
        self.header = _block(
            _SECTION_HEADER,
            struct.pack("<IHHQ", _BYTE_ORDER, 1, 0, _UNKNOWN_LENGTH),
            _options((_SECTION_APPLICATION, application.encode())),
        )
        self._interfaces: dict[str, int] = {}

    def format_packet(self, device: str, time: int, octets: bytes, length: int, comment: str) -> bytes:
        """Return the block of a packet that a device received, after the block of the device if it is new.

        `time` is in nanoseconds since 1970. `octets` may be fewer than the `length` of the packet.
        """
        description = b"" if device in self._interfaces else self._describe(device)
        head = struct.pack(
            "<IIIII",
            self._interfaces[device],
            time >> 32,
            time & 0xFFFF_FFFF,
            len(octets),
            max(length, len(octets)),
        )
        options = _options(
            (_COMMENT, comment.encode()[:_MAX_OPTION_OCTETS]), (_PACKET_FLAGS, struct.pack("<I", _INBOUND))
        )
        return description + _block(_ENHANCED_PACKET, head + _pad(octets), options)

    def _describe(self, device: str) -> bytes:
        self._interfaces[device] = len(self._interfaces)
        options = _options(
            (_INTERFACE_NAME, device.encode()),
            (_INTERFACE_DESCRIPTION_TEXT, b"packets from the IP header on, as mcrelay received them"),
            (_TIME_RESOLUTION, _NANOSECONDS),
        )
        return _block(_INTERFACE_DESCRIPTION, struct.pack("<HHI", _RAW_IP, 0, 0), options)


def _block(kind: int, body: bytes, options: bytes) -> bytes:
    length = struct.pack("<I", 12 + len(body) + len(options))
    return struct.pack("<I", kind) + length + body + options + length


def _options(*options: tuple[int, bytes]) -> bytes:
    written = [struct.pack("<HH", code, len(value)) + _pad(value) for code, value in options]
    return b"".join(written) + struct.pack("<HH", _END_OF_OPTIONS, 0)


def _pad(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % 4)
