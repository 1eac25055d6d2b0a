"""A relay host with planes of a small program, and the wire before and behind it.

The program counts the frames of one EtherType that come in at a device, and sends a copy of each from eth1.
"""

import select
import socket
import struct
import subprocess
from functools import partial
from pathlib import Path

from mcrelay.kernel import links
from mcrelay.kernel.bpf_map import BpfMap
from mcrelay.kernel.location import daemon_name
from mcrelay.kernel.plane import open_plane
from mcrelay.lab.command import TIMEOUT_S
from mcrelay.linux import traffic_control
from mcrelay.linux.constants import SO_RCVBUFFORCE
from tests.netns.support.forked import run_killed
from tests.support.bpf_programs import COUNT, COUNTS, ETHERTYPE, KEY, load_relay

HEADER = bytes(12) + ETHERTYPE.to_bytes(2, "big")
NUMBER = struct.Struct("!I")
LAST = 0xFFFFFFFF


class Wire:
    """Sends numbered frames into the relay's eth0, and receives what leaves its eth1."""

    def __init__(self, studio):
        with studio.sender.enter_namespace():
            self._sender = _packet_socket(0)
        with studio.relay.enter_namespace():
            self._stack = _packet_socket(ETHERTYPE)  # gets a frame after the program has run
            self._behind = _packet_socket(0, "eth1")
        with studio.left.enter_namespace():
            self._receiver = _packet_socket(ETHERTYPE)

    def send(self, *numbers):
        for number in numbers:
            self._sender.send(_frame(number))

    def receive(self, count):
        """Return the numbers of `count` frames and of all others that have arrived, in their order."""
        numbers = [_receive(self._receiver) for _ in range(count)]
        self._behind.send(_frame(LAST))
        while (number := _receive(self._receiver)) != LAST:
            numbers.append(number)
        return numbers

    def relayed(self, *numbers):
        """Send frames, all of which should be relayed, and return those that are."""
        self.send(*numbers)
        return self.receive(len(numbers))

    def is_silent(self):
        """Return whether a frame is not relayed."""
        while _is_readable(self._stack, 0):
            self._stack.recv(2048)
        self.send(0)
        _receive(self._stack)
        return self.receive(0) == []


class KernelRelay:
    """Opens planes on the relay host, which must be entered, in a bpf file system of its own."""

    def __init__(self, parent):
        self.parent = parent
        self.eth0, self.eth1, self.eth2 = (socket.if_nametoindex(f"eth{n}") for n in range(3))

    def directory(self, run_directory="/run/mcrelay"):
        return self.parent / daemon_name(Path(run_directory))

    def open(self, version="1", **where):
        return open_plane(self.directory(**where), version, partial(load_relay, self.eth1))

    def leave_attached(self, **how):
        """Leave a plane that is attached to eth0, of a process that is killed."""
        run_killed(lambda: self.open(**how).attach(self.eth0))

    def pins(self):
        """Return the paths of all files and directories below the parent."""
        return sorted(str(path.relative_to(self.parent)) for path in self.parent.rglob("*"))


def count(plane):
    """Return how many frames the program of a plane has counted."""
    return COUNT.unpack(BpfMap(plane.objects.maps[COUNTS], len(KEY), COUNT.size).lookup(KEY))[0]


def has_tcx():
    """Return whether this kernel has tcx links, that is, since Linux 6.6."""
    try:
        links.find(socket.if_nametoindex("lo"))
    except OSError:
        return False
    return True


def attached(ifindex):
    """Return what mcrelay has attached to a device: links, or classifiers."""
    found = links.find(ifindex) if has_tcx() else []
    classifiers = traffic_control.ingress_classifiers(ifindex)
    return found + [classifier for classifier in classifiers if classifier.name.startswith("mcrelay:")]


def tc(*words):
    """Return the output of a command of tc(8)."""
    return subprocess.run(["tc", *words], check=True, capture_output=True, text=True).stdout


def _packet_socket(ethertype, device="eth0"):
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    opened.bind((device, ethertype))
    return opened


def _frame(number):
    return HEADER + NUMBER.pack(number) + bytes(46)


def _receive(receiver):
    assert _is_readable(receiver, TIMEOUT_S), "a frame is missing"
    return NUMBER.unpack_from(receiver.recv(2048), len(HEADER))[0]


def _is_readable(receiver, seconds):
    return bool(select.select([receiver], [], [], seconds)[0])
