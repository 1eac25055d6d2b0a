"""Classifiers at the ingress of a device, as `tc filter` shows them, and their qdisc `clsact` (tc(8)).

Every function works in the network namespace of the caller, needs CAP_NET_ADMIN, and raises OSError.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from dataclasses import dataclass

from mcrelay.linux.constants import (
    ETH_P_ALL,
    NLA_F_NESTED,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    RTM_DELQDISC,
    RTM_DELTFILTER,
    RTM_GETTFILTER,
    RTM_NEWQDISC,
    RTM_NEWTFILTER,
    TC_H_CLSACT,
    TC_H_MIN_EGRESS,
    TC_H_MIN_INGRESS,
    TCA_BPF_FD,
    TCA_BPF_FLAG_ACT_DIRECT,
    TCA_BPF_FLAGS,
    TCA_BPF_FLAGS_GEN,
    TCA_BPF_ID,
    TCA_BPF_NAME,
    TCA_CLS_FLAGS_SKIP_HW,
    TCA_KIND,
    TCA_OPTIONS,
)
from mcrelay.linux.rtnetlink import NetlinkConnection, attribute, attributes

_HEADER = struct.Struct("=BxxxiIII")  # struct tcmsg: family, ifindex, handle, parent, info
_WORD = struct.Struct("=I")
_CLSACT_HANDLE = TC_H_CLSACT & 0xFFFF0000
_INGRESS, _EGRESS = (_CLSACT_HANDLE | minor for minor in (TC_H_MIN_INGRESS, TC_H_MIN_EGRESS))
_ALL_PROTOCOLS = socket.htons(ETH_P_ALL)


@dataclass(frozen=True, slots=True)
class Classifier:
    """A classifier of a device. `name` and `program_id` are those of the kind `bpf`.

    The kernel also lists the priority itself, with a handle of 0.
    """

    kind: str
    priority: int
    protocol: int  # in network byte order
    handle: int
    name: str = ""
    program_id: int = 0

    @property
    def admits_bpf(self) -> bool:
        """Whether its priority may have a classifier of the kind `bpf` for all protocols, too."""
        return (self.kind, self.protocol) == ("bpf", _ALL_PROTOCOLS)


def add_clsact(ifindex: int) -> bool:
    """Give a device the qdisc `clsact`; return False if it has one, or the qdisc `ingress`."""
    body = _HEADER.pack(0, ifindex, _CLSACT_HANDLE, TC_H_CLSACT, 0) + attribute(TCA_KIND, b"clsact\0")
    return _request(RTM_NEWQDISC, body, NLM_F_CREATE | NLM_F_EXCL, tolerated=errno.EEXIST)


def delete_clsact(ifindex: int) -> bool:
    """Remove the qdisc `clsact` with all its classifiers; return False if there is none."""
    body = _HEADER.pack(0, ifindex, _CLSACT_HANDLE, TC_H_CLSACT, 0) + attribute(TCA_KIND, b"clsact\0")
    return _request(RTM_DELQDISC, body, 0, tolerated=errno.EINVAL)


def ingress_classifiers(ifindex: int) -> list[Classifier]:
    """Return the classifiers at the ingress of a device in their order; none if there is no such device."""
    return _classifiers(ifindex, _INGRESS)


def egress_classifiers(ifindex: int) -> list[Classifier]:
    """Return the classifiers of a `clsact` at the egress of a device."""
    return _classifiers(ifindex, _EGRESS)


def set_bpf_classifier(ifindex: int, name: str, program: int, priority: int, handle: int = 0) -> None:
    """Add a classifier for all protocols, or with a `handle` let that one run another program.

    The kernel changes from one program to the other between two packets.
    """
    options = (
        attribute(TCA_BPF_FD, _WORD.pack(program))
        + attribute(TCA_BPF_NAME, name.encode() + b"\0")
        + attribute(TCA_BPF_FLAGS, _WORD.pack(TCA_BPF_FLAG_ACT_DIRECT))
        + attribute(TCA_BPF_FLAGS_GEN, _WORD.pack(TCA_CLS_FLAGS_SKIP_HW))
    )
    body = _bpf_classifier(ifindex, priority, handle) + attribute(TCA_OPTIONS | NLA_F_NESTED, options)
    _request(RTM_NEWTFILTER, body, 0 if handle else NLM_F_CREATE | NLM_F_EXCL)


def delete_bpf_classifier(ifindex: int, priority: int, handle: int) -> bool:
    """Remove one classifier that `set_bpf_classifier` added; return False if it does not exist."""
    return _request(RTM_DELTFILTER, _bpf_classifier(ifindex, priority, handle), 0, tolerated=errno.ENOENT)


def _bpf_classifier(ifindex: int, priority: int, handle: int) -> bytes:
    header = _HEADER.pack(0, ifindex, handle, _INGRESS, priority << 16 | _ALL_PROTOCOLS)
    return header + attribute(TCA_KIND, b"bpf\0")


def _classifiers(ifindex: int, parent: int) -> list[Classifier]:
    with NetlinkConnection() as connection:
        try:
            answers = connection.dump(RTM_GETTFILTER, _HEADER.pack(0, ifindex, 0, parent, 0))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return []
            raise
    return [_decode(answer.body) for answer in answers]


def _decode(body: bytes) -> Classifier:
    _, _, handle, _, info = _HEADER.unpack_from(body)
    found = attributes(body, _HEADER.size)
    kind = _text(found[TCA_KIND])
    options = attributes(found[TCA_OPTIONS], 0) if kind == "bpf" and TCA_OPTIONS in found else {}
    return Classifier(
        kind,
        priority=info >> 16,
        protocol=info & 0xFFFF,
        handle=handle,
        name=_text(options.get(TCA_BPF_NAME, b"")),
        program_id=_WORD.unpack(options[TCA_BPF_ID])[0] if TCA_BPF_ID in options else 0,
    )


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _request(message_type: int, body: bytes, flags: int, tolerated: int = 0) -> bool:
    """Return True if the kernel did it, False if it refused it for the reason `tolerated`."""
    with NetlinkConnection() as connection:
        (answer,) = connection.ask(message_type, [body], flags | NLM_F_ACK)
    if answer.error not in (0, tolerated):
        raise OSError(answer.error, os.strerror(answer.error))
    return not answer.error
