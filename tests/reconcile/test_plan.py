"""The plan follows from the configuration and from the links and addresses of the host."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.config.compiler import compile_config
from mcrelay.config.reader import parse
from mcrelay.model.links import Link, LinkAddress, LinkState, LinkTable
from mcrelay.model.routes import HostRoute, NextHop, RouteAnswers, RouteKind, RouteQuery
from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.model.send_errors import PathFault
from mcrelay.model.state import (
    DesiredState,
    Egress,
    Flow,
    Ingress,
    MaxAge,
    Membership,
    PortReservation,
    Route,
    RouteOutput,
    WorkerState,
)
from mcrelay.reconcile.plan import plan, route_finder, supervisor_resource

HEAD = """
version: 1
interfaces:
  studio: {device: eth0}
  plant: {device: eth1}
  lab: {device: eth2, source: 10.20.0.7, ttl: 8, dscp: 34}
rules:
"""
CAMERA = """
  camera:
    input: {interface: studio, group: 239.1.1.1, port: 5001}
    outputs: [{interface: plant, group: 239.2.2.2, port: 6001}]
"""
FEED = """
  feed:
    input: {interface: plant, group: 232.1.1.1, port: 5001, sources: [10.0.0.5, 10.0.0.6]}
    outputs: [{interface: lab, group: 232.2.2.2}]
"""
TUNNEL = """
  tunnel:
    input: {interface: plant, address: 10.9.2.1, port: 6001}
    outputs: [{interface: lab, group: 239.3.3.3, source: 10.20.0.1, source_port: 4000, ttl: decrement}]
"""
BOTH = """
  both:
    input: {interface: studio, group: 239.1.1.9, port: 5001}
    outputs:
      - {interface: plant, group: 239.2.2.2, port: 6001}
      - {interface: lab, group: 239.2.2.2, port: 6001}
"""
ETH0, ETH1 = Link(2, "eth0"), Link(3, "eth1", addresses=(LinkAddress("10.9.2.1"), LinkAddress("10.9.2.2")))
ETH2 = Link(4, "eth2", mtu=9000, addresses=(LinkAddress("10.20.0.1"), LinkAddress("10.20.0.7")))

NEAR = Egress(3, "10.9.2.1")
MAX_AGE = MaxAge(10**9)
IDLE = DesiredState(WorkerState(frozenset({MAX_AGE})), worker_count=1)
CAMERA_FLOW = Flow(2, "239.1.1.1", 5001)
TO_PLANT = RouteOutput("plant", NEAR, "239.2.2.2", 6001, 64, "copy")


def config(*rules, head=HEAD):
    return compile_config([parse((head + "".join(rules)).encode(), "mcrelay.yaml")])


def host(*links):
    return LinkTable.of(links)


HOST = host(ETH0, ETH1, ETH2)


def planned(*rules, links=HOST):
    return plan(config(*rules), links, cpus=2)


def test_a_rule_becomes_a_ring_a_socket_a_route_and_a_membership():
    assert planned(CAMERA).state == DesiredState(
        WorkerState(
            resources=frozenset({MAX_AGE, Ingress(2, 2048), NEAR}),
            flows={CAMERA_FLOW: Route("camera", (TO_PLANT,))},
        ),
        worker_count=1,
        resources=frozenset({Membership(2, "239.1.1.1")}),
    )
    assert planned(CAMERA).rules == {"camera": RuleStatus(RuleState.ACTIVE)}


def test_each_source_is_a_flow_and_a_membership_of_its_own():
    state = planned(FEED).state
    flows = [Flow(3, "232.1.1.1", 5001, "10.0.0.5"), Flow(3, "232.1.1.1", 5001, "10.0.0.6")]
    assert list(state.forwarding.flows) == flows
    assert len(set(state.forwarding.flows.values())) == 1
    assert state.memberships == {
        Membership(3, "232.1.1.1", "10.0.0.5"),
        Membership(3, "232.1.1.1", "10.0.0.6"),
    }


def test_a_unicast_input_reserves_its_port_and_joins_no_group():
    state = planned(TUNNEL).state
    assert state.reservations == {PortReservation("10.9.2.1", 6001)}
    assert state.memberships == frozenset()


def test_an_output_says_where_it_sends_from_and_how():
    (route,) = planned(TUNNEL).state.forwarding.flows.values()
    assert route.outputs == (
        RouteOutput("lab", Egress(4, "10.20.0.1", 4000), "239.3.3.3", 6001, "decrement", 34),
    )


def test_outputs_that_send_from_one_address_share_a_socket():
    assert planned(CAMERA, BOTH).state.forwarding.egress == {NEAR, Egress(4, "10.20.0.7")}


@pytest.mark.parametrize(("mtu", "size"), [(1500, 2048), (9000, 16384), (65_536, 131_072)])
def test_a_ring_has_room_for_the_largest_packet_of_its_device(mtu, size):
    links = host(replace(ETH0, mtu=mtu), ETH1)
    assert planned(CAMERA, links=links).state.forwarding.ingress == {Ingress(2, size)}


@pytest.mark.parametrize(("workers", "count"), [("1", 1), ("3", 3), ("auto", 2)])
def test_the_file_or_the_number_of_cpus_says_how_many_workers_run(workers, count):
    head = HEAD.replace("version: 1", f"version: 1\nworkers: {workers}")
    state = plan(config(CAMERA, head=head), HOST, cpus=2).state
    assert list(state.workers) == list(range(count))


def test_without_rules_one_worker_runs_and_forwards_nothing():
    without_rules = config(head="version: 1\ninterfaces: {}\nrules: {}\n")
    assert plan(without_rules, HOST, cpus=2).state == IDLE


DISABLED = CAMERA + "    enabled: false\n"
FOREIGN_SOURCE = CAMERA.replace("port: 6001", "port: 6001, source: 10.9.2.9")


@pytest.mark.parametrize(
    ("rule", "links", "state", "reason"),
    [
        (DISABLED, HOST, RuleState.DISABLED, "`enabled: false` in the file"),
        (CAMERA, host(ETH1), RuleState.UNRESOLVED, "input: device eth0 is absent"),
        (CAMERA, host(ETH0), RuleState.UNRESOLVED, "output plant: device eth1 is absent"),
        (
            CAMERA,
            host(ETH0, Link(3, "eth1")),
            RuleState.UNRESOLVED,
            "output plant: device eth1 has no IPv4 address to send from",
        ),
        (
            FOREIGN_SOURCE,
            HOST,
            RuleState.UNRESOLVED,
            "output plant: source 10.9.2.9 is not an address of this host",
        ),
        (
            TUNNEL,
            host(Link(3, "eth1", addresses=(LinkAddress("10.9.2.3"),)), ETH2),
            RuleState.UNRESOLVED,
            "input: 10.9.2.1 is not an address of this host",
        ),
        (
            BOTH,
            host(ETH0, ETH1),
            RuleState.ACTIVE,
            "1 of 2 outputs does not run: output lab: device eth2 is absent",
        ),
        (
            BOTH,
            host(ETH0),
            RuleState.UNRESOLVED,
            "output plant: device eth1 is absent; output lab: device eth2 is absent",
        ),
    ],
)
def test_a_rule_that_does_not_run_as_it_should_says_why(rule, links, state, reason):
    (status,) = planned(rule, links=links).rules.values()
    assert status == RuleStatus(state, reason)


@pytest.mark.parametrize(("rule", "links"), [(DISABLED, HOST), (CAMERA, host(ETH1)), (CAMERA, host(ETH0))])
def test_a_rule_that_does_not_run_takes_nothing_from_the_host(rule, links):
    assert planned(rule, links=links).state == IDLE


def test_the_other_outputs_run_where_one_cannot():
    (route,) = planned(BOTH, links=host(ETH0, ETH1)).state.forwarding.flows.values()
    assert route.outputs == (TO_PLANT,)


NOT_UP = [
    (LinkState.DOWN, "is down"),
    (LinkState.NO_CARRIER, "has no carrier: check the cable or the peer"),
    (LinkState.LOWER_LAYER_DOWN, "has no carrier (lower layer down): check its lower device"),
    (LinkState.NOT_PRESENT, "is not present: its hardware was removed or sleeps"),
]


@pytest.mark.parametrize(("state", "words"), NOT_UP)
def test_a_rule_whose_input_is_not_up_says_so_and_keeps_its_flow(state, words):
    found = planned(CAMERA, links=host(replace(ETH0, state=state), ETH1))
    assert found.rules["camera"] == RuleStatus(RuleState.UNRESOLVED, f"device eth0 {words}")
    assert found.state == planned(CAMERA).state


@pytest.mark.parametrize(("state", "words"), NOT_UP)
def test_a_rule_none_of_whose_outputs_is_up_sends_nothing_and_says_so_once(state, words):
    rule = BOTH.replace("lab,", "plant,").replace("239.2.2.2, port: 6001}\n", "239.2.2.3, port: 6001}\n", 1)
    found = planned(rule, links=host(ETH0, replace(ETH1, state=state)))
    assert found.rules["both"] == RuleStatus(RuleState.UNRESOLVED, f"device eth1 {words}")
    (route,) = found.state.forwarding.flows.values()
    # The kernel itself refuses a packet for a device that is switched off.
    fault = None if state is LinkState.DOWN else PathFault.LINK_DOWN
    assert [output.fault for output in route.outputs] == [fault] * 2


def test_the_output_that_is_up_runs_where_another_has_no_carrier():
    found = planned(BOTH, links=host(ETH0, ETH1, replace(ETH2, state=LinkState.NO_CARRIER)))
    assert found.rules["both"] == RuleStatus(
        RuleState.ACTIVE, "device eth2 has no carrier: check the cable or the peer"
    )
    (route,) = found.state.forwarding.flows.values()
    assert [output.fault for output in route.outputs] == [None, PathFault.LINK_DOWN]


@pytest.mark.parametrize("state", [LinkState.DORMANT, LinkState.TESTING])
def test_a_device_that_is_not_ready_is_told_and_sent_to(state):
    found = planned(CAMERA, links=host(ETH0, replace(ETH1, state=state)))
    (status,) = found.rules.values()
    assert status.state is RuleState.ACTIVE
    assert status.reason.startswith(f"device eth1 is {state}: ")
    assert found.state == planned(CAMERA).state


UNICAST = CAMERA.replace("group: 239.2.2.2", "address: 10.9.2.77")


def test_a_unicast_output_without_a_carrier_says_so_and_not_that_there_is_no_route():
    links = host(ETH0, replace(ETH1, state=LinkState.NO_CARRIER))
    answers = RouteAnswers(
        {RouteQuery("10.9.2.77", 6001): HostRoute(RouteKind.NONE)},
        silent=frozenset([NextHop(3, "10.9.2.77")]),
    )
    found = plan(config(UNICAST), links, 1, answers=answers)
    assert found.rules["camera"].reason.startswith("device eth1 ")
    (route,) = found.state.forwarding.flows.values()
    (output,) = route.outputs
    assert (output.fault, output.egress.source) == (PathFault.LINK_DOWN, "10.9.2.1")


def test_a_device_is_found_by_an_alternative_name():
    links = host(Link(2, "eth5", altnames=("eth0", "studio")), ETH1)
    assert planned(CAMERA, links=links).state == planned(CAMERA).state


@pytest.mark.parametrize(
    ("present", "suggestion"), [("eht0", "; did you mean `eht0`?"), ("eth7", ""), ("en0", "")]
)
def test_an_absent_device_is_compared_with_those_of_the_same_number(present, suggestion):
    (status,) = planned(CAMERA, links=host(Link(2, present), ETH1)).rules.values()
    assert status.reason == f"input: device eth0 is absent{suggestion}"


def sixty(*interfaces):
    outputs = ", ".join(
        f"{{interface: {interfaces[n % len(interfaces)]}, group: 239.2.2.{n}, port: 6001}}" for n in range(60)
    )
    return (
        f"  many:\n    input: {{interface: studio, group: 239.1.1.1, port: 5001}}\n    outputs: [{outputs}]\n"
    )


@pytest.mark.parametrize(
    ("interfaces", "reason"),
    [
        (["plant"], "60 of 60 outputs: device eth1 is absent"),
        (["plant", "studio", "studio"], "20 of 60 outputs do not run: device eth1 is absent"),
        (
            ["plant", "lab"],
            "30 outputs: device eth1 is absent; 30 outputs: source 10.20.0.7 is not an address of this host",
        ),
    ],
)
def test_a_cause_that_outputs_share_is_told_once(interfaces, reason):
    links = host(replace(ETH0, addresses=(LinkAddress("10.1.0.1"),)), replace(ETH2, addresses=()))
    (status,) = planned(sixty(*interfaces), links=links).rules.values()
    assert status.reason == reason


def test_a_rule_that_does_not_run_changes_no_other_rule():
    assert planned(CAMERA, FEED, TUNNEL, links=host(ETH0, ETH1)).state == planned(CAMERA).state


def test_the_route_of_a_rule_is_the_one_of_the_plan_and_none_where_the_rule_does_not_run():
    both = config(CAMERA, TUNNEL)
    camera, tunnel = both.rules.values()
    find_route = route_finder(host(ETH0, ETH1))
    assert find_route(both, camera) == Route("camera", (TO_PLANT,))
    assert find_route(both, tunnel) is None


def test_a_source_may_be_an_address_of_another_device():
    rule = CAMERA.replace("port: 6001", "port: 6001, source: 10.20.0.1")
    assert planned(rule).state.forwarding.egress == {Egress(3, "10.20.0.1")}


def test_two_interfaces_of_one_device_read_one_ring():
    head = HEAD.replace("lab: {device: eth2, source: 10.20.0.7,", "lab: {device: eth0,")
    other = CAMERA.replace("camera", "other").replace("studio", "lab").replace("239.1.1.1", "239.1.1.7")
    state = plan(config(CAMERA, other, head=head), HOST, cpus=1).state
    assert state.forwarding.ingress == {Ingress(2, 2048)}
    assert {flow.ifindex for flow in state.forwarding.flows} == {2}


rules = st.permutations([CAMERA, FEED, TUNNEL, BOTH])
links = st.lists(st.sampled_from([ETH0, ETH1, ETH2]), unique=True).map(lambda some: host(*some))


@given(rules, links, st.randoms(use_true_random=False))
def test_the_order_of_rules_and_links_does_not_matter(rules, links, chance: random.Random):
    devices = list(links.links.values())
    chance.shuffle(devices)
    expected = planned(CAMERA, FEED, TUNNEL, BOTH, links=links)
    assert planned(*rules, links=host(*devices)) == expected


@given(links)
def test_a_plan_has_what_its_flows_need_and_nothing_else(links):
    state = planned(CAMERA, FEED, TUNNEL, BOTH, links=links).state
    assert {ingress.ifindex for ingress in state.forwarding.ingress} == {
        flow.ifindex for flow in state.forwarding.flows
    }
    sent = {output.egress for route in state.forwarding.flows.values() for output in route.outputs}
    assert state.forwarding.egress == sent
    assert state.resources == {supervisor_resource(flow) for flow in state.forwarding.flows}


@given(links)
def test_every_rule_has_a_status_and_runs_exactly_when_it_is_active(links):
    found = planned(CAMERA, FEED, TUNNEL, BOTH, links=links)
    running = {route.rule for route in found.state.forwarding.flows.values()}
    assert set(found.rules) == {"camera", "feed", "tunnel", "both"}
    assert {name for name, status in found.rules.items() if status.state is RuleState.ACTIVE} == running
    assert all(status.reason for status in found.rules.values() if status.state is not RuleState.ACTIVE)


def test_a_route_that_does_not_change_is_the_same_object():
    links = host(ETH0, ETH1, ETH2)
    before = plan(config(CAMERA, FEED), links, 1)
    changed = config(CAMERA.replace("6001", "6002"), FEED)
    after = plan(changed, links, 1, before)
    assert after == plan(changed, links, 1)
    flows, known = after.state.forwarding.flows, before.state.forwarding.flows
    assert [flow for flow in flows if flows[flow] is not known[flow]] == [CAMERA_FLOW]


# Broadcast.


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (
            TUNNEL.replace("10.9.2.1", "10.20.0.255"),
            "input: 10.20.0.255 is the broadcast address of eth2 (10.20.0.1/24), and broadcast is not"
            " supported yet: choose a group or the address of a host",
        ),
        (
            CAMERA.replace("group: 239.2.2.2", "address: 10.9.2.255"),
            "output plant: 10.9.2.255 is the broadcast address of eth1 (10.9.2.1/24), and broadcast is not"
            " supported yet: choose a group or the address of a host",
        ),
    ],
)
def test_a_rule_with_a_broadcast_address_has_failed_and_does_not_wait(rule, reason):
    (status,) = planned(rule).rules.values()
    assert status == RuleStatus(RuleState.FAILED, reason)


def test_an_output_to_a_broadcast_address_does_not_run_beside_others():
    rule = BOTH.replace("{interface: plant, group: 239.2.2.2", "{interface: plant, address: 10.9.2.255")
    found = planned(rule)
    assert found.rules["both"].state is RuleState.ACTIVE
    assert found.rules["both"].reason.startswith(
        "1 of 2 outputs does not run: output plant: 10.9.2.255 is the"
    )
    assert len(found.state.forwarding.routes_by_rule()["both"].outputs) == 1
    waiting = planned(rule, links=host(ETH0, ETH1)).rules["both"]
    assert waiting.state is RuleState.UNRESOLVED


def test_an_address_that_a_host_has_is_not_broadcast():
    both = replace(ETH1, addresses=(LinkAddress("10.9.2.255", 16), LinkAddress("10.9.2.1", 24)))
    found = planned(TUNNEL.replace("10.9.2.1", "10.9.2.255"), links=host(both, ETH2))
    assert found.rules["tunnel"].state is RuleState.ACTIVE


@pytest.mark.parametrize("prefix_length", [31, 32])
def test_a_link_between_two_hosts_has_no_broadcast_address(prefix_length):
    pair = replace(ETH1, addresses=(LinkAddress("10.9.2.254", prefix_length),))
    found = planned(CAMERA.replace("group: 239.2.2.2", "address: 10.9.2.255"), links=host(ETH0, pair))
    assert found.rules["camera"].state is RuleState.ACTIVE


def test_a_route_of_type_broadcast_is_not_used():
    query = RouteQuery("10.9.9.9", 6001)
    answers = RouteAnswers({query: HostRoute(RouteKind.BROADCAST, 3, None, "10.9.2.1")})
    rule = CAMERA.replace("group: 239.2.2.2", "address: 10.9.9.9")
    found = plan(config(rule), HOST, 2, answers=answers)
    assert found.rules["camera"] == RuleStatus(
        RuleState.FAILED,
        "output plant: 10.9.9.9 is a broadcast address, and broadcast is not supported yet: choose a group or"
        " the address of a host",
    )


def test_the_sockets_and_the_route_have_the_loopback_of_the_file():
    found = planned(
        CAMERA.replace("port: 5001}", "port: 5001, loopback: true}").replace(
            "port: 6001}", "port: 6001, loopback: true}"
        )
    )
    (route,) = found.state.forwarding.flows.values()
    assert route.loopback
    assert found.state.forwarding.egress == {Egress(3, "10.9.2.1", loopback=True)}


TWO_HOSTS = """
  hosts:
    input: {interface: studio, group: 239.1.1.9, port: 5001}
    outputs:
      - {interface: plant, address: 10.9.5.1, port: 6001}
      - {interface: plant, address: 10.9.5.2, port: 6001}
"""


@pytest.mark.parametrize(
    ("unreachable", "state", "reason"),
    [
        ([1], RuleState.ACTIVE, "1 of 2 outputs does not run: output plant: there is no route to 10.9.5.1"),
        ([1, 2], RuleState.UNRESOLVED, "output plant: there is no route to 10.9.5.1"),
    ],
)
def test_an_output_with_a_fault_stays_in_the_route_so_that_its_packets_are_counted(
    unreachable, state, reason
):
    answers = RouteAnswers(
        {RouteQuery(f"10.9.5.{number}", 6001): HostRoute(RouteKind.NONE) for number in unreachable}
    )
    found = plan(config(TWO_HOSTS), HOST, 1, None, answers)
    assert found.rules["hosts"].state is state
    assert found.rules["hosts"].reason.startswith(reason)
    (route,) = found.state.forwarding.flows.values()
    assert [output.fault for output in route.outputs] == [
        PathFault.NO_ROUTE if number in unreachable else None for number in (1, 2)
    ]
    assert found.state.memberships
