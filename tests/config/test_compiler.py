"""The checks across fields, the merge of drop-ins, and the report of all problems at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.config.compiler import compile_config
from mcrelay.config.model import Config, Input, Interface, Output
from mcrelay.config.problems import ConfigError, SourceLocation
from mcrelay.config.reader import parse
from mcrelay.config.yaml_events import FASTEST_LOADER
from mcrelay.config.yaml_parser import PortableLoader

GOOD = """\
version: 1
interfaces:
  studio: {device: eth0}
  plant: {device: eth1, source: 10.9.2.1, ttl: 16, dscp: 46}
  again: {device: eth1}
  self: {device: lo}
rules:
"""
INPUT = "input: {interface: studio, group: 239.1.1.1, port: 5001}"


def config(*texts):
    return compile_config([parse(text.encode(), f"{number}.yaml") for number, text in enumerate(texts)])


def problems(*texts):
    with pytest.raises(ConfigError) as caught:
        config(*texts)
    return [str(problem) for problem in caught.value.problems]


def rule(text, name="r"):
    return f"  {name}: {{{text}}}\n"


def only_problem(text):
    """The message of the one problem of a rule."""
    (problem,) = problems(GOOD + text)
    return problem.split(": ", 1)[1]


def test_a_config_has_the_values_of_the_file():
    good = config(
        GOOD
        + rule(
            "description: feed, "
            "input: {interface: studio, group: 239.1.1.1, port: 5001, sources: [10.0.0.5]}, "
            "outputs: [{interface: plant, address: 10.9.2.50, port: 6001, source: 10.9.2.2, source_port: 7, "
            "ttl: decrement, dscp: 0}], enabled: false, data_plane: userspace"
        )
    )
    feed = good.rules["r"]
    assert (feed.description, feed.enabled, feed.data_plane) == ("feed", False, "userspace")
    assert feed.where == SourceLocation("0.yaml", 8, 3)
    assert feed.input == Input("studio", "239.1.1.1", 5001, ("10.0.0.5",))
    assert feed.outputs == (Output("plant", "10.9.2.50", 6001, "10.9.2.2", 7, "decrement", 0),)


def test_an_omitted_key_has_the_default_of_the_schema():
    good = config(GOOD + rule(f"{INPUT}, outputs: [{{interface: again}}]"))
    assert (good.data_plane, good.workers, good.warnings) == ("auto", 1, ())
    assert good.interfaces["studio"] == Interface("studio", "eth0", None, 64, "copy")
    feed = good.rules["r"]
    assert (feed.description, feed.enabled, feed.data_plane) == ("", True, "auto")
    assert feed.input.sources == ()


def test_an_output_takes_group_and_port_of_the_input_and_the_rest_of_its_interface():
    feed = config(GOOD + rule(f"{INPUT}, outputs: [{{interface: plant}}]")).rules["r"]
    assert feed.outputs == (Output("plant", "239.1.1.1", 5001, "10.9.2.1", 0, 16, 46),)


def test_a_rule_has_the_data_plane_of_the_file_unless_it_gives_another():
    text = GOOD.replace("version: 1", "version: 1\ndata_plane: userspace")
    good = config(
        text
        + rule(f"{INPUT}, outputs: [{{interface: plant}}]", "a")
        + rule(f"{INPUT.replace('5001', '5002')}, outputs: [{{interface: plant}}], data_plane: auto", "b")
    )
    assert [rule.data_plane for rule in good.rules.values()] == ["userspace", "auto"]


@pytest.mark.parametrize(
    "text", ["version: 1\n", "version: 1\nrules:\ninterfaces:\n", "version: 1\nrules: {}\n"]
)
def test_a_config_without_rules_is_a_config(text):
    assert config(text) == Config("auto", 1, True, 10**9, {}, {})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "0.yaml:1:1: the file is empty; begin it with `version: 1`"),
        ("# words\n", "0.yaml:1:1: the file is empty; begin it with `version: 1`"),
        ("rules: {}\n", "0.yaml:1:1: `version` is missing; begin the file with `version: 1`"),
        ("[1]\n", "0.yaml:1:1: expected a map with version, interfaces and rules, not a list"),
        ("version: 2\n", "0.yaml:1:10: version: expected 1, the only version there is, not 2"),
        ("version: 1\nmax_age: 2h\n", "0.yaml:2:10: max_age: expected 10ms to 1h, not 2h"),
        ("version: 1\nmax_age: 1ms\n", "0.yaml:2:10: max_age: expected 10ms to 1h, not 1ms"),
        ("version: 1\nmax_age: 5\n",
         "0.yaml:2:10: max_age: expected a number with a unit (ms, s, min or h), such as `50ms` or `5s`,"
         " not 5; add a unit: `5s` or `5ms`"),
        ("version: 1\nmax_age:\n",
         "0.yaml:2:9: max_age: expected a number with a unit (ms, s, min or h), such as `50ms` or `5s`,"
         " but the value is missing"),
    ],
)  # fmt: skip
def test_the_error_of_a_file_as_a_whole_says_what_to_do(text, problem):
    assert problems(text) == [problem]


@pytest.mark.parametrize("plane", ["auto", "kernel"])
def test_an_exclusive_rule_is_for_the_kernel(plane):
    text = GOOD + rule(f"{INPUT}, outputs: [{{interface: plant}}], data_plane: {plane}, exclusive: true")
    compiled = config(text).rules["r"]
    assert (compiled.data_plane, compiled.exclusive) == (plane, True)


def test_an_exclusive_rule_in_the_workers_is_refused():
    text = GOOD + rule(f"{INPUT}, outputs: [{{interface: plant}}], data_plane: userspace, exclusive: true")
    [problem] = problems(text)
    assert "rules.r.exclusive: `true` needs the kernel data plane: delete it, or write" in problem


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("interface: stduio, group: 239.1.1.1",
         "rules.r.input.interface: no interface is named `stduio`; did you mean `studio`?"),
        ("interface: xyz, group: 239.1.1.1",
         "rules.r.input.interface: no interface is named `xyz`; there are: again, plant, self, studio"),
        ("interface: eth0, group: 239.1.1.1",
         "rules.r.input.interface: no interface is named `eth0`; "
         "write `studio`, the name of the interface with the device eth0"),
        ("interface: studio, group: 239.1.1.1, sources: [0.0.0.0]",
         "rules.r.input.sources[0]: 0.0.0.0 is not the address of a host; "
         "without `sources`, every sender is relayed"),
        ("interface: studio, group: 10.0.0.1",
         "rules.r.input.group: 10.0.0.1 is not a multicast group (224.0.0.0 to 239.255.255.255); "
         "for a host, write `address: 10.0.0.1`"),
        ("interface: studio, address: 239.1.1.1",
         "rules.r.input.address: 239.1.1.1 is a multicast group, not the address of a host; "
         "write `group: 239.1.1.1`"),
        ("interface: studio, address: 0.0.0.0",
         "rules.r.input.address: 0.0.0.0 is not the address of a host; write the address of one host"),
        ("interface: studio, address: 127.0.0.1",
         "rules.r.input.address: 127.0.0.1 is reached through the device lo alone, not through eth0; "
         "name an interface with the device lo"),
        ("interface: studio, group: 239.1.1.1, sources: [10.0.0.5, 239.1.1.2]",
         "rules.r.input.sources[1]: 239.1.1.2 is a multicast group, not the address of a host; "
         "packets come from hosts alone"),
        ("interface: studio, group: 239.1.1.1, sources: [10.0.0.5, 10.0.0.5]",
         "rules.r.input.sources[1]: 10.0.0.5 is given twice; delete it"),
        ("interface: studio, group: 239.1.1.1, address: 10.0.0.1",
         "rules.r.input.address: use `group` or `address`, not both"),
        ("interface: studio",
         "rules.r.input: `group` or `address` is missing; add, for example, `group: 239.1.1.1`"),
    ],
)  # fmt: skip
def test_the_error_of_an_input_gives_the_reason(part, message):
    text = rule(f"input: {{{part}, port: 5001}}, outputs: [{{interface: plant, group: 239.2.2.2}}]")
    assert only_problem(text) == message


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("interface: plnat",
         "rules.r.outputs[0].interface: no interface is named `plnat`; did you mean `plant`?"),
        ("interface: plant, group: 10.0.0.1",
         "rules.r.outputs[0].group: 10.0.0.1 is not a multicast group (224.0.0.0 to 239.255.255.255); "
         "for a host, write `address: 10.0.0.1`"),
        ("interface: plant, source: 224.0.0.1",
         "rules.r.outputs[0].source: 224.0.0.1 is a multicast group, not the address of a host; "
         "packets come from hosts alone"),
        ("interface: plant, group: 239.1.1.1, address: 10.0.0.1",
         "rules.r.outputs[0].address: use `group` or `address`, not both"),
        ("interface: studio",
         "rules.r.outputs[0]: 239.1.1.1:5001 on eth0 is the rule's own input, and "
         "packets would loop forever; send to another group, port or interface"),
        ("interface: plant}, {interface: again",
         "rules.r.outputs[1]: 239.1.1.1:5001 on eth1 is already an output, at 0.yaml:8:75; delete one"),
    ],
)  # fmt: skip
def test_the_error_of_an_output_gives_the_reason(output, message):
    assert only_problem(rule(f"{INPUT}, outputs: [{{{output}}}]")) == message


def test_a_rule_with_an_interface_is_refused_if_there_are_no_interfaces():
    assert problems("version: 1\n" + "rules:\n" + rule(f"{INPUT}, outputs: [{{interface: studio}}]")) == [
        "0.yaml:3:26: rules.r.input.interface: no interface is named `studio`; "
        "add it to `interfaces`: `studio: {device: eth0}`, with its device",
        "0.yaml:3:87: rules.r.outputs[0].interface: no interface is named `studio`; "
        "add it to `interfaces`: `studio: {device: eth0}`, with its device",
    ]


def test_an_output_of_a_unicast_input_needs_a_destination():
    text = rule("input: {interface: studio, address: 10.0.0.1, port: 1}, outputs: [{interface: plant}]")
    assert only_problem(text) == (
        "rules.r.outputs[0]: the input is unicast, so the output needs `group` or `address`; "
        "add, for example, `group: 239.2.2.2`"
    )


def test_an_interface_with_a_source_that_no_host_can_have_is_refused():
    assert problems("version: 1\ninterfaces:\n  a: {device: eth0, source: 127.0.0.1}\n") == [
        "0.yaml:3:29: interfaces.a.source: 127.0.0.1 is reached through the device lo alone, not through eth0"
        "; name an interface with the device lo"
    ]


def test_the_loopback_device_reaches_loopback_addresses():
    good = config(GOOD + rule(f"{INPUT}, outputs: [{{interface: self, address: 127.0.0.1}}]"))
    assert good.rules["r"].outputs[0].destination == "127.0.0.1"


def test_a_pair_of_rules_in_both_directions_is_fine():
    there = rule(f"{INPUT}, outputs: [{{interface: plant}}]", "there")
    back = rule(f"{INPUT.replace('studio', 'plant')}, outputs: [{{interface: studio}}]", "back")
    assert len(config(GOOD + there + back).rules) == 2


def taken(name, interface="plant", more="", enabled="true"):
    flow = f"interface: {interface}, group: 239.1.1.1, port: 5001{more}"
    return rule(f"input: {{{flow}}}, outputs: [{{interface: studio}}], enabled: {enabled}", name)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (taken("a"), taken("b")),
        (taken("a"), taken("b", interface="again")),
        (taken("a"), taken("b", more=", sources: [10.0.0.1]")),
        (taken("a", more=", sources: [10.0.0.1]"), taken("b")),
        (
            taken("a", more=", sources: [10.0.0.1, 10.0.0.2]"),
            taken("b", more=", sources: [10.0.0.3, 10.0.0.2]"),
        ),
    ],
)
def test_a_flow_that_another_rule_relays_is_refused_whatever_its_interface_is_called(first, second):
    assert only_problem(first + second) == (
        "rules.b.input: 239.1.1.1:5001 on eth1 is already relayed by rule `a` at 0.yaml:8:3; "
        "add outputs there"
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (taken("a", more=", sources: [10.0.0.1]"), taken("b", more=", sources: [10.0.0.2]")),
        (taken("a", enabled="false"), taken("b")),
        (taken("a"), taken("b", enabled="false")),
    ],
)
def test_inputs_with_different_sources_or_of_a_disabled_rule_do_not_clash(first, second):
    assert len(config(GOOD + first + second).rules) == 2


def test_a_disabled_rule_is_checked_as_any_other():
    text = rule(f"{INPUT}, outputs: [{{interface: studio}}], enabled: false")
    assert "own input" in only_problem(text)


def test_a_link_local_group_with_a_ttl_other_than_1_is_a_warning():
    link_local = INPUT.replace("239.1.1.1", "224.0.0.251")
    text = GOOD + rule(f"{link_local}, outputs: [{{interface: plant}}, {{interface: self, ttl: 1}}]")
    (warning,) = config(text).warnings
    assert str(warning) == (
        "0.yaml:8:77: rules.r.outputs[0].ttl: 224.0.0.251 is link-local, "
        "and receivers may refuse a TTL of 16; set `ttl: 1`"
    )


def test_drop_ins_are_merged_by_name_and_may_omit_the_version():
    main = "version: 1\ninterfaces:\n  studio: {device: eth0}\n"
    more = "interfaces:\n  plant: {device: eth1}\nworkers: auto\nrules:\n"
    good = config(main, "", more + rule(f"{INPUT}, outputs: [{{interface: plant}}]"))
    assert (list(good.interfaces), list(good.rules), good.workers) == (["studio", "plant"], ["r"], "auto")


def test_a_name_or_a_setting_in_two_files_is_an_error_with_both_places():
    first = "version: 1\nworkers: 1\nwatch: false\ninterfaces:\n  studio: {device: eth0}\n"
    assert problems(first, first) == [
        "1.yaml:2:1: workers: given twice, first at 0.yaml:2:1; delete one",
        "1.yaml:3:1: watch: given twice, first at 0.yaml:3:1; delete one",
        "1.yaml:5:3: interfaces.studio: `studio` is given twice, first at 0.yaml:5:3; rename or delete one",
    ]


def test_all_problems_are_reported_once_and_sorted_by_position():
    found = problems(
        "version: 1\n"
        "interfaces:\n"
        "  plant: {device: eth1, ttl: 300}\n"
        "rules:\n"
        "  a:\n"
        "    input: {interface: plnat, group: 10.0.0.1, port: 70000, sources: [1, 0.0.0.0]}\n"
        "    outputs: [{interface: plant, grup: 239.1.1.1, port: 22:22}, 7]\n"
        "  b: []\n"
        "  c: {input: *x, outputs: {}}\n"
    )
    assert [problem.split(": ")[:2] for problem in found] == [
        ["0.yaml:3:30", "interfaces.plant.ttl"],
        ["0.yaml:6:24", "rules.a.input.interface"],
        ["0.yaml:6:38", "rules.a.input.group"],
        ["0.yaml:6:54", "rules.a.input.port"],
        ["0.yaml:6:71", "rules.a.input.sources[0]"],
        ["0.yaml:6:74", "rules.a.input.sources[1]"],
        ["0.yaml:7:34", "rules.a.outputs[0].grup"],
        ["0.yaml:7:57", "rules.a.outputs[0].port"],
        ["0.yaml:7:65", "rules.a.outputs[1]"],
        ["0.yaml:8:6", "rules.b"],
        ["0.yaml:9:14", "rules.c.input"],
        ["0.yaml:9:27", "rules.c.outputs"],
    ]


def test_an_invalid_interface_is_not_called_unknown():
    text = "version: 1\ninterfaces:\n  studio: {}\n  plant: {device: eth1}\nrules:\n"
    found = problems(text + rule(f"{INPUT}, outputs: [{{interface: plant}}]"))
    assert found == ["0.yaml:3:3: interfaces.studio: `device` is missing; add, for example, `device: eth0`"]


PIECES = [
    "", "\n", ":", " ", "-", "{", "}", "[", "]", "*a", "&a ", "22:22", "0123", "300", "-1", "yes", "null",
    "239.1.1.1", "10.0.0.1", "0.0.0.0", "decrement", "plant", "studio", "group", "version", "# ", "<<",
    "\t", "!x ", "''",
]  # fmt: skip
WHOLE = GOOD + rule(
    f"{INPUT}, outputs: [{{interface: plant}}, {{interface: studio, address: 10.0.0.7, port: 9}}]"
) + taken("s", more=", sources: [10.0.0.1, 10.0.0.2]")  # fmt: skip
edits = st.lists(
    st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 9), st.sampled_from(PIECES)), max_size=4
)


@given(edits, st.sampled_from([FASTEST_LOADER, PortableLoader]))
def test_a_config_changed_at_random_is_valid_or_has_problems_inside_the_text(edits, loader):
    text = WHOLE
    for start, length, piece in edits:
        text = text[:start] + piece + text[start + length :]
    lines = text.split("\n")
    try:
        compile_config([parse(text.encode(), "f.yaml", loader)])
    except ConfigError as invalid:
        for problem in invalid.problems:
            assert 1 <= problem.where.line <= len(lines)
            assert 1 <= problem.where.column <= len(lines[problem.where.line - 1]) + 1
            assert problem.message
            assert "\n" not in str(problem)


OUTPUTS = "outputs: [{interface: plant, group: 239.2.2.2}]"
TWO = (
    GOOD
    + rule(f"{INPUT}, {OUTPUTS}", "first")
    + rule(f"{INPUT}, {OUTPUTS}".replace("239.1.1.1", "239.1.1.2"), "other")
)


def sources(text):
    return [parse(text.encode(), "mcrelay.yaml")]


def test_a_rule_that_did_not_change_is_the_same_object():
    before, changed = compile_config(sources(TWO)), TWO.replace("239.1.1.2", "239.1.1.3")
    after = compile_config(sources(changed), before.rules)
    assert after == compile_config(sources(changed))
    assert after.rules["first"] is before.rules["first"]


def test_a_rule_that_moved_to_another_line_is_equal_and_has_its_new_location():
    before = compile_config(sources(TWO))
    after = compile_config(sources(f"# a comment\n{TWO}"), before.rules)
    assert after == before
    assert after.rules["other"].where.line == before.rules["other"].where.line + 1


# `loopback`, and rules that send into the inputs of others.

TO_PLANT = "outputs: [{interface: plant, group: 239.2.2.2, port: 6001}]"
FROM_PLANT = "input: {interface: plant, group: 239.2.2.2, port: 6001}"
ALOUD, LOOPED = (text.replace("6001}", "6001, loopback: true}") for text in (TO_PLANT, FROM_PLANT))
TO_STUDIO = "outputs: [{interface: studio}]"


def warnings(*rules):
    return [str(warning).split(": ", 1)[1] for warning in config(GOOD + "".join(rules)).warnings]


def test_loopback_is_off_unless_the_file_sets_it():
    rules = config(GOOD + rule(f"{INPUT}, {ALOUD}") + rule(f"{FROM_PLANT}, {TO_STUDIO}", "q")).rules
    assert [rules[name].input.loopback for name in "rq"] == [False, False]
    assert [rules[name].outputs[0].loopback for name in "rq"] == [True, False]
    (looped,) = config(GOOD + rule(f"{LOOPED}, {TO_STUDIO}")).rules.values()
    assert looped.input.loopback


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"input: {{interface: self, group: 239.1.1.1, port: 1, loopback: true}}, {TO_PLANT}",
            "rules.r.input.loopback: every packet on lo comes from this host and returns to it;"
            " delete `loopback`",
        ),
        (
            "input: {interface: studio, address: 10.1.0.1, port: 1, loopback: true},"
            " outputs: [{interface: plant, group: 239.1.1.1}]",
            "rules.r.input.loopback: packets of this host to its own address never leave through a device;"
            " delete `loopback`, and name an interface with the device lo",
        ),
        (
            f"{INPUT}, outputs: [{{interface: self, loopback: true}}]",
            "rules.r.outputs[0].loopback: every packet on lo comes from this host and returns to it;"
            " delete `loopback`",
        ),
        (
            f"{INPUT}, outputs: [{{interface: plant, address: 10.9.2.50, loopback: true}}]",
            "rules.r.outputs[0].loopback: packets to the address of a host reach that host alone;"
            " delete `loopback`, or send to a group",
        ),
    ],
)
def test_loopback_where_it_means_nothing_is_a_problem(text, message):
    assert only_problem(rule(text)) == message


@pytest.mark.parametrize("back", ["", ", outputs: [{interface: studio, group: 239.1.1.1, port: 5001}]"])
def test_an_output_and_an_input_that_both_have_loopback_must_not_meet(back):
    text = rule(f"{INPUT}, {ALOUD}") + rule(f"{LOOPED}{back or ', ' + TO_STUDIO}", "next")
    assert only_problem(text) == (
        "rules.r.outputs[0].loopback: 239.2.2.2:6001 on eth1 is the input of rule `next`, which has"
        " `loopback`, too: the relay would hear itself; delete one of them"
    )


def test_an_output_with_loopback_to_the_input_of_its_own_rule_is_one_problem():
    text = f"{LOOPED}, outputs: [{{interface: again, loopback: true}}]"
    assert only_problem(rule(text)).endswith(
        "the rule's own input, and packets would loop forever; send to another group, port or interface"
    )


NOT_TAKEN = (
    "rules.next.input: 239.2.2.2:6001 on eth1 is what rule `r` sends, and the relay does not take what it"
    " sends; add outputs to rule `r`"
)


@pytest.mark.parametrize(("sent", "taken"), [(TO_PLANT, FROM_PLANT), (ALOUD, FROM_PLANT), (TO_PLANT, LOOPED)])
def test_a_rule_that_takes_what_another_rule_sends_is_a_warning(sent, taken):
    again = taken.replace("interface: plant", "interface: again")
    assert warnings(rule(f"{INPUT}, {sent}"), rule(f"{again}, {TO_STUDIO}", "next")) == [NOT_TAKEN]


def test_a_rule_that_takes_what_two_rules_send_has_one_warning():
    second = rule(f"{INPUT}, {TO_PLANT}".replace("5001", "5002"), "s")
    assert warnings(rule(f"{INPUT}, {TO_PLANT}"), second, rule(f"{FROM_PLANT}, {TO_STUDIO}", "next")) == [
        NOT_TAKEN
    ]


@pytest.mark.parametrize(
    "taken",
    [
        FROM_PLANT.replace("6001", "6002"),
        FROM_PLANT.replace("plant", "studio"),
        FROM_PLANT.replace("6001}", "6001, sources: [10.9.2.7]}"),
        f"enabled: false, {FROM_PLANT}",
    ],
)
def test_a_rule_that_takes_other_packets_than_another_rule_sends_is_no_warning(taken):
    onwards = "outputs: [{interface: studio, group: 239.9.9.9}]"
    assert warnings(rule(f"{INPUT}, {TO_PLANT}"), rule(f"{taken}, {onwards}", "next")) == []


def test_a_rule_whose_sources_have_the_relay_takes_what_it_sends():
    taken = FROM_PLANT.replace("6001}", "6001, sources: [10.9.2.1]}")
    assert warnings(rule(f"{INPUT}, {TO_PLANT}"), rule(f"{taken}, {TO_STUDIO}", "next")) == [NOT_TAKEN]


def test_rules_in_opposite_directions_are_no_warning():
    assert warnings(rule(f"{INPUT}, outputs: [{{interface: plant}}]"),
        rule(f"{INPUT.replace('studio', 'plant')}, {TO_STUDIO}", "back")) == []  # fmt: skip


SHARED = (
    "rules.r.input.loopback: what programs on this host send from port 5353 is taken for packets of the"
    " relay; give the outputs with `source_port: 5353` a `source` of their own"
)


@pytest.mark.parametrize(
    ("loopback", "fields", "expected"),
    [
        (", loopback: true", "source_port: 5353", [SHARED]),
        (", loopback: true", "source_port: 5353, source: 10.1.0.7", []),
        (", loopback: true", "ttl: 2", []),
        ("", "source_port: 5353", []),
    ],
)
def test_a_fixed_source_port_that_programs_of_the_host_may_share_is_a_warning(loopback, fields, expected):
    taken = INPUT.replace("5001}", f"5001{loopback}}}")
    back = f"{FROM_PLANT}, outputs: [{{interface: studio, group: 239.9.9.9, {fields}}}]"
    assert warnings(rule(f"{taken}, outputs: [{{interface: plant}}]"), rule(back, "back")) == expected


# Broadcast, and groups for source-specific multicast.

UNSUPPORTED = "broadcast is not supported yet: choose a group or the address of a host"


@pytest.mark.parametrize("key", ["group", "address"])
def test_the_broadcast_address_is_a_problem_with_its_own_words(key):
    problem = f"255.255.255.255 is broadcast, and {UNSUPPORTED}"
    text = f"input: {{interface: studio, {key}: 255.255.255.255, port: 1}}, {TO_PLANT}"
    assert only_problem(rule(text)) == f"rules.r.input.{key}: {problem}"
    text = f"{INPUT}, outputs: [{{interface: plant, {key}: 255.255.255.255}}]"
    assert only_problem(rule(text)) == f"rules.r.outputs[0].{key}: {problem}"


@pytest.mark.parametrize("group", ["", "group: 239.1.1.1, "])
def test_the_key_broadcast_is_a_problem_with_its_own_words(group):
    text = f"input: {{interface: studio, {group}broadcast: true, port: 1}}, {TO_PLANT}"
    assert only_problem(rule(text)) == f"rules.r.input.broadcast: {UNSUPPORTED}"
    text = f"{INPUT}, outputs: [{{interface: plant, {group}broadcast: true}}]"
    assert only_problem(rule(text)) == f"rules.r.outputs[0].broadcast: {UNSUPPORTED}"
    assert only_problem(rule(f"{INPUT}, broadcast: true, {TO_PLANT}")).startswith(
        "rules.r.broadcast: unknown key"
    )


def test_a_group_of_source_specific_multicast_without_sources_is_a_warning():
    text = "input: {interface: studio, group: 232.1.1.1, port: 1%s}, outputs: [{interface: plant}]"
    assert warnings(rule(text % "")) == [
        "rules.r.input.group: 232.1.1.1 is for source-specific multicast (232.0.0.0/8, RFC 4607):"
        " routers and switches may ignore a join without a source; add `sources`"
    ]
    assert warnings(rule(text % ", sources: [10.0.0.5]")) == []
