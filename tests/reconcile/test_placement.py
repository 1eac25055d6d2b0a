"""A rule is placed in the kernel where the kernel can relay it, and the reason is told where it cannot."""

from dataclasses import replace

import pytest

from mcrelay.config.compiler import compile_config
from mcrelay.config.reader import parse
from mcrelay.model.addresses import group_ethernet_address
from mcrelay.model.links import Link, LinkAddress, LinkState, LinkTable
from mcrelay.model.routes import HostRoute, NextHop, RouteAnswers, RouteKind, RouteQuery
from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.model.send_errors import PathFault
from mcrelay.model.state import Attachment, Egress, EthernetPath, Flow, Ingress, Membership
from mcrelay.reconcile.placement import KernelSupport, Placement, move_to_workers, placement_without_route
from mcrelay.reconcile.plan import plan

KERNEL = KernelSupport()
FLOW = Flow(2, "239.1.1.1", 5001)
NEAR = Egress(3, "10.9.2.1")
HOST = "10.9.2.50"
HOP, HOP_ADDRESS = NextHop(3, HOST), "02:00:00:00:00:50"
ROUTE = {RouteQuery(HOST, 6001): HostRoute(RouteKind.UNICAST, 3, None, "10.9.2.1")}
ETH0 = Link(2, "eth0", ethernet_address="02:00:00:00:00:02")
ETH1 = Link(3, "eth1", addresses=(LinkAddress("10.9.2.1"),), ethernet_address="02:00:00:00:00:03")
TUN = Link(4, "tun0", addresses=(LinkAddress("10.8.0.1"),), has_neighbours=False)
TO_GROUP = "{interface: plant, group: 239.2.2.2, port: 6001}"
TO_HOST = f"{{interface: plant, address: {HOST}, port: 6001}}"


def planned(
    *outputs, head="", plane="auto", options="", links=(ETH0, ETH1, TUN), answers=None, kernel=KERNEL
):
    """Return the plan of a rule `feed` of eth0, on a host whose kernel can relay."""
    text = f"""
version: 1
data_plane: {plane}
{head}
interfaces: {{studio: {{device: eth0}}, plant: {{device: eth1}}, away: {{device: tun0}}}}
rules:
  feed:
    input: {{interface: studio, group: 239.1.1.1, port: 5001}}
    outputs: [{", ".join(outputs or [TO_GROUP])}]
    {options}
"""
    config = compile_config([parse(text.encode(), "mcrelay.yaml")])
    return plan(config, LinkTable.of(links), 1, None, answers or RouteAnswers(), kernel)


def placement(*outputs, **arguments):
    return planned(*outputs, **arguments).placements["feed"]


def test_a_rule_to_a_group_is_in_the_kernel_and_needs_no_worker_no_ring_and_no_socket():
    result = planned()
    assert result.placements == {"feed": Placement(is_kernel=True)}
    assert result.placements["feed"].data_plane == "kernel"
    assert result.rules == {"feed": RuleStatus(RuleState.ACTIVE)}
    assert list(result.state.workers) == []
    assert result.state.forwarding.flows == {}
    assert result.state.kernel.resources == {Attachment(2)}
    [output] = result.state.kernel.flows[FLOW].outputs
    assert output.path == EthernetPath("02:00:00:00:00:03", "01:00:5e:02:02:02", 1500)
    assert result.state.memberships == {Membership(2, "239.1.1.1")}
    assert result.state.routes_by_rule() == {"feed": result.state.kernel.flows[FLOW]}


def test_the_ethernet_address_of_a_group_has_its_lower_23_bits():
    assert group_ethernet_address("239.129.1.10") == "01:00:5e:01:01:0a"


def test_a_unicast_output_is_in_the_kernel_and_a_worker_counts_what_comes_back():
    result = planned(TO_HOST, answers=RouteAnswers(ROUTE, addresses={HOP: HOP_ADDRESS}))
    assert result.placements["feed"].is_kernel
    [output] = result.state.kernel.flows[FLOW].outputs
    assert output.path == EthernetPath("02:00:00:00:00:03", HOP_ADDRESS, 1500)
    assert list(result.state.workers) == [0]
    assert result.state.forwarding.egress == {Egress(3, "10.9.2.1", routing="host")}
    assert not result.state.forwarding.ingress


@pytest.mark.parametrize("plane", ["auto", "kernel"])
@pytest.mark.parametrize("silent", [frozenset(), frozenset({HOP})])
def test_until_the_address_of_the_next_hop_is_known_the_workers_relay(plane, silent):
    result = planned(TO_GROUP, TO_HOST, plane=plane, answers=RouteAnswers(ROUTE, silent))
    assert result.placements["feed"] == Placement(reason=f"the Ethernet address of {HOST} is not known yet")
    assert FLOW in result.state.forwarding.flows


def test_an_output_with_a_fault_has_no_path_and_keeps_the_others_in_the_kernel():
    lost = RouteAnswers({RouteQuery(HOST, 6001): HostRoute(RouteKind.NONE)})
    result = planned(TO_GROUP, TO_HOST, answers=lost)
    assert result.placements["feed"].is_kernel
    to_group, to_host = result.state.kernel.flows[FLOW].outputs
    assert to_group.path
    assert not to_host.path
    assert to_host.fault is PathFault.NO_ROUTE


def test_a_device_without_carrier_changes_no_placement():
    dark = Link(
        3, "eth1", state=LinkState.NO_CARRIER, addresses=ETH1.addresses, ethernet_address="02:00:00:00:00:03"
    )
    result = planned(links=(ETH0, dark))
    assert result.placements["feed"].is_kernel
    assert result.rules["feed"].state is RuleState.UNRESOLVED


def test_an_output_whose_device_is_down_is_told_so_by_the_kernel_as_by_a_socket():
    down = replace(ETH1, state=LinkState.DOWN)
    in_kernel, in_workers = planned(links=(ETH0, down)), planned(links=(ETH0, down), plane="userspace")
    assert in_kernel.placements["feed"].is_kernel
    assert in_kernel.rules == in_workers.rules
    [of_kernel] = in_kernel.state.kernel.flows[FLOW].outputs
    [of_workers] = in_workers.state.forwarding.flows[FLOW].outputs
    assert (of_kernel.fault, of_kernel.path) == (PathFault.LINK_DOWN, None)
    assert of_workers.fault is None  # the socket refuses with ENETDOWN


SMALL = Link(3, "eth1", mtu=1400, addresses=ETH1.addresses, ethernet_address="02:00:00:00:00:03")
MANY = [f"{{interface: plant, group: 239.2.2.{number}, port: 6001}}" for number in range(65)]
OBSTACLES = {
    "an output device without Ethernet": (
        {"outputs": ["{interface: away, group: 239.2.2.2, port: 6001}"]}, "tun0 is not an Ethernet device"
    ),
    "an input device without Ethernet": (
        {"links": (Link(2, "eth0"), ETH1)}, "eth0 is not an Ethernet device"
    ),
    "a smaller MTU": (
        {"links": (ETH0, SMALL)},
        "its packets may have to be fragmented (MTU 1500 of eth0, 1400 of eth1)",
    ),
    "too many outputs": ({"outputs": MANY}, "65 outputs are more than the 64 of a rule in the kernel"),
    "loopback of an output": (
        {"outputs": ["{interface: plant, group: 239.2.2.2, port: 6001, loopback: true}"]},
        "`loopback` needs the workers",
    ),
    "no kernel data plane": ({"kernel": KernelSupport("Linux 4.19 is too old")}, "Linux 4.19 is too old"),
    "a rule that the kernel refused": (
        {"kernel": KernelSupport(refused={"feed": "no memory", "other": "else"})}, "no memory"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OBSTACLES)
def test_what_the_kernel_cannot_relay_is_relayed_by_workers_and_the_reason_is_told(name):
    arguments, reason = OBSTACLES[name]
    outputs = arguments.get("outputs", ())
    result = planned(*outputs, **{key: value for key, value in arguments.items() if key != "outputs"})
    assert result.placements["feed"] == Placement(reason=reason)
    assert result.rules["feed"].state is RuleState.ACTIVE
    assert FLOW in result.state.forwarding.flows
    assert not result.state.kernel.flows


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("data_plane: kernel", "`data_plane: kernel`: Linux 4.19 is too old"),
        ("exclusive: true", "`exclusive: true` needs the kernel data plane: Linux 4.19 is too old"),
    ],
)
def test_a_rule_for_the_kernel_alone_fails_where_the_kernel_cannot_relay_it(options, reason):
    result = planned(options=options, kernel=KernelSupport("Linux 4.19 is too old"))
    assert result.rules == {"feed": RuleStatus(RuleState.FAILED, reason)}
    assert not result.placements
    assert not result.state.flows


def test_the_file_decides_for_the_workers():
    assert placement(plane="userspace") == Placement()
    assert placement(options="data_plane: userspace").data_plane == "userspace"


def test_an_exclusive_rule_is_exclusive_in_the_kernel():
    assert planned(options="exclusive: true").state.kernel.flows[FLOW].exclusive


def test_a_plan_without_any_word_of_the_kernel_is_one_for_workers():
    reason = planned(kernel=KernelSupport("there is no kernel data plane")).placements["feed"].reason
    assert reason == "there is no kernel data plane"


def test_a_rule_that_moves_to_the_workers_gets_what_it_needs_there():
    state = planned(TO_GROUP, TO_HOST, answers=RouteAnswers(ROUTE, addresses={HOP: HOP_ADDRESS})).state
    moved = move_to_workers(state, {"feed"})
    assert not moved.kernel.flows
    assert not moved.kernel.resources
    assert moved.forwarding.ingress == {Ingress(2, 2048)}
    assert moved.forwarding.egress == {NEAR, Egress(3, "10.9.2.1", routing="host")}
    [route] = moved.forwarding.flows.values()
    assert [output.path for output in route.outputs] == [None, None]
    assert list(moved.workers) == [0]


def test_other_rules_do_not_move():
    state = planned().state
    assert move_to_workers(state, {"other"}) is state


def test_an_unchanged_route_is_the_same_object_in_either_data_plane():
    first = planned()
    config = compile_config(
        [
            parse(
                b"version: 1\ninterfaces: {studio: {device: eth0}, plant: {device: eth1}}\n"
                b"rules: {feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
                b" outputs: [{interface: plant, group: 239.2.2.2, port: 6001}]}}\n",
                "mcrelay.yaml",
            )
        ]
    )
    again = plan(config, LinkTable.of((ETH0, ETH1, TUN)), 1, first, RouteAnswers(), KERNEL)
    assert again.state.kernel.flows[FLOW] is first.state.kernel.flows[FLOW]


def test_where_the_kernel_is_not_the_default_a_rule_must_ask_for_it():
    opted = KernelSupport(is_default=False)
    assert placement(kernel=opted) == Placement()
    assert placement(kernel=opted, plane="kernel").is_kernel
    assert placement(kernel=opted, options="exclusive: true").is_kernel


@pytest.mark.parametrize(
    ("options", "is_kernel"), [("enabled: false", True), ("enabled: false, data_plane: userspace", False)]
)
def test_a_rule_without_a_route_shows_the_data_plane_that_the_file_asks_for(options, is_kernel):
    text = (
        "version: 1\ninterfaces: {studio: {device: eth0}, plant: {device: eth1}}\n"
        "rules: {feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
        f" outputs: [{{interface: plant, group: 239.2.2.2, port: 6001}}], {options}}}}}\n"
    )
    rule = compile_config([parse(text.encode(), "mcrelay.yaml")]).rules["feed"]
    assert placement_without_route(rule).is_kernel is is_kernel
