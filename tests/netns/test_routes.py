"""A unicast output leaves as the host routes it, or its packets are counted and the reason is told.

Each fault begins while packets flow, and the output comes back by itself when the fault has gone.
"""

import json

import pytest

from mcrelay.lab import Receiver, report_of
from mcrelay.lab.command import mcrelay, wait_until

pytestmark = pytest.mark.planes("kernel")  # as for what is planned, the planes are alike
BOTH_PLANES = pytest.mark.planes("userspace", "kernel")

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


@BOTH_PLANES
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


@BOTH_PLANES
def test_a_host_that_does_not_answer_arp_is_told_until_it_answers(studio):
    with studio.relaying(UNICAST.format("10.2.0.77")) as relay:
        reason = await_state(relay, "unresolved")
        assert reason.startswith("output left: 10.2.0.77 does not answer ARP on eth1: check")
        studio.send("239.1.1.1:5001", count=1000)
        wait_until(lambda: errors_of(relay) == (0, {"no_neighbor": 1000}), "the dropped packets")
        planned = json.loads(relay.ask("plan", "--json").stdout)
        assert (planned["rules"][0]["reason"], planned["changes"]["astray"]) == (reason, {})
        studio.left.ip("address add 10.2.0.77/24 dev eth0")
        assert await_state(relay, "active") == ""
        left = Receiver(studio.left, "10.2.0.77:6001")
        studio.send("239.1.1.1:5001", count=1000)
        report = left.report()
        assert report.received == 1000
        assert report.is_flawless
        assert errors_of(relay) == (1000, {"no_neighbor": 1000})


@BOTH_PLANES
def test_a_gateway_that_does_not_answer_arp_is_named_until_it_answers(studio):
    studio.relay.ip("route add 10.9.0.0/16 via 10.2.0.254")
    studio.left.ip(f"address add {FAR}/32 dev lo")
    with studio.relaying(UNICAST.format(FAR)) as relay:
        reason = await_state(relay, "unresolved")
        assert reason.startswith(f"output left: the gateway 10.2.0.254 to {FAR} does not answer ARP on eth1")
        studio.left.ip("address add 10.2.0.254/24 dev eth0")
        assert await_state(relay, "active") == ""
        left = Receiver(studio.left, f"{FAR}:6001", idle=60)
        studio.send("239.1.1.1:5001", count=1000)
        wait_until(lambda: errors_of(relay) == (1000, {}), "the packets")
        assert left.interrupt().received == 1000


@BOTH_PLANES
def test_a_host_that_goes_away_and_comes_back_is_noticed_both_times(studio):
    with studio.relaying(UNICAST.format(NEAR)) as relay:
        left = Receiver(studio.left, f"{NEAR}:6001", idle=60)
        studio.send("239.1.1.1:5001", count=100)
        wait_until(lambda: errors_of(relay) == (100, {}), "the packets before")
        studio.left.ip(f"address delete {NEAR}/24 dev eth0")
        studio.relay.ip("neighbour flush dev eth1")
        studio.send("239.1.1.1:5001", count=1)  # the kernel asks for the address only if there is a packet
        assert "10.2.0.2 does not answer ARP" in await_state(relay, "unresolved")
        studio.left.ip(f"address add {NEAR}/24 dev eth0")
        assert await_state(relay, "active") == ""
        assert left.interrupt().received >= 100


@BOTH_PLANES
def test_the_first_packets_to_a_host_that_was_never_asked_for_are_not_lost(studio):
    with studio.relaying(UNICAST.format(NEAR)):
        left = Receiver(studio.left, f"{NEAR}:6001")
        studio.send("239.1.1.1:5001", count=5000)
        report = left.report()
    assert report.received == 5000
    assert report.is_flawless


@BOTH_PLANES
def test_a_fault_of_one_output_costs_the_other_outputs_no_packet(studio):
    studio.relay.ip("route add 10.9.0.0/16 via 10.2.0.2")
    rule = (
        "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001}, outputs: ["
        "{interface: left, address: 10.9.0.2, port: 6001},"
        " {interface: right, address: 10.3.0.2, port: 6001}]}"
    )
    with studio.relaying(rule) as relay:
        right = Receiver(studio.right, "10.3.0.2:6001", idle=3)
        sending = studio.start_sending("239.1.1.1:5001", count=10_000, rate=2000)
        for breaks, mends, _ in FAULTS.values():
            studio.relay.ip(breaks)
            wait_until(lambda: rule_of(relay)["reason"], "the fault")
            assert rule_of(relay)["state"] == "active"
            assert rule_of(relay)["reason"].startswith("1 of 2 outputs does not run: output left: ")
            assert relay.ask("status", "--exit-code").returncode == 5
            studio.relay.ip(mends)
            wait_until(lambda: not rule_of(relay)["reason"], "the end of the fault")
        report_of(sending)
        report = right.report()
        first, _ = rule_of(relay)["outputs"]
        assert first["packets"] + sum(first["drops"]["send_error"].values()) == 10_000
    assert report.received == 10_000
    assert report.is_flawless


# Policy routing.


def test_a_rule_of_policy_routing_decides_also_by_source_and_port(studio):
    studio.relay.ip(
        "route add 10.9.0.0/16 via 10.2.0.2",
        "address add 10.2.0.9/24 dev eth1",
        "route add 10.9.0.0/16 via 10.3.0.2 table 77",
        "rule add from 10.2.0.9 lookup 77",
        "rule add dport 6002 prohibit",
    )
    rule = "{}: {{input: {{interface: studio, group: 239.1.1.{}, port: 5001}}, outputs: [{}]}}"
    output = "{{interface: left, address: 10.9.0.2, {}}}"
    rules = [
        rule.format("good", 1, output.format("port: 6001")),
        rule.format("elsewhere", 2, output.format("port: 6001, source: 10.2.0.9")),
        rule.format("forbidden", 3, output.format("port: 6002")),
    ]
    with studio.relaying(*rules) as relay:
        found = {rule["name"]: rule for rule in json.loads(relay.ask("status", "--json").stdout)["rules"]}
        assert [rule["outputs"][0]["fault"] for rule in found.values()] == [
            None,
            "other_device",
            "prohibited",
        ]
        assert "from 10.2.0.9 leads through eth2, not through eth1" in found["elsewhere"]["reason"]
        studio.relay.ip("rule delete from 10.2.0.9 lookup 77", "rule delete dport 6002 prohibit")
        wait_until(lambda: relay.ask("status", "--exit-code").returncode == 0, "the end of the faults")


def test_an_address_of_the_relay_itself_is_reached_through_lo(studio):
    with studio.relaying(UNICAST.format("10.3.0.1")) as relay:
        assert await_state(relay, "unresolved") == (
            "output left: 10.3.0.1 is an address of this host, behind lo: use an interface with `device: lo`"
        )


# The plan.


def test_a_plan_without_a_daemon_and_without_privilege_knows_the_faults_and_the_sources(studio, tmp_path):
    studio.relay.ip("route add prohibit 10.9.0.0/24", "address add 10.8.0.1/24 dev eth1")
    file = tmp_path / "planned.yaml"
    file.write_text(
        studio.config(
            UNICAST.format(FAR),
            UNICAST.format("10.8.0.2").replace("feed", "second").replace("239.1.1.1", "239.1.1.2"),
        )
    )
    tmp_path.chmod(0o755)
    unprivileged = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"]
    done = studio.relay.run(
        [*unprivileged, *mcrelay("plan", str(file), "--json", "--run-dir", str(tmp_path / "none"))],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)["rules"]
    assert (first["state"], first["outputs"][0]["fault"]) == ("unresolved", "prohibited")
    assert "prohibit refuses packets to 10.9.0.2" in first["reason"]
    assert (second["state"], second["outputs"][0]["source"]) == ("active", "10.8.0.1")


# Source addresses.


@pytest.mark.parametrize(
    ("commands", "output", "source"),
    [
        ([], "address: 10.2.0.2", "10.2.0.1"),
        # The subnet of the destination decides, and not the first address of the device.
        (["address add 10.8.0.1/24 dev eth1"], "address: 10.8.0.2", "10.8.0.1"),
        # The preferred source of the route, also on another device.
        (["route add 10.8.0.2 dev eth1 src 10.3.0.1"], "address: 10.8.0.2", "10.3.0.1"),
        # A secondary address has no effect on its own subnet.
        (["address add 10.2.0.9/24 dev eth1"], "address: 10.2.0.2", "10.2.0.1"),
        (["address add 169.254.7.1/16 dev eth1 scope link"], "address: 169.254.7.2", "169.254.7.1"),
        (["address add 169.254.7.1/16 dev eth1 scope link"], "address: 10.2.0.2", "10.2.0.1"),
        # A device without address.
        (
            ["address flush dev eth1", "route add 10.8.0.2 dev eth1 src 10.3.0.1"],
            "address: 10.8.0.2",
            "10.3.0.1",
        ),
        # A group is sent from the primary address of the device.
        (["address add 10.2.0.9/24 dev eth1"], "group: 239.2.2.2", "10.2.0.1"),
        (["address add 169.254.7.1/16 dev eth1 scope link"], "group: 239.2.2.2", "10.2.0.1"),
        (
            ["address flush dev eth1", "address add 169.254.7.1/16 dev eth1 scope link"],
            "group: 239.2.2.2",
            "169.254.7.1",
        ),
        # An address that the file names is used whatever its scope, and whatever its device.
        (
            ["address add 10.8.0.9/32 dev eth1 scope host"],
            "address: 10.2.0.2, source: 10.8.0.9",
            "10.8.0.9",
        ),
        (
            ["address add 169.254.7.1/16 dev eth1 scope link"],
            "group: 239.2.2.2, source: 169.254.7.1",
            "169.254.7.1",
        ),
        ([], "address: 10.2.0.2, source: 10.3.0.1", "10.3.0.1"),
    ],
)
def test_the_source_is_the_one_that_the_host_would_take(studio, commands, output, source):
    studio.relay.ip(*commands)
    studio.left.ip(
        "address add 10.8.0.2/24 dev eth0",
        "address add 169.254.7.2/16 dev eth0",
        "route add default dev eth0",
    )
    rule = (
        "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
        f" outputs: [{{interface: left, port: 6001, {output}}}]}}"
    )
    destination = output.split()[1].strip(",")
    with studio.relaying(rule) as relay:
        assert await_state(relay, "active") == ""
        left = Receiver(studio.left, f"{destination}:6001")
        studio.send("239.1.1.1:5001", count=100)
        report = left.report()
        assert (report.received, report.sources) == (100, [source])
        assert rule_of(relay)["outputs"][0]["source"] == source
        assert f"from {source}, TTL" in relay.ask("status", "feed").stdout
        planned = json.loads(relay.ask("plan", "--json").stdout)
        assert planned["rules"][0]["outputs"][0]["source"] == source
        assert planned["changes"]["change"] == {}


def test_an_address_that_is_passed_over_is_named(studio):
    studio.relay.ip("address flush dev eth1", "address add 10.8.0.9/32 dev eth1 scope host")
    group = "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001}, outputs: [{interface: left}]}"
    with studio.relaying(group) as relay:
        assert await_state(relay, "unresolved") == (
            "output left: device eth1 has no IPv4 address to send from, except for 10.8.0.9 of scope host:"
            " write `source: 10.8.0.9` to use it"
        )
