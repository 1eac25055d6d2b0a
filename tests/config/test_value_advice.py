"""Advice on values that were meant otherwise."""

import pytest

from mcrelay.config.schema import schema, whole_schema
from mcrelay.config.value_advice import suggest_value

FILE = whole_schema()["properties"]
RULE = FILE["rules"]["additionalProperties"]["properties"]
INTERFACE = FILE["interfaces"]["additionalProperties"]
INPUT = RULE["input"]["properties"]
RANGES = "; write a rule for each port, ranges and lists are not supported yet"


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ("239.1.1.256", "; each number is 0 to 255, without leading zeros"),
        ("239.1.1.1:5001", "; write the port as `port: 5001`"),
        ("239.1.1.0/24", "; write one address, without a prefix length"),
        ("239.1.1.1-9", "; write one address, ranges are not supported yet"),
        ("ff3e::8000:1", "; IPv6 is not supported yet"),
        ("preserve", "; `preserve` is not supported yet"),
        ("camera.local", "; write an address, names of hosts are not resolved"),
        ("239.1.1", ""),
        (7, ""),
    ],
)
def test_what_stands_in_the_place_of_an_address_is_named(value, advice):
    assert suggest_value(value, INPUT["group"]) == advice


@pytest.mark.parametrize(
    ("wanted", "value", "advice"),
    [
        (INPUT["port"], "5001", "; write it without quotes"),
        (INPUT["port"], "5001-5004", RANGES),
        (INPUT["port"], [5001, 5002], RANGES),
        (INPUT["port"], 0, ""),
        (INPUT["port"], {}, ""),
        (INPUT["loopback"], "yes", "; write `true`"),
        (INPUT["loopback"], "false", "; write it without quotes"),
        (INPUT["loopback"], "maybe", ""),
        (INPUT["sources"], "10.0.0.5", "; put it into a list: `[10.0.0.5]`"),
        (INPUT["sources"], [], ""),
        (INPUT["interface"], "a b", ""),
        (RULE["outputs"], {"interface": "plant"}, "; put it into a list: write `- ` before it"),
        (RULE["outputs"], None, ""),
        (RULE["description"], 5, '; write it in quotes: `"5"`'),
        (RULE["description"], True, '; write it in quotes: `"true"`'),
        (RULE["description"], "x" * 201, ""),
        (RULE["data_plane"], "usrspace", "; did you mean `userspace`?"),
        (RULE["data_plane"], 1, ""),
        (RULE["input"], "port:5001", "; write a space after the colon: `port: 5001`"),
        (RULE["input"], "studio", ""),
        (RULE["input"], [1], ""),
        (FILE["rules"], [{"name": "camera"}], "; write `NAME:` instead of each `- `"),
        (FILE["rules"], [], ""),
        (FILE["interfaces"], "eth0", ""),
        (FILE["max_age"], 5, "; add a unit: `5s` or `5ms`"),
        (INTERFACE, "eth0", "; write `{device: eth0}`"),
        (INTERFACE, "device:eth0", "; write a space after the colon: `device: eth0`"),
        (INTERFACE, "a/b", ""),
        (INTERFACE, "device:\u00a0eth0", "; it has a no-break space (U+00A0), write a plain one"),
        (INTERFACE["properties"]["device"], "eth*",
         "; patterns are not supported, an interface has one device: write an interface for each"),
        (INTERFACE["properties"]["ttl"], "decremnt", "; did you mean `decrement`?"),
    ],
)  # fmt: skip
def test_a_value_that_was_meant_otherwise_comes_with_what_to_write(wanted, value, advice):
    assert suggest_value(value, wanted) == advice


def test_the_parts_that_are_looked_for_are_in_the_schema():
    assert {"duration", "ipv4", "port"} <= schema()["$defs"].keys()
