"""A unicast output leaves as the host routes it, or its packets are counted and the reason is told.

Each fault begins while packets flow, and the output comes back by itself when the fault has gone.
"""

import json

import pytest

from mcrelay.lab import Receiver
from mcrelay.lab.command import wait_until

UNICAST = (
    "feed: {{input: {{interface: studio, group: 239.1.1.1, port: 5001}},"
    " outputs: [{{interface: left, address: {}, port: 6001}}]}}"
)
NEAR, FAR = "10.2.0.2", "10.9.0.2"


def rule_of(relay):
    (rule,) = json.loads(relay.ask("status", "--json").stdout)["rules"]
    return rule


def await_state(relay, state):
    wait_until(lambda: rule_of(relay)["state"] == state, f"the state {state}")
    return rule_of(relay)["reason"]


def errors_of(relay):
    (output,) = rule_of(relay)["outputs"]
    return output["packets"], output["drops"]["send_error"]


# The fault: what makes it, what mends it, its name, and words of its reason.
FAULTS = {
    "no_route": (
        "route delete 10.9.0.0/16",
        "route add 10.9.0.0/16 via 10.2.0.2",
        "there is no route to 10.9.0.2: add one, for example `ip route add 10.9.0.2 dev eth1`",
    ),
    "other_device": (
        "route add 10.9.0.0/24 via 10.3.0.2",
        "route delete 10.9.0.0/24",
        "the route to 10.9.0.2 leads through eth2, not through eth1: correct `interface` or the route",
    ),
    "prohibited": (
        "route add prohibit 10.9.0.0/24",
        "route delete prohibit 10.9.0.0/24",
        "a route or rule of type prohibit refuses packets to 10.9.0.2",
    ),
    "unreachable": (
        "route add unreachable 10.9.0.0/24",
        "route delete unreachable 10.9.0.0/24",
        "a route or rule of type unreachable refuses packets to 10.9.0.2",
    ),
    "blackhole": (
        "route add blackhole 10.9.0.0/24",
        "route delete blackhole 10.9.0.0/24",
        "a route or rule of type blackhole refuses packets to 10.9.0.2",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_route_that_cannot_be_used_is_told_and_counted_until_it_is_mended(studio, fault):
    breaks, mends, reason = FAULTS[fault]
    studio.relay.ip("route add 10.9.0.0/16 via 10.2.0.2")
    studio.left.ip(f"address add {FAR}/32 dev lo")
    with studio.relaying(UNICAST.format(FAR)) as relay:
        assert relay.ask("status", "--exit-code").returncode == 0
        left = Receiver(studio.left, f"{FAR}:6001", idle=60)
        studio.send("239.1.1.1:5001", count=1000)
        wait_until(lambda: errors_of(relay) == (1000, {}), "the packets before the fault")
        studio.relay.ip(breaks)
        assert await_state(relay, "unresolved").startswith(f"output left: {reason}")
        assert relay.ask("status", "--exit-code").returncode == 5
        studio.send("239.1.1.1:5001", count=100)
        wait_until(lambda: errors_of(relay) == (1000, {fault: 100}), "the packets of the fault")
        studio.relay.ip(mends)
        assert await_state(relay, "active") == ""
        studio.send("239.1.1.1:5001", count=1000)
        wait_until(lambda: errors_of(relay) == (2000, {fault: 100}), "the packets after the fault")
        assert left.interrupt().received == 2000
        assert f"rule feed: unresolved: output left: {reason}" in relay.log()
        assert "rule feed: active" in relay.log()


def test_a_host_that_does_not_answer_arp_is_told_until_it_answers(studio):
    with studio.relaying(UNICAST.format("10.2.0.77")) as relay:
        reason = await_state(relay, "unresolved")
        assert reason.startswith("output left: 10.2.0.77 does not answer ARP on eth1: check")
        studio.send("239.1.1.1:5001", count=1000)
        wait_until(lambda: errors_of(relay) == (0, {"no_neighbor": 1000}), "the dropped packets")
        studio.left.ip("address add 10.2.0.77/24 dev eth0")
        assert await_state(relay, "active") == ""
        left = Receiver(studio.left, "10.2.0.77:6001")
        studio.send("239.1.1.1:5001", count=1000)
        report = left.report()
        assert report.received == 1000
        assert report.is_flawless
        assert errors_of(relay) == (1000, {"no_neighbor": 1000})
