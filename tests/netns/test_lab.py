"""The lab: its links carry what real ones carry, and it cleans up."""

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mcrelay.kernel.location import BPF_FILE_SYSTEM
from mcrelay.lab import Lab, Receiver, send
from mcrelay.lab.command import wait_until
from mcrelay.lab.host import NAMESPACES
from mcrelay.linux.constants import ETH_P_IP, UDP_SEGMENT


@pytest.fixture
def pair(lab):
    one, other = lab.host("one"), lab.host("other")
    lab.link(one.end("eth0", "10.1.0.1/24"), other.end("eth0", "10.1.0.2/24"))
    return one, other


def test_linked_hosts_receive_from_each_other_at_once(pair):
    one, other = pair
    with other.enter_namespace():
        receiving = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiving.bind(("10.1.0.2", 5000))
    receiving.settimeout(5)
    with one.enter_namespace():
        sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sending.sendto(b"hello", ("10.1.0.2", 5000))
    assert receiving.recvfrom(100)[0] == b"hello"


def test_segments_are_single_packets_on_the_wire(pair):
    one, other = pair
    with other.enter_namespace():
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
    wire.settimeout(5)
    with one.enter_namespace():
        sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sending.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
    sending.sendto(bytes(3000), ("10.1.0.2", 5000))
    assert [struct.unpack_from("!H", wire.recv(65535), 2)[0] for _ in range(3)] == [1028, 1028, 1028]


def test_a_foreign_source_is_dropped_by_the_reverse_path_filter(lab):
    sender, host = lab.host("sender"), lab.host("host")
    lab.link(sender.end("eth0", "192.168.168.55/24"), host.end("eth0", "10.1.0.1/24"))
    with host.enter_namespace():
        member = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    group = socket.inet_aton("239.1.1.1")
    member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + socket.inet_aton("10.1.0.1"))
    with sender.enter_namespace():
        sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sending.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("192.168.168.55"))
    for _ in range(10):
        sending.sendto(b"hello", ("239.1.1.1", 5000))
    wait_until(lambda: host.counter("IPReversePathFilter") == 10, "all ten to be dropped")


def test_a_host_is_listening_once_a_socket_is_bound_and_has_joined(pair):
    one, _ = pair
    with one.enter_namespace():
        receiving = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiving.bind(("239.1.1.1", 5000))
    assert not one.is_listening("239.1.1.1", 5000)
    group = socket.inet_aton("239.1.1.1")
    receiving.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + socket.inet_aton("10.1.0.1"))
    assert one.is_listening("239.1.1.1", 5000)
    assert not one.is_listening("239.1.1.1", 5001)


def test_a_receiver_counts_from_the_first_packet_on(pair):
    one, other = pair
    receiver = Receiver(other, "239.1.1.1:5001")
    sent = send(one, "239.1.1.1:5001", "--interface=eth0", "--rate=10000", "--count=10000")
    report = receiver.report()
    assert sent["packets"] == report.received == 10_000
    assert report.is_flawless
    assert report.received_from == {"10.1.0.1": 10_000}


def test_a_process_runs_on_the_host_that_started_it_only(pair):
    one, other = pair
    process = one.start(["sleep", "60"])
    assert one.processes() == [process.pid]
    assert other.processes() == []


def test_nothing_is_left_after_an_error_inside_of_the_lab():
    def break_off(lab):
        host = lab.host("host")
        host.start(["sh", "-c", "sleep 60 & sleep 60"])
        started.append(host.namespace)
        raise RuntimeError("in the middle")

    started = []
    with pytest.raises(RuntimeError, match="in the middle"), Lab() as lab:
        break_off(lab)
    assert not (NAMESPACES / started[0]).exists()


def test_what_is_pinned_in_a_lab_is_seen_there_alone_and_goes_with_it():
    pinned = BPF_FILE_SYSTEM / "mcrelay-of-a-lab"
    with Lab() as lab:
        pinned.mkdir()
        assert pinned.name in lab.host("host").run(["ls", str(BPF_FILE_SYSTEM)]).stdout.split()
        mount_namespaces = {os.readlink(f"/proc/{process}/ns/mnt") for process in ("self", os.getppid())}
        assert len(mount_namespaces) == 2
    assert not pinned.exists()


BUILD_AND_SLEEP = """
import time
from mcrelay.lab import Lab
with Lab() as lab:
    host = lab.host("host")
    process = host.start(["sleep", "60"])
    print(host.namespace, process.pid, flush=True)
    time.sleep(60)
"""


def build_in_another_process():
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD_AND_SLEEP], text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    namespace, sleeping = process.stdout.readline().split()
    return process, NAMESPACES / namespace, Path("/proc", sleeping)


def test_nothing_is_left_after_ctrl_c():
    process, namespace, sleeping = build_in_another_process()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert not namespace.exists()
    assert not sleeping.exists()


def test_the_next_lab_removes_what_a_killed_one_left():
    process, namespace, sleeping = build_in_another_process()
    process.kill()
    process.communicate(timeout=20)
    with Lab():
        assert not namespace.exists()
        deadline = time.monotonic() + 20
        while sleeping.exists():  # its new parent may be slow to bury it
            assert time.monotonic() < deadline
            time.sleep(0.01)


KILL_A_LAB = """
import subprocess, sys
from pathlib import Path
from mcrelay.lab import Lab
from mcrelay.lab.command import wait_until
killed = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, text=True)
sleeping = Path("/proc", killed.stdout.readline().split()[1], "cmdline")
killed.kill()
killed.wait()
with Lab():
    wait_until(lambda: not sleeping.exists() or not sleeping.read_bytes(), "the end of the process")
"""


def test_the_first_lab_of_a_host_is_found_by_the_next_one_too():
    """Before it, `ip netns` has not shared the directory of the namespaces with any process."""
    fresh = 'mount -t tmpfs none /run && exec "$0" -c "$1" "$2"'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", fresh, sys.executable]
    subprocess.run([*command, KILL_A_LAB, BUILD_AND_SLEEP], check=True, timeout=60)
