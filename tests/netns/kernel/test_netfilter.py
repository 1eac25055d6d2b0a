"""What the packet filters of the host see of a relayed packet, in either data plane, as the manual says."""

import json
import shutil

import pytest

from mcrelay.lab.command import wait_until

FEED = (
    "feed: {{data_plane: {plane}, input: {{interface: studio, group: 239.1.1.1, port: 5001}},"
    " outputs: [{{interface: left, group: 239.2.2.2, port: 6001}}]}}"
)
COUNT = 100
# Each chain drops and counts all datagrams to either group.
CHAINS = {
    "ingress": ("netdev", 'hook ingress device "eth0"'),
    "prerouting": ("ip", "hook prerouting"),
    "input": ("ip", "hook input"),
    "output": ("ip", "hook output"),
    "postrouting": ("ip", "hook postrouting"),
    "egress": ("netdev", 'hook egress device "eth1"'),
}
pytestmark = pytest.mark.skipif(shutil.which("nft") is None, reason="needs nft")


def filter_at(host, chain):
    family, hook = CHAINS[chain]
    host.run(
        [
            "nft",
            f"table {family} test {{ chain c {{ type filter {hook} priority 0;"
            " ip daddr { 239.1.1.1, 239.2.2.2 } counter drop; }; }",
        ]
    )


def filtered(host, chain):
    """Return how often a chain has dropped datagrams: several at once, where workers send segments."""
    family, _ = CHAINS[chain]
    rules = json.loads(host.run(["nft", "-j", "list", "table", family, "test"]).stdout)["nftables"]
    (rule,) = (entry["rule"] for entry in rules if "rule" in entry)
    return next(part["counter"]["packets"] for part in rule["expr"] if "counter" in part)


def packets_of(relay):
    (rule,) = json.loads(relay.ask("status", "--json").stdout)["rules"]
    return rule["input"]["packets"]


@pytest.mark.parametrize(
    ("plane", "stopping"),
    [("kernel", set()), ("userspace", {"output", "postrouting", "egress"})],
)
def test_filters_see_relayed_packets_where_the_manual_says(studio, left, plane, stopping):
    with studio.relaying(FEED.format(plane=plane)) as relay:
        for number, chain in enumerate(CHAINS, start=1):
            filter_at(studio.relay, chain)
            studio.send("239.1.1.1:5001", COUNT, size=100)
            if chain in stopping:
                wait_until(lambda seen=number * COUNT: packets_of(relay) == seen, "the packets")
                assert filtered(studio.relay, chain)
                assert left.receive_waiting() == []
            else:
                assert len(left.receive_payloads(COUNT)) == COUNT
            studio.relay.run(["nft", "flush", "ruleset"])
