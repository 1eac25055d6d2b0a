"""A drop-in file of one rule is read as it was written, and `set_enabled` changes one word of it."""

import argparse

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.cli import add
from mcrelay.config.compiler import compile_config
from mcrelay.config.drop_in import (
    UnusualStyleError,
    format_drop_in,
    has_only_rule,
    is_written_by_add,
    set_enabled,
)
from mcrelay.config.problems import ConfigError
from mcrelay.config.reader import parse

FILE = "mcrelay.d/camera.yaml"
MAIN = parse(
    b"version: 1\ninterfaces: {studio: {device: eth0}, on: {device: eth1}, x.1: {device: eth2}}\n", "main"
)
RULE = {
    "description": "primary feed",
    "input": {"interface": "studio", "group": "239.1.1.1", "port": 5001, "sources": ["10.0.0.5"]},
    "outputs": [{"interface": "plant", "address": "10.9.2.50", "port": 6001, "ttl": 16}, {"interface": "on"}],
    "enabled": False,
}

# Words that are traps: truth values, numbers, addresses, what YAML gives a meaning, and just any.
TRAPS = [
    "on", "No", "null", "true", "7", "0x1f", "1e5", "22:22", "~", "-", "a: b", "a #b", "a, b", "239.1.1.1",
    "2024-01-01", "x.1", "'", '"', "\\", "[a]", "{", "\u2028", "é", "primary feed", "two  spaces", " a ", "",
]  # fmt: skip
words = st.sampled_from(TRAPS) | st.text(max_size=12)


def mostly(*right):
    """Valid values, and sometimes any others."""
    return st.integers(0, 19).flatmap(lambda dice: st.sampled_from(right) if dice else words)


groups = mostly("239.1.1.1", "239.1.1.2", "232.1.1.1")
hosts = mostly("10.0.0.5", "10.0.0.6")
ports = mostly("1", "5001", "05001", "65535")
interfaces = mostly("studio", "on", "x.1")
inputs = st.tuples(interfaces, groups | hosts, ports).map(":".join)
outputs = interfaces | st.tuples(interfaces, groups | hosts | st.just("")).map(":".join) | inputs
names = mostly("camera", "on", "7", "1e5", "0x1f", "null", "2024-01-01", "a.b-c_d", "x" * 63)


def options(**chosen):
    """The options of `mcrelay add` as argparse parses them."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    add.add_arguments(parser)
    words = [f"--{key}={value}" for key, values in chosen.items() for value in values]
    return parser.parse_args([*words, "--", "NAME"])


def config_of(name, rule):
    return compile_config([MAIN, parse(format_drop_in(name, rule).encode("utf-8", "surrogateescape"), FILE)])


def test_a_rule_is_written_as_a_person_would_write_it():
    assert format_drop_in("camera", RULE).splitlines()[2:] == [
        "rules:",
        "  camera:",
        "    description: primary feed",
        "    input: {interface: studio, group: 239.1.1.1, port: 5001, sources: [10.0.0.5]}",
        "    outputs:",
        "      - {interface: plant, address: 10.9.2.50, port: 6001, ttl: 16}",
        '      - {interface: "on"}',
        "    enabled: false",
    ]


@given(
    names,
    st.fixed_dictionaries(
        {"input": st.tuples(inputs), "output": st.lists(outputs, min_size=1, max_size=3)},
        optional={
            "sources": st.tuples(st.lists(hosts, min_size=1, max_size=2).map(",".join)),
            "ttl": st.tuples(mostly("1", "255", "decrement")),
            "dscp": st.tuples(mostly("0", "63", "copy")),
            "description": st.tuples(words),
        },
    ),
)
def test_reading_the_file_of_any_rule_gives_that_rule_back(name, chosen):
    try:
        rule = add.build_rule(options(**chosen))
        accepted = config_of(name, rule).rules[name]
    except (argparse.ArgumentError, ConfigError):
        return  # refused, with a message and never with a traceback
    text = format_drop_in(name, rule)
    assert parse(text.encode(), FILE).data == {"rules": {name: rule}}
    assert yaml.safe_load(text) == {"rules": {name: rule}}  # to other readers, too
    assert (accepted.description, accepted.enabled) == (rule.get("description", ""), True)
    assert [accepted.input.interface, accepted.input.port] == [
        rule["input"]["interface"],
        rule["input"]["port"],
    ]


@given(words)
def test_any_description_is_read_as_it_was_given_or_refused(description):
    rule = {**RULE, "description": description}
    rule["outputs"] = [{"interface": "on"}]
    try:
        read = config_of("camera", rule).rules["camera"].description
    except ConfigError as invalid:
        read, why = description, str(invalid)
        assert "not allowed" in why or "control character" in why
    assert read == description


def test_a_description_that_is_not_utf_8_is_refused_with_a_message():
    with pytest.raises(ConfigError, match="is not UTF-8"):
        config_of("camera", {**RULE, "description": "\udcff"})


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("rules: {camera: {}}", True),
        ("version: 1\nrules: {camera: {}}", True),
        ("rules: {camera: {}, other: {}}", False),
        ("rules: {other: {}}", False),
        ("rules: {camera: {}}\ninterfaces: {a: {device: eth0}}", False),
        ("rules:", False),
        ("version: 1", False),
        ("", False),
        ("[rules]", False),
    ],
)
def test_a_file_has_only_a_rule_if_it_has_nothing_else_but_the_version(text, holds):
    assert has_only_rule(parse(text.encode(), FILE), "camera") is holds


def test_a_file_of_add_is_known_by_its_first_line():
    assert is_written_by_add(parse(format_drop_in("camera", RULE).encode() + b"# edited since\n", FILE))
    assert not is_written_by_add(parse(b"rules: {camera: {}}\n", FILE))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("rules:\n camera:\n  enabled:  true # why\n", "rules:\n camera:\n  enabled:  false # why\n"),
        ("rules: {camera: {a: 1, enabled : TRUE}}", "rules: {camera: {a: 1, enabled : false}}"),
        ("rules: {camera: {enabled: \n true}}", "rules: {camera: {enabled: \n false}}"),
        (
            "rules:\n  # note\n  camera: # note\n    a: 1\n",
            "rules:\n  # note\n  camera: # note\n    enabled: false\n    a: 1\n",
        ),
        ("rules:\r\n camera:\r\n  a: 1\r\n", "rules:\r\n camera:\r\n  enabled: false\r\n  a: 1\r\n"),
        ("rules: {camera: { a: 1}}\n", "rules: {camera: { enabled: false, a: 1}}\n"),
        ("rules:\n  'camera': {\n    \"a\": 1}\n", "rules:\n  'camera': {\n    enabled: false, \"a\": 1}\n"),
        ("? rules\n: ? camera\n  : a: ä\n", "? rules\n: ? camera\n  : enabled: false\n    a: ä\n"),
    ],
)
def test_enabling_or_disabling_a_rule_changes_one_word_and_keeps_comments(before, after):
    assert set_enabled(parse(before.encode(), FILE), "camera", False) == after
    again = parse(set_enabled(parse(after.encode(), FILE), "camera", True).encode(), FILE)
    assert again.data["rules"]["camera"]["enabled"] is True


@pytest.mark.parametrize(
    "text",
    [
        "rules: {camera: {'enabled': \"x\", b: 1}}",  # not a word at its place
        "rules: {camera: {? a\n: 1}}",  # nothing can stand before the first key
    ],
)
def test_a_file_in_an_unusual_style_is_not_changed(text):
    with pytest.raises(UnusualStyleError):
        set_enabled(parse(text.encode(), FILE), "camera", False)


@given(st.booleans(), st.booleans())
def test_a_rule_of_add_can_be_disabled_and_enabled_again(first, second):
    text = format_drop_in("camera", RULE)
    for enabled in (first, second):
        text = set_enabled(parse(text.encode(), FILE), "camera", enabled)
    assert parse(text.encode(), FILE).data == {"rules": {"camera": {**RULE, "enabled": second}}}
