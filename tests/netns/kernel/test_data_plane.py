"""Rules in the kernel data plane, from the file to the receiver, and what is told about them."""

import json
import os
import signal
import subprocess
from contextlib import ExitStack, contextmanager, suppress

import pytest

from mcrelay.lab import Receiver
from mcrelay.lab.command import wait_until
from mcrelay.lab.receiver import report_of
from mcrelay.linux.bpf_file_system import mount_bpf_file_system
from tests.netns.support.worker_harness import UdpListener

FEED = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]%s}"
)
IN_KERNEL = FEED % ", data_plane: kernel"
IN_WORKERS = FEED % ", data_plane: userspace"
PACKETS = 20_000


@pytest.fixture
def pins(studio):
    """A bpf file system of the daemon's own, where it keeps what outlives it."""
    path = studio.folder / "daemon" / "run" / "bpf"
    path.mkdir(parents=True)
    mount_bpf_file_system(path)
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


def status_of(relay):
    return json.loads(relay.ask("status", "--json").stdout)


def rule_of(relay, name="feed"):
    return next(rule for rule in status_of(relay)["rules"] if rule["name"] == name)


def kinds(relay):
    return sorted(process["kind"] for process in status_of(relay)["processes"])


@contextmanager
def traffic(studio, packets=PACKETS, rate=10_000):
    """Send while the block runs; then the left network has received each packet once, all from one port."""
    left = Receiver(studio.left, "239.2.2.2:6001")
    sending = studio.start_sending("239.1.1.1:5001", packets, rate=rate)
    yield
    assert report_of(sending)["packets"] == packets
    report = left.report()
    assert (report.received, report.lost, report.duplicated, report.corrupt) == (packets, 0, 0, 0)
    assert len(report.received_from) == 1


def test_a_rule_is_relayed_without_any_worker_and_counted_as_ever(studio, pins):
    with studio.relaying(IN_KERNEL) as relay:
        with traffic(studio):
            pass
        rule = rule_of(relay)
        assert kinds(relay) == ["control", "supervisor"]
    assert (rule["state"], rule["data_plane"], rule["data_plane_reason"]) == ("active", "kernel", "")
    assert (rule["input"]["packets"], rule["input"]["octets"]) == (PACKETS, PACKETS * 1400)
    assert rule["input"]["last_packet"]["source"] == "192.168.168.55"
    assert [(output["packets"], output["octets"]) for output in rule["outputs"]] == [
        (PACKETS, PACKETS * 1400)
    ]
    assert not rule["dropped"]


def test_a_clean_stop_leaves_nothing_in_the_kernel(studio, pins):
    empty = sorted(pins.iterdir())
    with studio.relaying(IN_KERNEL):
        assert sorted(pins.iterdir()) != empty
    assert sorted(pins.iterdir()) == empty


def test_a_rule_moves_between_the_data_planes_under_traffic_without_loss(studio, pins):
    with studio.relaying(IN_KERNEL) as relay:
        with traffic(studio, 3 * PACKETS):
            for plane in 3 * (IN_WORKERS, IN_KERNEL):
                assert "1 rule (1 active)" in relay.reload(studio.config(plane))
        assert rule_of(relay)["outputs"][0]["packets"] == 3 * PACKETS


LISTED = IN_KERNEL.replace("port: 5001}", "port: 5001, sources: [192.168.168.55, 192.168.168.99]}")


def test_a_rule_begins_and_ceases_to_list_sources_under_traffic_without_loss(studio, pins):
    with studio.relaying(IN_KERNEL) as relay, traffic(studio):
        for rule in (LISTED, IN_KERNEL, LISTED.replace(", 192.168.168.99", ""), LISTED, IN_KERNEL):
            assert "1 rule (1 active)" in relay.reload(studio.config(rule))


def test_rules_of_different_sources_of_one_flow_run_in_both_data_planes(studio, pins):
    in_kernel = LISTED.replace(", 192.168.168.99", "")
    in_workers = in_kernel.replace("feed", "other").replace(".55", ".56").replace("239.2.2.2", "239.2.2.3")
    in_workers = in_workers.replace("data_plane: kernel", "data_plane: userspace")
    for source in ("192.168.168.56", "192.168.168.57"):
        studio.sender.ip(f"address add {source}/24 dev eth0")
    with studio.relaying(in_kernel, in_workers) as relay:
        for _ in range(2):
            other = Receiver(studio.left, "239.2.2.3:6001")
            with traffic(studio, 1000):
                studio.send("239.1.1.1:5001", 100, source="192.168.168.56")
                studio.send("239.1.1.1:5001", 7, source="192.168.168.57")
            assert other.report().received == 100
            relay.reload(studio.config(in_kernel.replace(".55", ".56"), in_workers.replace(".56", ".55")))
            relay.reload(studio.config(in_kernel, in_workers))
        refused = [rule_of(relay, name)["input"]["drops"].get("source", 0) for name in ("feed", "other")]
    assert sum(refused) == 14


def test_a_hundred_moves_of_two_rules_lose_and_repeat_no_packet(studio, pins):
    stays = (
        "stays: {input: {interface: studio, group: 239.1.1.9, port: 5001}, outputs: [{interface: right}]%s}"
    )
    clock = (
        LISTED.replace("feed", "clock").replace("239.1.1.1,", "239.1.1.2,").replace("239.2.2.2", "239.2.2.3")
    )
    in_kernel = (IN_KERNEL, clock, stays % ", data_plane: userspace")  # so that there is always a worker
    in_workers = [rule.replace("data_plane: kernel", "data_plane: userspace") for rule in in_kernel]
    with studio.relaying(*in_kernel) as relay:
        other = Receiver(studio.left, "239.2.2.3:6001")
        sending = studio.start_sending("239.1.1.2:5001", 10 * PACKETS, rate=10_000)
        with traffic(studio, 10 * PACKETS):
            for rules in 50 * (in_workers, in_kernel):
                assert "3 rules (3 active)" in relay.reload(studio.config(*rules))
            assert rule_of(relay)["data_plane"] == "kernel"
        assert report_of(sending)["packets"] == 10 * PACKETS
        report = other.report()
    assert (report.received, report.lost, report.duplicated) == (10 * PACKETS, 0, 0)


def test_a_rule_is_traced_in_a_worker_and_returns_to_the_kernel(studio, pins):
    with studio.relaying(IN_KERNEL) as relay:
        with traffic(studio):
            told = relay.ask("trace", "feed", "--count", "3").stdout
        assert told.count("relayed to 239.2.2.2:6001 (eth1)") == 3
        wait_until(lambda: kinds(relay) == ["control", "supervisor"], "the end of the worker")
        assert rule_of(relay)["input"]["packets"] == PACKETS


def kill_all(relay):
    for process in status_of(relay)["processes"]:
        with suppress(ProcessLookupError):  # children end by themselves
            os.kill(process["pid"], signal.SIGKILL)
    relay.process.wait()


def test_kill_9_of_every_process_loses_nothing_and_the_next_daemon_goes_on(studio, pins):
    with ExitStack() as daemons:
        first = daemons.enter_context(studio.relaying(IN_KERNEL))
        with traffic(studio, 3 * PACKETS):
            wait_until(lambda: rule_of(first)["input"]["packets"], "the first packets")
            kill_all(first)
            first.__exit__(None, None, None)
            relay = daemons.enter_context(studio.relaying(IN_KERNEL))
        rule = rule_of(relay)
        assert rule["input"]["near_misses"] == {}
        assert rule["input"]["packets"] == rule["outputs"][0]["packets"] == 3 * PACKETS
    assert not (pins / "mcrelay").exists()


def test_what_the_kernel_cannot_relay_fails_with_the_reason_and_other_rules_run(studio, pins):
    studio.relay.ip("link set eth2 mtu 1400")
    narrow = (
        "narrow: {input: {interface: studio, group: 239.1.1.9, port: 5001}, outputs: [{interface: right}]%s}"
    )
    with studio.relaying(IN_KERNEL, narrow % ", data_plane: kernel") as relay:
        rule = rule_of(relay, "narrow")
        assert rule["state"] == "failed"
        assert "its packets may have to be fragmented (MTU 1500 of eth0, 1400 of eth2)" in rule["reason"]
        assert rule_of(relay)["state"] == "active"


def test_an_exclusive_rule_keeps_its_packets_from_the_host(studio, pins):
    studio.relay.sysctl("net.ipv4.conf.all.rp_filter", 0)
    studio.relay.sysctl("net.ipv4.conf.eth0.rp_filter", 0)
    here = UdpListener(studio.relay, "239.1.1.1", 5001)
    with studio.relaying(IN_KERNEL) as relay:
        studio.send("239.1.1.1:5001", 10)
        assert len(here.receive_payloads(10)) == 10
        relay.reload(studio.config(FEED % ", exclusive: true"))
        with traffic(studio, 100):
            pass
        assert here.receive_waiting() == []


def test_other_sources_and_own_packets_are_counted(studio, pins):
    listed = IN_KERNEL.replace("port: 5001}", "port: 5001, sources: [192.168.168.55]}")
    with studio.relaying(listed) as relay:
        with traffic(studio, 100):
            studio.sender.ip("address add 192.168.168.56/24 dev eth0")
            studio.send("239.1.1.1:5001", 7, source="192.168.168.56")
        assert rule_of(relay)["input"]["drops"]["source"] == 7


def test_a_new_rule_does_not_inherit_the_counts_of_another_one(studio, pins):
    with studio.relaying(IN_KERNEL) as relay:
        with traffic(studio, 100):
            pass
        other = IN_KERNEL.replace("feed:", "other:").replace("5001", "5002")
        relay.reload(studio.config(other))
        relay.reload(studio.config(other, IN_KERNEL))
        assert rule_of(relay)["input"]["packets"] == 0
        assert rule_of(relay)["outputs"][0]["packets"] == 0
