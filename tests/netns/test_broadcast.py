"""Broadcast is refused with its own words, by `check` where the file tells it and else by the host."""

import json

import pytest

from mcrelay.lab import Receiver

UNSUPPORTED = "broadcast is not supported yet: choose a group or the address of a host"
OF_ETH1 = f"10.2.0.255 is the broadcast address of eth1 (10.2.0.1/24), and {UNSUPPORTED}"
FEED = "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001}, outputs: [%s]}"
TO_LEFT, TO_ALL = (
    f"{{interface: left, {where}, port: 6001}}" for where in ("group: 239.2.2.2", "address: 10.2.0.255")
)


@pytest.mark.parametrize("key", ["group: 255.255.255.255", "address: 255.255.255.255", "broadcast: true"])
def test_check_and_a_reload_refuse_broadcast(studio, key):
    good = studio.config(FEED % TO_LEFT)
    with studio.daemon(good) as relay:
        for config in (good.replace("group: 239.1.1.1", key), good.replace("group: 239.2.2.2", key)):
            relay.config.write_text(config)
            checked = relay.ask("check", str(relay.config))
            assert (checked.returncode, checked.stdout.count(UNSUPPORTED)) == (78, 1)
            assert relay.ask("reload").returncode != 0
        assert json.loads(relay.ask("status", "--json").stdout)["rules"][0]["state"] == "active"


def test_a_broadcast_address_of_a_subnet_of_the_host_is_a_failure_that_does_not_wait(studio):
    taken = (
        "taken: {input: {interface: left, address: 10.2.0.255, port: 5001},"
        " outputs: [{interface: left, group: 239.3.3.3}]}"
    )
    with studio.relaying(FEED % TO_ALL, taken) as relay:
        planned = json.loads(relay.ask("plan", "--json").stdout)["rules"]
        status = json.loads(relay.ask("status", "--json").stdout)["rules"]
        detail = relay.ask("status", "feed").stdout
        code = relay.ask("status", "--exit-code").returncode
    reasons = {"feed": f"output left: {OF_ETH1}", "taken": f"input: {OF_ETH1}"}
    for rules in (planned, status):
        assert {rule["name"]: (rule["state"], rule["reason"]) for rule in rules} == {
            name: ("failed", reason) for name, reason in reasons.items()
        }
    assert "starts as soon as" not in detail
    assert code == 5


def test_an_output_to_a_broadcast_address_does_not_keep_the_others_from_running(studio):
    with studio.relaying(FEED % f"{TO_LEFT}, {TO_ALL}") as relay:
        left, everyone = Receiver(studio.left, "239.2.2.2:6001"), Receiver(studio.left, "10.2.0.255:6001")
        studio.send("239.1.1.1:5001", 500)
        assert left.report().received == 500
        assert everyone.interrupt().received == 0
        (feed,) = json.loads(relay.ask("status", "--json").stdout)["rules"]
    assert (feed["state"], feed["reason"]) == (
        "active",
        f"1 of 2 outputs does not run: output left: {OF_ETH1}",
    )
