"""The schema: a document for editors, the words of every message, and the home of every default."""

import copy
import json
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from mcrelay.config.reader import parse
from mcrelay.config.schema import default, schema, violations

SCHEMA = json.loads(resources.files("mcrelay").joinpath("schema.json").read_text())


def keys_of(node, path="schema"):
    """Every key that a user can write, with its part of the schema."""
    for name, part in node.get("properties", {}).items():
        yield f"{path}.{name}", part
        yield from keys_of(part, f"{path}.{name}")


KEYS = [
    *keys_of(SCHEMA),
    *((path, part) for name, node in SCHEMA["$defs"].items() for path, part in keys_of(node, name)),
]


def followed(part):
    """A part of the schema together with what it refers to, as an editor shows it."""
    if "$ref" not in part:
        return part
    return {**SCHEMA["$defs"][part["$ref"].removeprefix("#/$defs/")], **part}


def found(text):
    """The problems of a text, each once: `Invalid` shows no sentence twice either."""
    return list(dict.fromkeys(str(problem) for _, problem in violations(parse(text.encode(), "f"))))


def test_the_schema_is_a_schema():
    Draft202012Validator.check_schema(SCHEMA)
    assert schema() == SCHEMA


@pytest.mark.parametrize(("path", "part"), KEYS, ids=[path for path, _ in KEYS])
def test_every_key_has_a_description_an_example_that_is_valid_and_words_for_messages(path, part):
    part = followed(part)
    assert part["description"].endswith(".")
    assert part["title"]
    whole = {**part, "$defs": SCHEMA["$defs"]}
    for example in [*part["examples"], *([part["default"]] if part.get("default") not in ([], None) else [])]:
        Draft202012Validator(whole).validate(example)


def test_the_examples_of_the_whole_file_and_of_every_part_are_valid():
    for part in [SCHEMA, *SCHEMA["$defs"].values()]:
        whole = {**part, "$defs": SCHEMA["$defs"]}
        for example in part["examples"]:
            Draft202012Validator(whole).validate(example)


def bounded(node):
    """Every part of the schema with a title, and the numbers and words that it allows."""
    if isinstance(node, dict):
        choices = [node, *node.get("anyOf", [])]
        words = [
            choice[key] for choice in choices for key in ("minimum", "maximum", "const") if key in choice
        ]
        if "title" in node:
            yield node["title"], words + node.get("enum", [])
        for value in node.values():
            yield from bounded(value)


def test_the_words_of_a_message_name_the_bounds_that_the_schema_checks():
    checked = [(title, word) for title, words in bounded(SCHEMA) if isinstance(title, str) for word in words]
    assert len(checked) >= 15
    for title, word in checked:
        assert str(word) in title


def test_the_defaults_are_those_that_the_manual_promises():
    promised = {
        ("file", "data_plane"): "auto", ("file", "workers"): 1,
        ("interface", "ttl"): 64, ("interface", "dscp"): "copy",
        ("rule", "enabled"): True, ("rule", "exclusive"): False, ("rule", "description"): "",
        ("input", "sources"): [],
    }  # fmt: skip
    assert {key: default(*key) for key in promised} == promised


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("workers: 0", "f:1:10: workers: expected 1 to 256 or `auto`, not 0"),
        ("workers: atuo", 'f:1:10: workers: expected 1 to 256 or `auto`, not "atuo"; did you mean `auto`?'),
        ("workers: '2'", 'f:1:10: workers: expected 1 to 256 or `auto`, not "2"; write it without quotes'),
        ("workers:", "f:1:9: workers: expected 1 to 256 or `auto`, but nothing is here"),
        ("workers: true", "f:1:10: workers: expected 1 to 256 or `auto`, not true"),
        ("workers: {}", "f:1:10: workers: expected 1 to 256 or `auto`, not a map"),
        ("version: 1.0", "f:1:10: version: expected 1, the only version there is, not 1.0"),
        ("version: true", "f:1:10: version: expected 1, the only version there is, not true"),
        ("data_plane: usrspace",
         'f:1:13: data_plane: expected `auto`, `kernel` or `userspace`, not "usrspace"; '
         "did you mean `userspace`?"),
        ("interfacs: {}", "f:1:1: interfacs: unknown key; did you mean `interfaces`?"),
        ("xyz: {}",
         "f:1:1: xyz: unknown key; "
         "known here: version, data_plane, workers, watch, interfaces, rules"),
        ("interfaces: {a: {}}",
         "f:1:14: interfaces.a: `device` is missing; add, for example, `device: eth0`"),
        ("interfaces: {a: {device: eth0, ttl: 300}}",
         "f:1:37: interfaces.a.ttl: expected 1 to 255 or `decrement`, not 300"),
        ("interfaces: {a: {device: eth0, dscp: 64}}",
         "f:1:38: interfaces.a.dscp: expected 0 to 63 or `copy`, not 64"),
        ("interfaces: {a: {device: a-name-of-16-ch}}", None),
        ("interfaces: {a: {device: a-name-of-16-chr}}",
         "f:1:26: interfaces.a.device: expected the name of a Linux network device, at most 15 characters, "
         'not "a-name-of-16-chr"'),
        ("interfaces: {a: {device: eth0, source: 10.0.0.01}}",
         'f:1:40: interfaces.a.source: expected an IPv4 address such as 10.9.2.50, not "10.0.0.01"'),
        ("interfaces: {'a b': {device: eth0}}",
         'f:1:14: interfaces."a b": expected a name of 1 to 63 letters, digits, `.`, `_` or `-` '
         'that begins with a letter or a digit, not "a b"'),
        ('interfaces: {"a\\n": {device: eth0}}',
         'f:1:14: interfaces."a\\n": expected a name of 1 to 63 letters, digits, `.`, `_` or `-` '
         'that begins with a letter or a digit, not "a\\n"'),
        ("rules: []", "f:1:8: rules: expected a map of names to rules, not an empty list"),
    ],
)  # fmt: skip
def test_a_violation_is_one_sentence_at_its_place(text, problem):
    assert found(text) == ([problem] if problem else [])


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("enabled: yes", "enabled", 'expected `true` or `false`, not "yes"; write `true`'),
        ("enabled: Off", "enabled", 'expected `true` or `false`, not "Off"; write `false`'),
        ("enabled: maybe", "enabled", 'expected `true` or `false`, not "maybe"'),
        ("description: " + "x" * 201, "description",
         f'expected a text of at most 200 characters, not "{"x" * 37}..."'),
        ("input: 3", "input",
         "expected an input: a map with `interface`, `group` or `address`, and `port`, not 3"),
        ("outputs: []", "outputs", "expected a list of at least one output, not an empty list"),
        ("outputs: [3]", "outputs[0]", "expected an output: a map with `interface`, not 3"),
        ("outputs: [{interface: a, ttl: 0}]", "outputs[0].ttl", "expected 1 to 255 or `decrement`, not 0"),
        ("outputs: [{interface: a, port: 0}]", "outputs[0].port",
         "expected a UDP port from 1 to 65535, not 0"),
    ],
)  # fmt: skip
def test_a_violation_in_a_rule_is_one_sentence_too(text, path, words):
    problems = [problem for problem in found(f"rules: {{r: {{{text}}}}}") if "is missing" not in problem]
    assert [problem.split(": ", 1)[1] for problem in problems] == [f"rules.r.{path}: {words}"]


def test_each_missing_key_is_named_with_an_example():
    assert set(found("rules: {r: {input: {}, outputs: [{}]}}")) == {
        "f:1:13: rules.r.input: `interface` is missing; add, for example, `interface: studio`",
        "f:1:13: rules.r.input: `port` is missing; add, for example, `port: 5001`",
        "f:1:13: rules.r.input: `group` or `address` is missing; add, for example, `group: 239.1.1.1`",
        "f:1:34: rules.r.outputs[0]: `interface` is missing; add, for example, `interface: plant`",
    }


@pytest.mark.parametrize("octet", ["256", "999", "01", "-1", "1x", "", " 1", "\u0661"])
def test_an_address_is_a_strict_dotted_quad(octet):
    for quad in (f"{octet}.0.0.1", f"10.{octet}.0.1", f"10.0.0.{octet}"):
        text = json.dumps(quad, ensure_ascii=False)
        assert len(found(f"interfaces: {{a: {{device: eth0, source: {text}}}}}")) == 1


@pytest.mark.parametrize(
    "quad", ["10.0.0.1.", "10.0.0", "10.0.0.1.1", "10.0.0.1/8", "10.0.0.1\n", "localhost"]
)
def test_what_is_almost_an_address_is_none(quad):
    assert len(found(f"interfaces: {{a: {{device: eth0, source: {json.dumps(quad)}}}}}")) == 1


VALUES = st.sampled_from(
    [None, True, 0, 1, 64, 65535, 65536, -1, 2.5, "", "a", "auto", "copy", "decrement", "kernel", "10.0.0.1",
     "239.1.1.1", "10.0.0.1.", [], ["10.0.0.1"], ["10.0.0.1", "10.0.0.1"], [1], {}, "x" * 16, "x" * 201],
)  # fmt: skip
MAPS = {name: node["properties"] for name, node in SCHEMA["$defs"].items() if "properties" in node}


@given(st.data(), st.sampled_from(sorted(MAPS)))
def test_a_map_is_sound_here_exactly_when_jsonschema_alone_says_so(data, kind):
    keys = data.draw(st.sets(st.sampled_from([*MAPS[kind], "unknown"])))
    part = {key: data.draw(VALUES) for key in sorted(keys)}
    if kind in ("input", "output"):
        rule = {"input": SCHEMA["$defs"]["input"]["examples"][0], "outputs": [{"interface": "a"}]}
        whole = {"rules": {"r": {**rule, **({"input": part} if kind == "input" else {"outputs": [part]})}}}
    else:
        whole = {f"{kind}s": {"x": part}}
    assert (not found(json.dumps(whole))) == Draft202012Validator(SCHEMA).is_valid(whole)


def test_the_schema_is_not_changed_by_use():
    before = copy.deepcopy(schema())
    found("workers: 0")
    assert schema() == before
