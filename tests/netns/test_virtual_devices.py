"""Inputs and outputs on VLAN devices and bridges: each packet belongs to one device, in either data plane."""

import json

import pytest

from mcrelay.lab import LabError, Receiver, send
from mcrelay.lab.command import wait_until

pytestmark = pytest.mark.planes("userspace", "kernel")

COUNT = 500
CONFIG = """\
version: 1
max_age: 1min
data_plane: %s
interfaces: {%s}
rules:
"""


def daemon(studio, devices, *rules):
    """Return a daemon with these interfaces (name: device) and rules."""
    interfaces = ", ".join(f"{name}: {{device: {device}}}" for name, device in devices.items())
    return studio.daemon(CONFIG % (studio.plane, interfaces) + "".join(f"  {rule}\n" for rule in rules))


def rule(name, source, to, number):
    """Return a rule from group 239.1.1.1 on an interface to group 239.2.2.`number`."""
    flow = f"{{interface: {source}, group: 239.1.1.1, port: 5001}}"
    return f"{name}: {{input: {flow}, outputs: [{{interface: {to}, group: 239.2.2.{number}, port: 6001}}]}}"


def add_vlan(host, device, number, address):
    """Add the VLAN device DEVICE.NUMBER with an address."""
    try:
        host.ip(f"link add link {device} name {device}.{number} type vlan id {number}")
    except LabError as error:
        if "Unknown device type" in str(error):
            pytest.skip("this kernel has no VLAN devices")
        raise
    host.ip(f"address add {address} dev {device}.{number}")
    host.ip(f"link set {device}.{number} up")


def add_bridge(host, name, port, address):
    """Move an address from a device to a new bridge, whose port it becomes."""
    host.ip(f"address delete {address} dev {port}")
    host.ip(f"link add {name} type bridge mcast_snooping 1")
    host.ip(f"link set {port} master {name}")
    host.ip(f"address add {address} dev {name}")
    host.ip(f"link set {name} up")


def send_from(studio, device, source):
    """Send COUNT packets to the input through a device of the sender."""
    options = {"interface": device, "count": COUNT, "rate": 5000, "size": 200, "source": source, "ttl": 1}
    send(studio.sender, "239.1.1.1:5001", *(f"--{name}={value}" for name, value in options.items()))


def rules_of(relay):
    """Return the rules of the status."""
    return json.loads(relay.ask("status", "--json").stdout)["rules"]


def relays(relay, plane):
    """Return whether all rules are active in a data plane."""
    return {(one["state"], one["data_plane"]) for one in rules_of(relay)} == {("active", plane)}


def test_a_tagged_packet_belongs_to_the_vlan_device_and_an_untagged_one_to_its_parent(studio):
    add_vlan(studio.relay, "eth0", 100, "10.9.0.1/24")
    add_vlan(studio.sender, "eth0", 100, "192.168.169.55/24")
    devices = {"studio": "eth0", "vlan": "eth0.100", "left": "eth1", "right": "eth2"}
    rules = rule("untagged", "studio", "left", 1), rule("tagged", "vlan", "right", 2)
    with daemon(studio, devices, *rules) as relay:
        for device, source, receiver, packets in (
            (
                "eth0.100",
                "192.168.169.55",
                (studio.right, "239.2.2.2:6001"),
                {"untagged": 0, "tagged": COUNT},
            ),
            ("eth0", "192.168.168.55", (studio.left, "239.2.2.1:6001"), {"untagged": COUNT, "tagged": COUNT}),
        ):
            wanted = Receiver(*receiver)
            send_from(studio, device, source)
            report = wanted.report()
            assert (report.received, report.lost, report.duplicated) == (COUNT, 0, 0)
            assert {one["name"]: one["input"]["packets"] for one in rules_of(relay)} == packets
        assert relays(relay, studio.plane)


def test_a_bridge_is_an_input(studio):
    add_bridge(studio.relay, "br0", "eth0", "10.1.0.1/24")
    with daemon(studio, {"studio": "br0", "left": "eth1"}, rule("feed", "studio", "left", 1)) as relay:
        wait_until(lambda: "239.1.1.1" in studio.relay.groups("br0"), "the membership")
        left = Receiver(studio.left, "239.2.2.1:6001")
        send_from(studio, "eth0", "192.168.168.55")
        report = left.report()
        assert (report.received, report.lost, report.duplicated) == (COUNT, 0, 0)
        assert relays(relay, studio.plane)


@pytest.mark.parametrize("kind", ["vlan", "bridge"])
def test_a_vlan_device_and_a_bridge_are_outputs(studio, kind):
    if kind == "vlan":
        add_vlan(studio.relay, "eth1", 200, "10.9.2.1/24")
        add_vlan(studio.left, "eth0", 200, "10.9.2.2/24")
        device, receiving = "eth1.200", "eth0.200"
    else:
        add_bridge(studio.relay, "br1", "eth1", "10.2.0.1/24")
        device, receiving = "br1", "eth0"
    with daemon(studio, {"studio": "eth0", "left": device}, rule("feed", "studio", "left", 1)) as relay:
        wait_until(lambda: relays(relay, studio.plane), f"the data plane {studio.plane}")
        left = Receiver(studio.left, "239.2.2.1:6001", receiving)
        send_from(studio, "eth0", "192.168.168.55")
        report = left.report()
        assert (report.received, report.lost, report.duplicated) == (COUNT, 0, 0)
