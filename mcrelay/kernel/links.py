"""Links of the type tcx, which run a program at the ingress of a device. Since Linux 6.6.

A link lives until its last descriptor and its pin are gone. Each function raises OSError.
"""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass

from mcrelay.kernel import bpf

# linux/bpf.h
_PROG_QUERY, _LINK_CREATE, _LINK_UPDATE, _LINK_DETACH = 16, 28, 29, 34
_TCX_INGRESS = 46
_BEFORE = 1 << 3  # BPF_F_BEFORE
_LOOPBACK = 1  # ifindex of lo in every network namespace
_MAX_LINKS = 64  # at a device (BPF_MPROG_MAX)
# Device, kind, flags twice, programs, their number, their flags, links, their flags, revision.
_QUERY = struct.Struct("=4IQI4xQQQQ")


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """A link, the program that it runs, and the number that its device has in whatever namespace it is now.

    A link whose device has gone has the number 0.
    """

    link_id: int
    program_id: int
    ifindex: int


def create(program: int, ifindex: int) -> int:
    """Return a descriptor of a new link, in front of those that the device has.

    Raises OSError: ENODEV without the device, EINVAL before Linux 6.6.
    """
    return bpf.call(_LINK_CREATE, struct.pack("=4I32x", program, ifindex, _TCX_INGRESS, _BEFORE))


def update(link: int, program: int) -> None:
    """Let a link run another program from the next packet on.

    Raises OSError: ENOLINK if the device is gone.
    """
    bpf.call(_LINK_UPDATE, struct.pack("=4I", link, program, 0, 0))


def detach(link: int) -> None:
    """End a link for all who hold it."""
    bpf.call(_LINK_DETACH, struct.pack("=I", link))


def describe(link: int) -> LinkInfo:
    """Return what a link runs, and where."""
    return LinkInfo(*struct.unpack("=4x2I4xI", bpf.info(link, 20)))  # struct bpf_link_info


def are_supported() -> bool:
    """Return whether this kernel has links of the type tcx."""
    try:
        find(_LOOPBACK)
    except OSError:
        return False
    return True


def find(ifindex: int) -> list[int]:
    """Return the IDs of the links at a device of this network namespace, in the order in which they run.

    A program that runs there without a link has the ID 0. Needs CAP_NET_ADMIN.
    """
    programs, links = (ctypes.c_uint32 * _MAX_LINKS)(), (ctypes.c_uint32 * _MAX_LINKS)()
    places = ctypes.addressof(programs), ctypes.addressof(links)
    query = _QUERY.pack(ifindex, _TCX_INGRESS, 0, 0, places[0], _MAX_LINKS, 0, places[1], 0, 0)
    attributes = ctypes.create_string_buffer(query, len(query))
    bpf.call_in_place(_PROG_QUERY, attributes)
    return links[: _QUERY.unpack(attributes)[5]]
