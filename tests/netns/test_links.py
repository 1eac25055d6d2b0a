"""A rule whose device has no carrier says so, counts nothing as sent, and comes back without a loss."""

import json
import time

import pytest

from mcrelay.lab import Receiver
from mcrelay.lab.command import wait_until

pytestmark = pytest.mark.planes("userspace", "kernel")

ABSENT = (
    "output left: device {} is absent: a name of more than 15 bytes can only be an alternative name"
    " (`ip link property add`)"
)
NO_CARRIER = "device eth1 has no carrier: check the cable or the peer"
TO_LEFT = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
)
UNICAST = TO_LEFT.replace("group: 239.2.2.2", "address: 10.2.0.2")


def document_of(relay):
    return json.loads(relay.ask("status", "--json").stdout)


def rule_of(relay):
    (rule,) = document_of(relay)["rules"]
    return rule


def link_of(relay, name):
    return next(one["link"] for one in document_of(relay)["interfaces"] if one["name"] == name)


def await_state(relay, state, reason):
    wait_until(
        lambda: (rule_of(relay)["state"], rule_of(relay)["reason"]) == (state, reason), reason or state
    )


def counts_of(relay):
    (output,) = rule_of(relay)["outputs"]
    return output["packets"], output["drops"]["send_error"]


@pytest.mark.parametrize("rule", [TO_LEFT, UNICAST])
def test_an_output_without_carrier_is_told_and_counted_until_the_carrier_is_back(studio, rule):
    with studio.relaying(rule) as relay:
        await_state(relay, "active", "")
        studio.left.ip("link set eth0 down")
        await_state(relay, "unresolved", NO_CARRIER)
        assert link_of(relay, "left") == "no carrier"
        assert relay.ask("status", "--exit-code").returncode == 5
        assert NO_CARRIER in relay.ask("list").stdout + relay.ask("status").stdout
        studio.send("239.1.1.1:5001", count=100)
        wait_until(lambda: counts_of(relay) == (0, {"link_down": 100}), "the packets without carrier")
        studio.left.ip("link set eth0 up")
        await_state(relay, "active", "")
        left = Receiver(studio.left, "239.2.2.2:6001" if rule is TO_LEFT else "10.2.0.2:6001")
        studio.send("239.1.1.1:5001", count=1000)
        report = left.report()
        assert report.received == 1000
        assert report.is_flawless
        assert counts_of(relay) == (1000, {"link_down": 100})
        assert f"rule feed: unresolved: {NO_CARRIER}\n" in relay.log()


def test_an_input_without_carrier_is_told_and_misses_nothing_afterwards(studio):
    with studio.relaying(TO_LEFT) as relay:
        studio.sender.ip("link set eth0 down")
        await_state(relay, "unresolved", NO_CARRIER.replace("eth1", "eth0"))
        assert link_of(relay, "studio") == "no carrier"
        studio.sender.ip("link set eth0 up")
        await_state(relay, "active", "")
        left = Receiver(studio.left, "239.2.2.2:6001")
        studio.send("239.1.1.1:5001", count=1000)
        assert left.report().received == 1000


def test_an_output_on_a_macvlan_tells_of_the_lower_device(studio):
    studio.relay.ip("link add link eth1 name mv0 type macvlan mode bridge", "address add 10.2.0.9/24 dev mv0")
    studio.relay.ip("link set mv0 up")
    config = studio.config(TO_LEFT).replace("device: eth1", "device: mv0")
    lower = "device mv0 has no carrier (lower layer down): check its lower device eth1"
    with studio.daemon(config) as relay:
        await_state(relay, "active", "")
        for down, up in [
            (lambda: studio.left.ip("link set eth0 down"), lambda: studio.left.ip("link set eth0 up")),
            (lambda: studio.relay.ip("link set eth1 down"), lambda: studio.relay.ip("link set eth1 up")),
        ]:
            before, _ = counts_of(relay)
            down()
            await_state(relay, "unresolved", lower)
            assert link_of(relay, "left") == "lower layer down"
            studio.send("239.1.1.1:5001", count=100)
            wait_until(lambda: rule_of(relay)["input"]["packets"] % 1100 == 100, "the packets")
            assert counts_of(relay)[0] == before
            up()
            await_state(relay, "active", "")
            left = Receiver(studio.left, "239.2.2.2:6001")
            studio.send("239.1.1.1:5001", count=1000)
            assert left.report().received == 1000


@pytest.mark.parametrize("state", ["dormant", "testing"])
def test_a_device_that_is_not_ready_is_told_and_goes_on(studio, state):
    with studio.relaying(TO_LEFT) as relay:
        studio.relay.ip(f"link set eth1 state {state}")
        wait_until(lambda: f"device eth1 is {state}" in rule_of(relay)["reason"], "the reason")
        assert (rule_of(relay)["state"], link_of(relay, "left")) == ("active", state)
        assert relay.ask("status", "--exit-code").returncode == 5
        left = Receiver(studio.left, "239.2.2.2:6001")
        studio.send("239.1.1.1:5001", count=100)
        assert left.report().received == 100
        studio.relay.ip("link set eth1 state up")
        await_state(relay, "active", "")


def test_a_device_is_used_by_an_alternative_name_that_comes_and_goes(studio):
    name = "enp3s0studio-of-the-third-floor"
    config = studio.config(TO_LEFT).replace("device: eth1", f"device: {name}")
    with studio.daemon(config) as relay:
        await_state(relay, "unresolved", ABSENT.format(name))
        studio.relay.ip(f"link property add dev eth1 altname {name}")
        await_state(relay, "active", "")
        assert f"altname {name}" in relay.ask("status").stdout
        left = Receiver(studio.left, "239.2.2.2:6001")
        studio.send("239.1.1.1:5001", count=100)
        assert left.report().received == 100
        studio.relay.ip(f"link property del dev eth1 altname {name}")
        await_state(relay, "unresolved", ABSENT.format(name))


def test_a_flow_given_twice_by_two_names_of_a_device_is_refused_as_long_as_they_are_one(studio):
    second = TO_LEFT.replace("feed", "second").replace("studio", "other").replace("left", "right")
    interfaces = "interfaces:\n  other: {device: studio0}\n"
    config = studio.config(TO_LEFT, second).replace("interfaces:\n", interfaces)
    reason = (
        "input: 239.1.1.1:5001 on studio0 is already relayed by rule `feed`"
        " (eth0 and studio0 are one device); add outputs there"
    )

    def reasons():
        return {rule["name"]: (rule["state"], rule["reason"]) for rule in document_of(relay)["rules"]}

    absent = ("unresolved", "input: device studio0 is absent")
    with studio.daemon(config) as relay:
        assert reasons() == {"feed": ("active", ""), "second": absent}
        studio.relay.ip("link property add dev eth0 altname studio0")
        wait_until(lambda: reasons()["second"] == ("failed", reason), "the conflict")
        assert reasons()["feed"] == ("active", "")
        assert f"1 rule would not run: second: {reason}" in relay.ask("plan").stdout
        assert f"1 rule does not run: second: {reason}" in relay.ask("reload").stdout
        assert relay.ask("status", "--exit-code").returncode == 5
        left = Receiver(studio.left, "239.2.2.2:6001")
        studio.send("239.1.1.1:5001", count=100)
        assert left.report().received == 100
        studio.relay.ip("link property del dev eth0 altname studio0")
        wait_until(lambda: reasons() == {"feed": ("active", ""), "second": absent}, "the rule without device")


def test_a_link_that_flaps_causes_no_storm_in_the_log(studio):
    with studio.relaying(TO_LEFT) as relay:
        begun = time.monotonic()
        while time.monotonic() < begun + 4:
            studio.left.ip("link set eth0 down", "link set eth0 up")
        await_state(relay, "active", "")
        lasted = time.monotonic() - begun
        assert relay.log().count(NO_CARRIER) <= 8 + 2 * lasted
