"""Rules in the kernel are right again after their devices, addresses, or neighbours have changed."""

import json
import socket
import sys
from textwrap import dedent

import pytest

from mcrelay.lab.command import wait_until
from tests.netns.support.frames import FOREIGN, GROUP, PORT
from tests.netns.support.kernel_relay import attached, has_tcx
from tests.netns.support.worker_harness import UdpListener, numbered_payloads

FEED = (
    "feed: {data_plane: kernel, input: {interface: studio, group: 239.1.1.1, port: 5001}, outputs:"
    " [{interface: left, group: 239.2.2.2, port: 6001}, {interface: right, address: 10.3.0.2, port: 6001}]}"
)
COUNT = 500
PROBE = b"probe"
# Runs a daemon as on a kernel without tcx links.
BEFORE_TCX = """\
    #!{python} -I
    import runpy, sys
    from mcrelay.kernel import plane
    from mcrelay.kernel.hooks import ClsactHook

    plane.choose_hook = lambda directory, program: ClsactHook(directory)
    del sys.argv[:3]  # this file, -I, -m
    runpy.run_module("mcrelay", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(params=["tcx", "clsact"])
def options(request, studio, tmp_path):
    """The options of a daemon that attaches its program in one way or the other."""
    if request.param == "tcx":
        if not has_tcx():
            pytest.skip("tcx links need Linux 6.6")
        return {}
    python = tmp_path / "python"
    python.write_text(dedent(BEFORE_TCX).format(python=sys.executable))
    python.chmod(0o755)
    return {"python": str(python)}


def send(studio, payloads):
    """Send to the input of the feed, from whatever device the sender has now."""
    with studio.sender.enter_namespace():
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with opened:
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(FOREIGN))
        for payload in payloads:
            opened.sendto(payload, (GROUP, PORT))


def rule_of(relay, name="feed"):
    rules = json.loads(relay.ask("status", "--json").stdout)["rules"]
    return next(rule for rule in rules if rule["name"] == name)


def await_plane(relay, plane, reason=""):
    def is_there():
        rule = rule_of(relay)
        return rule["data_plane"] == plane and reason in rule["data_plane_reason"] and rule["outputs"]

    wait_until(is_there, f"the data plane {plane}: {reason}")


def listen(studio):
    """Return a listener at each receiver, which must be new after its device was re-created."""
    return UdpListener(studio.left), UdpListener(studio.right, "10.3.0.2")


def assert_relayed(studio, relay, listeners, plane="kernel"):
    """Wait until both receivers get packets; then each gets all, once, and `plane` relays them."""
    for listener in listeners:
        await_arrival(studio, listener)
    await_plane(relay, plane)
    # A packet may arrive before the relay has learnt that the neighbour failed to answer, and answers now.
    # An error of the queue of a device that was just coming up is told for a while.
    wait_until(lambda: (rule_of(relay)["state"], rule_of(relay)["reason"]) == ("active", ""), "no error")
    payloads = numbered_payloads(COUNT)
    send(studio, payloads)
    datagrams = [numbered(listener) for listener in listeners]
    assert [[datagram.payload for datagram in found] for found in datagrams] == [payloads, payloads]
    wait_until(lambda: GROUP in studio.relay.groups("eth0"), "the membership")
    assert (rule_of(relay)["state"], rule_of(relay)["reason"]) == ("active", "")
    return [found[-1] for found in datagrams]


def await_arrival(studio, listener):
    def has_arrived():
        send(studio, [PROBE])
        return listener.receive_waiting()

    wait_until(has_arrived, "a relayed packet")


def numbered(listener):
    """Return the next COUNT datagrams that are not probes, and check that no more are waiting."""
    found = []
    while len(found) < COUNT:
        datagram = listener.receive_next()
        if datagram.payload != PROBE:
            found.append(datagram)
    assert listener.receive_waiting() == []
    return found


def number_of(host, device):
    with host.enter_namespace():
        return socket.if_nametoindex(device)


def mac_of(host, device):
    (link,) = json.loads(host.run(["ip", "-json", "link", "show", "dev", device]).stdout)
    return link["address"]


def attached_to(host, device="eth0"):
    with host.enter_namespace():
        return attached(socket.if_nametoindex(device))


# The device of the input.


def recreate(studio, device, peer, address, peer_address, number=None):
    """Delete a device and its peer, and create them again, with the old number or another one."""
    index = f"index {number}" if number else ""
    studio.relay.ip(f"link delete {device}")
    studio.relay.ip(
        f"link add {device} {index} type veth peer name eth0 netns {peer.namespace}",
        f"address add {address} dev {device}",
        f"link set {device} up",
    )
    peer.ip(f"address add {peer_address} dev eth0", "link set eth0 up")


def recreate_input(studio):
    recreate(studio, "eth0", studio.sender, "10.1.0.1/24", "192.168.168.55/24")


def recreate_input_with_its_number(studio):
    number = number_of(studio.relay, "eth0")
    recreate(studio, "eth0", studio.sender, "10.1.0.1/24", "192.168.168.55/24", number)


def rename_input(studio):
    studio.relay.ip("link set eth0 down", "link set eth0 name other", "link set other up")
    studio.relay.ip("link set other down", "link set other name eth0", "link set eth0 up")


def move_input(studio):
    studio.relay.ip(f"link set eth0 netns {studio.right.namespace} name moved")
    studio.right.ip(f"link set moved netns {studio.relay.namespace} name eth0")
    studio.relay.ip("address add 10.1.0.1/24 dev eth0", "link set eth0 up")


def switch_input_off(studio):
    studio.relay.ip("link set eth0 down", "link set eth0 up")


def take_carrier_of_input(studio):
    studio.sender.ip("link set eth0 down", "link set eth0 up")


def change_mac_of_input(studio):
    studio.relay.ip("link set eth0 address 02:00:00:00:00:10")


INPUT_CHANGES = [
    recreate_input,
    recreate_input_with_its_number,
    rename_input,
    move_input,
    switch_input_off,
    take_carrier_of_input,
    change_mac_of_input,
]


def test_an_input_is_right_again_after_each_change_of_its_device(studio, options):
    with studio.relaying(FEED, **options) as relay:
        listeners = listen(studio)
        assert_relayed(studio, relay, listeners)
        for change in INPUT_CHANGES:
            change(studio)
            assert_relayed(studio, relay, listeners)
            (_,) = attached_to(studio.relay)
    assert attached_to(studio.relay) == []


def test_workers_read_a_device_that_was_created_again_with_its_number(studio):
    with studio.relaying(FEED.replace("kernel", "userspace")) as relay:
        listeners = listen(studio)
        assert_relayed(studio, relay, listeners, "userspace")
        recreate_input_with_its_number(studio)
        assert_relayed(studio, relay, listeners, "userspace")


def test_an_input_that_is_away_is_told_and_comes_back(studio, options):
    with studio.relaying(FEED, **options) as relay:
        listeners = listen(studio)
        studio.relay.ip(f"link set eth0 netns {studio.right.namespace} name moved")
        wait_until(lambda: "device eth0 is absent" in rule_of(relay)["reason"], "the reason")
        wait_until(lambda: not attached_to(studio.right, "moved"), "the removal of the program")
        studio.right.ip(f"link set moved netns {studio.relay.namespace} name eth0")
        studio.relay.ip("address add 10.1.0.1/24 dev eth0", "link set eth0 up")
        assert_relayed(studio, relay, listeners)


# The devices of the outputs.


def recreate_outputs(studio):
    recreate(studio, "eth1", studio.left, "10.2.0.1/24", "10.2.0.2/24")
    recreate(studio, "eth2", studio.right, "10.3.0.1/24", "10.3.0.2/24")


def recreate_outputs_with_their_numbers(studio):
    numbers = [number_of(studio.relay, device) for device in ("eth1", "eth2")]
    recreate(studio, "eth1", studio.left, "10.2.0.1/24", "10.2.0.2/24", numbers[0])
    recreate(studio, "eth2", studio.right, "10.3.0.1/24", "10.3.0.2/24", numbers[1])


def rename_outputs(studio):
    for device in ("eth1", "eth2"):
        studio.relay.ip(f"link set {device} down", f"link set {device} name other", "link set other up")
        studio.relay.ip("link set other down", f"link set other name {device}", f"link set {device} up")


def move_outputs(studio):
    for device, address in (("eth1", "10.2.0.1/24"), ("eth2", "10.3.0.1/24")):
        studio.relay.ip(f"link set {device} netns {studio.sender.namespace} name moved")
        studio.sender.ip(f"link set moved netns {studio.relay.namespace} name {device}")
        studio.relay.ip(f"address add {address} dev {device}", f"link set {device} up")


def switch_outputs_off(studio):
    for device in ("eth1", "eth2"):
        studio.relay.ip(f"link set {device} down", f"link set {device} up")


def take_carriers_of_outputs(studio):
    for receiver in (studio.left, studio.right):
        receiver.ip("link set eth0 down", "link set eth0 up")


def change_macs_of_outputs(studio):
    studio.relay.ip("link set eth1 address 02:00:00:00:00:11", "link set eth2 address 02:00:00:00:00:12")


@pytest.mark.parametrize(
    "changes",
    [
        [recreate_outputs, recreate_outputs_with_their_numbers],
        [rename_outputs, move_outputs, switch_outputs_off, take_carriers_of_outputs, change_macs_of_outputs],
    ],
    ids=["new devices", "same devices"],
)
def test_outputs_are_right_again_after_each_change_of_their_devices(studio, changes):
    with studio.relaying(FEED) as relay:
        for change in changes:
            change(studio)
            assert_relayed(studio, relay, listen(studio))


# Their addresses and sizes, and their neighbours.


def test_another_address_of_an_output_is_the_source_from_then_on(studio):
    with studio.relaying(FEED) as relay:
        for device, network in (("eth1", "10.2.0"), ("eth2", "10.3.0")):
            studio.relay.ip(f"address delete {network}.1/24 dev {device}")
            studio.relay.ip(f"address add {network}.7/24 dev {device}")
        wait_until(lambda: "10.3.0.7" in json.dumps(rule_of(relay)["outputs"]), "the other sources")
        last = assert_relayed(studio, relay, listen(studio))
        assert [datagram.source for datagram in last] == ["10.2.0.7", "10.3.0.7"]


def test_a_rule_is_in_the_workers_while_an_output_has_a_smaller_mtu(studio):
    with studio.relaying(FEED.replace("data_plane: kernel, ", "")) as relay:
        listeners = listen(studio)
        assert_relayed(studio, relay, listeners)
        studio.relay.ip("link set eth1 mtu 1400")
        await_plane(relay, "userspace", "MTU 1500 of eth0, 1400 of eth1")
        assert_relayed(studio, relay, listeners, "userspace")
        studio.relay.ip("link set eth1 mtu 1500")
        assert_relayed(studio, relay, listeners)


def test_a_neighbour_is_used_by_its_new_ethernet_address_and_asked_when_its_entry_is_gone(studio):
    with studio.relaying(FEED) as relay:
        listeners = listen(studio)
        studio.right.ip("link set eth0 address 02:00:00:00:00:22")
        studio.relay.ip("neighbour replace 10.3.0.2 lladdr 02:00:00:00:00:22 dev eth2 nud reachable")
        assert_relayed(studio, relay, listeners)
        studio.right.ip("link set eth0 address 02:00:00:00:00:23")
        studio.relay.ip("neighbour flush dev eth2")
        assert_relayed(studio, relay, listeners)


@pytest.mark.parametrize("plane", ["kernel", "userspace"])
def test_a_neighbour_that_changes_its_ethernet_address_silently_is_found_when_its_entry_is_stale(
    studio, plane
):
    for name, value in (
        ("base_reachable_time_ms", 1000),
        ("delay_first_probe_time", 1),
        ("retrans_time_ms", 50),
    ):
        studio.relay.sysctl(f"net.ipv4.neigh.eth2.{name}", value)
    with studio.relaying(FEED.replace("data_plane: kernel", f"data_plane: {plane}")) as relay:
        listeners = listen(studio)
        assert_relayed(studio, relay, listeners, plane)
        studio.right.ip("link set eth0 address 02:00:00:00:00:24")
        assert_relayed(studio, relay, listeners, plane)
        assert mac_in_neighbour_table(studio.relay, "10.3.0.2") == "02:00:00:00:00:24"


def test_packets_to_a_neighbour_that_fails_are_counted_until_it_answers_again(studio):
    studio.relay.sysctl("net.ipv4.neigh.eth2.base_reachable_time_ms", 1000)
    studio.relay.sysctl("net.ipv4.neigh.eth2.retrans_time_ms", 50)
    with studio.relaying(FEED) as relay:
        listeners = listen(studio)
        assert_relayed(studio, relay, listeners)
        studio.right.ip("link set eth0 arp off")
        studio.relay.ip("neighbour flush dev eth2")
        wait_until(lambda: "does not answer ARP" in rule_of(relay)["reason"], "the failure")
        send(studio, numbered_payloads(COUNT))
        assert len(numbered(listeners[0])) == COUNT
        studio.right.ip("link set eth0 arp on")
        assert_relayed(studio, relay, listeners)
        errors = [output["drops"]["send_error"] for output in rule_of(relay)["outputs"]]
        assert not errors[0]
        assert errors[1]["no_neighbor"] >= COUNT


def mac_in_neighbour_table(host, address):
    (entry,) = json.loads(host.run(["ip", "-json", "neighbour", "show", "to", address]).stdout)
    return entry["lladdr"]
