"""A rule is described as the file says it, with what the relay chose for what runs."""

from mcrelay.config.compiler import compile_config
from mcrelay.config.reader import parse
from mcrelay.model.links import Link
from mcrelay.model.state import Egress, Membership, Route, RouteOutput
from mcrelay.status.description import described_input, described_interface, described_outputs

CONFIG = compile_config(
    [
        parse(
            b"""
version: 1
interfaces:
  studio: {device: eth0}
  plant: {device: eth1, ttl: 16}
rules:
  feed:
    input: {interface: studio, group: 232.1.1.1, port: 5001, sources: [10.0.0.5]}
    outputs:
      - {interface: plant, group: 239.2.2.2, port: 6001}
      - {interface: plant, address: 10.9.2.50, port: 6001, source: 10.9.2.9, source_port: 4000}
""",
            "mcrelay.yaml",
        )
    ]
)
FEED = CONFIG.rules["feed"]
DEVICES = {"studio": "eth0", "plant": "eth1"}
FIRST = RouteOutput("plant", Egress(3, "10.9.2.1"), "239.2.2.2", 6001, 16, "copy")


def test_the_input_is_where_packets_come_from():
    assert described_input(FEED, DEVICES) == {
        "interface": "studio",
        "device": "eth0",
        "destination": "232.1.1.1",
        "port": 5001,
        "sources": ["10.0.0.5"],
    }


def test_of_what_runs_the_address_is_known_that_it_sends_from():
    one, other = described_outputs(FEED, DEVICES, Route("feed", (FIRST,)))
    assert one == {
        "interface": "plant",
        "device": "eth1",
        "destination": "239.2.2.2",
        "port": 6001,
        "source": "10.9.2.1",
        "source_port": None,
        "ttl": 16,
        "dscp": "copy",
        "runs": True,
    }
    assert (other["source"], other["source_port"], other["runs"]) == ("10.9.2.9", 4000, False)


def test_of_a_rule_that_does_not_run_only_the_files_words_are_known():
    outputs = described_outputs(FEED, DEVICES, None)
    assert [(output["source"], output["runs"]) for output in outputs] == [(None, False), ("10.9.2.9", False)]


def test_an_interface_shows_its_device_and_what_it_has_joined_in_order():
    groups = [Membership(2, "239.1.1.2"), Membership(2, "239.1.1.1", "10.0.0.5"), Membership(2, "239.1.1.1")]
    link = Link(2, "eth0", 9000, True, ("10.1.0.1", "10.1.0.2"))
    assert described_interface(CONFIG.interfaces["studio"], link, groups) == {
        "device": "eth0",
        "ifindex": 2,
        "link": "up",
        "mtu": 9000,
        "addresses": ["10.1.0.1", "10.1.0.2"],
        "source": "10.1.0.1",
        "memberships": [
            {"group": "239.1.1.1", "source": None},
            {"group": "239.1.1.1", "source": "10.0.0.5"},
            {"group": "239.1.1.2", "source": None},
        ],
    }


def test_a_device_that_is_down_or_absent_is_said_to_be():
    down = described_interface(CONFIG.interfaces["plant"], Link(3, "eth1", up=False), [])
    assert (down["link"], down["addresses"], down["source"]) == ("down", [], None)
    absent = described_interface(CONFIG.interfaces["plant"], None, [])
    assert (absent["link"], absent["ifindex"], absent["mtu"], absent["memberships"]) == (
        "absent",
        None,
        None,
        [],
    )
