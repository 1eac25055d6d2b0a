"""Two names of one device: what the compiler refuses by the names in the files is refused by the links."""

import pytest

from mcrelay.config.compiler import compile_config
from mcrelay.config.reader import parse
from mcrelay.model.links import Link, LinkAddress, LinkTable
from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.reconcile.conflicts import Conflicts, find_conflicts
from mcrelay.reconcile.plan import plan, route_finder

HEAD = """
version: 1
interfaces:
  studio: {device: eth0}
  camera-net: {device: camera0}
  third-name: {device: camera1}
  plant: {device: eth1}
  factory: {device: factory0}
rules:
"""
ETH0 = Link(2, "eth0", addresses=(LinkAddress("10.1.0.1"),), altnames=("camera0", "camera1"))
ETH1 = Link(3, "eth1", addresses=(LinkAddress("10.9.2.1"),), altnames=("factory0",))
LINKS = LinkTable.of([ETH0, ETH1])
TWO_DEVICES = LinkTable.of([Link(2, "eth0"), Link(4, "camera0"), ETH1])


def rule(name, interface, *outputs, extra="", **keys):
    accepted = "".join(f", {key}: {value}" for key, value in keys.items() if value)
    sent = ", ".join(f"{{{output}}}" for output in outputs or ("interface: plant, group: 239.2.2.2",))
    text = f"input: {{interface: {interface}, group: 239.1.1.1, port: 5001{accepted}}}, outputs: [{sent}]"
    return f"  {name}: {{{text}{extra}}}\n"


def config(*rules):
    return compile_config([parse((HEAD + "".join(rules)).encode(), "mcrelay.yaml")])


def planned(*rules, links=LINKS):
    return plan(config(*rules), links, 1)


def statuses(*rules, links=LINKS):
    return planned(*rules, links=links).rules


ACTIVE = RuleStatus(RuleState.ACTIVE)
RELAYED = (
    "input: 239.1.1.1:5001 on camera0 is already relayed by rule `first` (eth0 and camera0 are one device);"
    " add outputs there"
)
OUTPUT = "interface: factory, group: 239.2.2.2"


def test_a_flow_that_an_earlier_rule_relays_by_another_name_of_the_device_is_refused():
    both = rule("first", "studio"), rule("second", "camera-net", OUTPUT)
    found = planned(*both)
    assert found.rules == {"first": ACTIVE, "second": RuleStatus(RuleState.FAILED, RELAYED)}
    assert found.state == planned(both[0]).state
    assert statuses(*both, links=TWO_DEVICES) == {"first": ACTIVE, "second": ACTIVE}


def test_the_earlier_rule_is_kept_also_where_it_cannot_run():
    first = rule("first", "studio", "interface: plant, group: 239.2.2.2, source: 10.9.9.9")
    found = statuses(first, rule("second", "camera-net"))
    assert found["first"].state is RuleState.UNRESOLVED
    assert found["second"] == RuleStatus(RuleState.FAILED, RELAYED)


@pytest.mark.parametrize(
    ("first", "second", "is_refused"),
    [
        ("[10.0.0.5]", "[10.0.0.6]", False),
        ("[10.0.0.5]", "[10.0.0.6, 10.0.0.5]", True),
        ("[10.0.0.5]", "", True),
        ("", "[10.0.0.5]", True),
    ],
)
def test_only_a_source_that_both_rules_accept_is_a_conflict(first, second, is_refused):
    found = statuses(rule("first", "studio", sources=first), rule("second", "camera-net", sources=second))
    assert (found["second"].state is RuleState.FAILED) == is_refused


def test_a_rule_that_is_refused_or_disabled_is_in_the_way_of_no_other():
    found = statuses(
        rule("disabled", "studio", extra=", enabled: false"),
        rule("first", "studio", sources="[10.0.0.5]"),
        rule("second", "camera-net"),
        rule("third", "third-name", sources="[10.0.0.6]"),
    )
    assert [status.state for status in found.values()] == ["disabled", "active", "failed", "active"]


def test_an_output_that_an_earlier_output_of_the_rule_equals_is_refused():
    found = planned(rule("first", "studio", "interface: plant, group: 239.2.2.2", OUTPUT))
    reason = (
        "1 of 2 outputs does not run: output factory: 239.2.2.2:5001 on factory0 is already an output"
        " (eth1 and factory0 are one device); delete one of them"
    )
    assert found.rules == {"first": RuleStatus(RuleState.ACTIVE, reason)}
    (route,) = found.state.forwarding.flows.values()
    assert [output.interface for output in route.outputs] == ["plant"]


def test_a_rule_does_not_send_into_its_own_input():
    reason = (
        "output camera-net: 239.1.1.1:5001 on camera0 is the rule's own input"
        " (eth0 and camera0 are one device): packets would loop forever"
    )
    found = statuses(rule("first", "studio", "interface: camera-net"))
    assert found == {"first": RuleStatus(RuleState.FAILED, reason)}


@pytest.mark.parametrize(
    ("sources", "source", "is_refused"),
    [("", "", True), ("[10.9.2.1]", ", source: 10.9.2.1", True), ("[10.9.9.9]", "", False)],
)
def test_a_rule_does_not_hear_another_rule_on_the_same_host(sources, source, is_refused):
    hears = "interface: factory, group: 239.1.1.1, port: 5001, loopback: true" + source
    found = statuses(
        rule("sends", "studio", hears, "interface: plant, group: 239.7.7.7"),
        rule("hears", "plant", "interface: studio, group: 239.5.5.5", loopback="true", sources=sources),
    )
    reason = (
        "1 of 2 outputs does not run: output factory: 239.1.1.1:5001 on factory0 is the input of rule `hears`"
        ", which has `loopback`, too (eth1 and factory0 are one device): the relay would hear itself; delete"
        " one of them"
    )
    assert (found["sends"].reason == reason) == is_refused


def test_a_device_that_is_absent_or_has_one_name_in_the_files_is_no_conflict():
    both = config(rule("first", "studio"), rule("second", "camera-net", OUTPUT))
    assert find_conflicts(both, LinkTable.of([Link(2, "eth0", altnames=("other",))])) == Conflicts()
    for aliased in (ETH0, ETH1):
        assert find_conflicts(config(rule("first", "studio")), LinkTable.of([aliased])) == Conflicts()


def test_a_rule_that_is_refused_has_no_route():
    both = config(rule("first", "studio"), rule("second", "camera-net", OUTPUT))
    find_route = route_finder(LINKS)
    assert [find_route(both, one) is None for one in both.rules.values()] == [False, True]
