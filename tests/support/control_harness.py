"""A control process without a daemon: a fake supervisor, and clients that connect to the server's socket."""

import mmap
import os
import socket
import threading
from pathlib import Path

from mcrelay.client.connection import connect
from mcrelay.control.server import Server
from mcrelay.ipc.channel import ChannelClosed, NonBlockingChannel
from mcrelay.model.counters import COUNTERS_SIZE, LINKS, OUTPUTS, RULES
from mcrelay.protocol.control import (
    Counters,
    SetListener,
    SnapshotChanged,
    decode_to_supervisor,
    encode_to_control,
)
from mcrelay.protocol.framing import MAX_PACKET, Assembler, cut_into_packets

TIMEOUT_S = 20  # far more than any step takes


def rule(row=0, outputs=1, **shown):
    """Return a rule as the snapshot has it; its outputs have the rows after its own."""
    one = {
        "interface": "plant", "device": "eth1", "destination": "239.2.2.2", "port": 6001,
        "source": "10.2.0.1", "source_port": None, "ttl": 64, "dscp": "copy", "loopback": False,
        "runs": True,
        "fault": None,
    }  # fmt: skip
    input = {
        "interface": "studio", "device": "eth0", "destination": "239.1.1.1", "port": 5001, "sources": [],
        "loopback": False,
    }  # fmt: skip
    return {
        "shown": {
            "wanted_data_plane": "userspace", "exclusive": False,
            "data_plane": "userspace", "data_plane_reason": "", "file": "/etc/mcrelay.yaml", "line": 7,
            "description": "primary feed", "enabled": True, "input": input, "outputs": [one] * outputs,
            **shown,
        },
        "rows": [row, *(None if row is None else row * outputs + at for at in range(outputs))],
    }  # fmt: skip


def interface(row=0, ifindex=2, **shown):
    """Return an interface as the snapshot has it."""
    return {
        "shown": {
            "device": "eth0", "link": "up", "altnames": [], "mtu": 1500, "addresses": ["10.1.0.1/24"],
            "memberships": [{"group": "239.1.1.1", "source": None}], **shown,
        },
        "ifindex": ifindex,
        "row": row,
    }  # fmt: skip


def process(**changes):
    """Return a process as the snapshot has it."""
    return {
        "kind": "worker", "pid": os.getpid(), "state": "running", "started": 1000.0, "restarts": 0,
        "reason": "", **changes,
    }  # fmt: skip


RESULT = {
    "begun": 1, "finished": 1, "at": 1000.5, "cause": "start", "outcome": "started", "is_about_files": True,
    "generation": 1, "reason": "",
    "changes": {"added": ["feed"], "changed": [], "removed": [], "kept": 0}, "problems": [], "lines": [],
}  # fmt: skip


def sections(**rules):
    """Return the sections of a whole snapshot, as the first message has them."""
    rules = rules or {"feed": rule()}
    return {
        "daemon": {
            "pid": 4711, "version": "0.1.0", "config": "/etc/mcrelay.yaml", "started": 1000.0,
            "run_dir": "/run/mcrelay", "state_dir": "/var/lib/mcrelay", "watch": True,
            "uid": os.geteuid(), "socket_gid": os.getegid(),
        },
        "generation": {
            "number": 1, "hash": "abc", "accepted": 1000.1,
            "settings": {"data_plane": "auto", "workers": "1", "watch": "true", "max_age": "1s"},
        },
        "reload": RESULT,
        "files": {
            "state": "running", "problems": [], "problem_count": 0,
            "changes": {
                **{word: [] for word in ("added", "changed", "removed")},
                **dict.fromkeys(("added_count", "changed_count", "removed_count", "kept"), 0),
            },
        },
        "trial": None,
        "rules": {"set": rules},
        "statuses": {"set": {name: ["active", ""] for name in rules}},
        "interfaces": {"set": {"studio": interface()}},
        "processes": {"set": {"worker 0": process()}},
    }  # fmt: skip


class Memory:
    """The counters of one worker, as the worker writes them."""

    def __init__(self):
        self.descriptor = os.memfd_create("counters")
        os.ftruncate(self.descriptor, COUNTERS_SIZE)
        self.numbers = memoryview(mmap.mmap(self.descriptor, COUNTERS_SIZE)).cast("Q")

    def set(self, table, row, **counts):
        """Write counts by name."""
        for name, count in counts.items():
            self.numbers[table.index(row, name)] = count

    def rule(self, row=0, **counts):
        """Write counts of a rule."""
        self.set(RULES, row, **counts)

    def output(self, row=0, **counts):
        """Write counts of an output."""
        self.set(OUTPUTS, row, **counts)

    def link(self, row=0, **counts):
        """Write counts of a link."""
        self.set(LINKS, row, **counts)


class FakeSupervisor:
    """The other end of the control process's channel."""

    def __init__(self, channel):
        self.channel = channel
        channel.settimeout(TIMEOUT_S)
        self._assembler = Assembler(1 << 20)

    def send(self, message, *descriptors):
        """Send a message with descriptors."""
        for packet in cut_into_packets(encode_to_control(message), descriptors):
            socket.send_fds(self.channel, [packet.data], list(packet.descriptors))

    def change(self, **changed):
        """Send a delta of the snapshot."""
        self.send(SnapshotChanged(changed))

    def next_request(self):
        """Return the next request of the control process."""
        while True:
            if whole := self._assembler.feed(self.channel.recv(MAX_PACKET)):
                return decode_to_supervisor(whole[0])


class ServerHarness:
    """A running server, its fake supervisor, and its clients."""

    def __init__(self, folder: Path):
        self.path = str(folder / "control.sock")
        self._listener = self._open_listener()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.supervisor = FakeSupervisor(ours)
        self.memory = Memory()
        self.heartbeat = os.memfd_create("heartbeat")
        self._thread = threading.Thread(target=self._run, args=(theirs.detach(),))
        self._clients = []

    def _open_listener(self):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen(512)
        listener.setblocking(False)
        return listener

    def _run(self, channel):
        try:
            Server(NonBlockingChannel(channel)).run()
        except ChannelClosed:
            pass

    def __enter__(self):
        self._thread.start()
        self.supervisor.next_request()
        self.supervisor.send(SetListener(), self._listener.fileno(), self.heartbeat)
        self.supervisor.send(Counters(0), self.memory.descriptor)
        return self

    def __exit__(self, *_):
        for client in self._clients:
            client.close()
        self.supervisor.channel.close()
        self._thread.join(TIMEOUT_S)
        self._listener.close()
        os.close(self.heartbeat)
        assert not self._thread.is_alive()

    def replace_listener(self):
        """Remove the socket, and send the server another one in its place."""
        os.unlink(self.path)
        self._listener.close()
        self._listener = self._open_listener()
        self.supervisor.send(SetListener(), self._listener.fileno(), self.heartbeat)

    def client(self):
        """Return a client that has said hello."""
        client = connect(self.path)
        self._clients.append(client)
        return client

    def connect_raw(self):
        """Return a connection without a greeting."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(TIMEOUT_S)
        connection.connect(self.path)
        self._clients.append(connection)
        return connection
