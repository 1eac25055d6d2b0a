"""The description of a rule has the values of the file, and the source addresses of the running outputs."""

from mcrelay.config.compiler import compile_config
from mcrelay.config.reader import parse
from mcrelay.model.links import Link, LinkAddress, LinkState
from mcrelay.model.state import Egress, Membership, Route, RouteOutput
from mcrelay.status.description import describe_interface, describe_rule, describe_running_rule

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


def test_a_rule_has_its_input_and_its_outputs_with_the_source_addresses_of_those_that_run():
    assert describe_rule(FEED, DEVICES, Route("feed", (FIRST,))) == {
        "description": "",
        "enabled": True,
        "wanted_data_plane": "kernel",
        "exclusive": False,
        "input": {
            "interface": "studio",
            "device": "eth0",
            "destination": "232.1.1.1",
            "port": 5001,
            "sources": ["10.0.0.5"],
            "loopback": False,
        },
        "outputs": [
            {
                "interface": "plant",
                "device": "eth1",
                "destination": "239.2.2.2",
                "port": 6001,
                "source": "10.9.2.1",
                "source_port": None,
                "ttl": 16,
                "dscp": "copy",
                "loopback": False,
                "runs": True,
                "fault": None,
            },
            {
                "interface": "plant",
                "device": "eth1",
                "destination": "10.9.2.50",
                "port": 6001,
                "source": "10.9.2.9",
                "source_port": 4000,
                "ttl": 16,
                "dscp": "copy",
                "loopback": False,
                "runs": False,
                "fault": None,
            },
        ],
    }


def test_a_rule_that_does_not_run_has_only_the_source_address_of_the_file():
    outputs = describe_rule(FEED, DEVICES, None)["outputs"]
    assert [(output["source"], output["runs"]) for output in outputs] == [(None, False), ("10.9.2.9", False)]


def test_a_running_rule_has_its_position_in_the_files_and_its_data_plane():
    described = describe_running_rule(FEED, DEVICES, None, "kernel", "on trial")
    assert {key: described.pop(key) for key in ("data_plane", "data_plane_reason", "file", "line")} == {
        "data_plane": "kernel",
        "data_plane_reason": "on trial",
        "file": "mcrelay.yaml",
        "line": 7,
    }
    assert described == describe_rule(FEED, DEVICES, None)


def test_an_interface_has_its_device_and_the_joined_groups_in_order():
    groups = [Membership(2, "239.1.1.2"), Membership(2, "239.1.1.1", "10.0.0.5"), Membership(2, "239.1.1.1")]
    link = Link(2, "eth0", 9000, LinkState.UP, (LinkAddress("10.1.0.1"), LinkAddress("10.1.0.2")))
    assert describe_interface(CONFIG.interfaces["studio"], link, groups) == {
        "device": "eth0",
        "link": "up",
        "altnames": [],
        "mtu": 9000,
        "addresses": ["10.1.0.1", "10.1.0.2"],
        "memberships": [
            {"group": "239.1.1.1", "source": None},
            {"group": "239.1.1.1", "source": "10.0.0.5"},
            {"group": "239.1.1.2", "source": None},
        ],
    }


def test_the_description_of_a_device_says_that_it_is_down_or_absent():
    down = describe_interface(CONFIG.interfaces["plant"], Link(3, "eth1", state=LinkState.DOWN), [])
    assert (down["link"], down["addresses"]) == ("down", [])
    absent = describe_interface(CONFIG.interfaces["plant"], None, [])
    assert (absent["link"], absent["mtu"], absent["memberships"]) == ("absent", None, [])
