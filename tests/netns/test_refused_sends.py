"""A packet that this host itself refuses to send is no sent packet, is told, and is no error afterwards."""

import socket
from collections import Counter
from contextlib import contextmanager

import pytest
from pyroute2.nftables.expressions import genex, verdict
from pyroute2.nftables.main import NFTables

from mcrelay.client.connection import connect
from mcrelay.lab.command import wait_until
from tests.netns.support.relay_observer import Receivers

pytestmark = pytest.mark.planes("userspace")

TO_HOST_AND_GROUP = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001}, outputs: ["
    "{interface: left, address: 10.2.0.2, port: 6001}, {interface: left, group: 239.2.2.2, port: 6001}]}"
)
DESTINATIONS = ["10.2.0.2:6001", "239.2.2.2:6001"]
NF_DROP, REJECT_BY_ICMP, PORT_UNREACHABLE = 0, 0, 3  # linux/netfilter.h, nf_tables.h, icmp.h


@contextmanager
def firewall(host, *expressions):
    """Let a packet filter of a host apply these expressions of nftables to every packet that it sends."""
    with host.enter_namespace(), NFTables(nfgen_family=socket.AF_INET) as rules:
        rules.table("add", name="f")
        rules.chain("add", table="f", name="o", hook="output", type="filter", policy=1)
        rules.rule("add", table="f", chain="o", expressions=expressions)
    yield
    with host.enter_namespace(), NFTables(nfgen_family=socket.AF_INET) as rules:
        rules.table("del", name="f")


def dropping_firewall(host):
    return firewall(host, verdict(NF_DROP))


def rejecting_firewall(host):
    """A packet filter that also answers with an ICMP error."""
    return firewall(host, [genex("reject", {"type": REJECT_BY_ICMP, "icmp_code": PORT_UNREACHABLE})])


@contextmanager
def full_queue(host):
    """Let the queue of eth1 have no room for any packet."""
    host.run(["tc", "qdisc", "add", "dev", "eth1", "root", "pfifo", "limit", "0"])
    yield
    host.run(["tc", "qdisc", "del", "dev", "eth1", "root"])


def rule_of(relay):
    with connect(str(relay.run_dir / "control.sock")) as client:
        (rule,) = client.call("status")["rules"]
    return rule


def counts_of(relay):
    return [(output["packets"], output["drops"]["send_error"]) for output in rule_of(relay)["outputs"]]


def test_packets_that_a_packet_filter_or_a_full_queue_refuses_are_told_and_not_counted_as_sent(studio):
    refusals = [("EPERM", dropping_firewall), ("EPERM", rejecting_firewall), ("ENOBUFS", full_queue)]
    refused = Counter()
    with studio.relaying(TO_HOST_AND_GROUP) as relay:
        shown = ["ip", "neighbour", "show", "10.2.0.2", "dev", "eth1"]
        wait_until(lambda: "lladdr" in studio.relay.run(shown).stdout, "the neighbour")
        for name, refuse in refusals:
            with refuse(studio.relay):
                studio.send("239.1.1.1:5001", 50)
                refused[name] += 50
                wait_until(lambda: counts_of(relay) == [(0, refused)] * 2, name)
                rule = rule_of(relay)
                both = "left to 10.2.0.2:6001, left to 239.2.2.2:6001"
                assert rule["reason"].startswith(f"2 of 2 outputs, {both}: {name}, ")
                assert [output["octets"] for output in rule["outputs"]] == [0, 0]
                assert relay.ask("status", "--exit-code").returncode == 5
        receivers = Receivers(studio.left, DESTINATIONS)
        studio.send("239.1.1.1:5001", 20, rate=1000)
        assert {destination: report.received for destination, report in receivers.reports().items()} == (
            dict.fromkeys(DESTINATIONS, 20)
        )
        wait_until(lambda: rule_of(relay)["reason"] == "", "the end of the reason")
        assert relay.ask("status", "--exit-code").returncode == 0
        assert counts_of(relay) == [(20, refused)] * 2
