"""The schema is a document for editors, has every default, and says what is valid."""

import copy
import json
import math
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from mcrelay.config.reader import parse
from mcrelay.config.schema import default, is_valid, schema
from mcrelay.config.violations import find_violations

ROOT = Path(__file__).parents[2]
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
        ("file", "data_plane"): "auto", ("file", "workers"): 1, ("file", "max_age"): "1s",
        ("interface", "ttl"): 64, ("interface", "dscp"): "copy",
        ("rule", "enabled"): True, ("rule", "exclusive"): False, ("rule", "description"): "",
        ("input", "sources"): [],
    }  # fmt: skip
    assert {key: default(*key) for key in promised} == promised


ANNOTATIONS = {"$ref", "title", "description", "examples", "default"}


@pytest.mark.parametrize("name", sorted(ANNOTATIONS - {"$ref"}))
def test_a_name_or_key_that_is_also_a_keyword_of_the_schema_is_checked(name):
    ends = {"input": {"interface": name, "group": "239.1.1.1", "port": 1}, "outputs": [{"interface": name}]}
    data = {"interfaces": {name: {"device": "eth0"}}, "rules": {name: {"description": "text", **ends}}}
    assert is_valid(data)
    assert not is_valid({**data, "interfaces": {name: {"device": 5}}})
    assert not is_valid({**data, "rules": {name: {"description": 5, **ends}}})
    assert not is_valid({**data, "rules": {name: {"description": "text"}}})


def references(node):
    if isinstance(node, dict):
        if "$ref" in node:
            yield node
        for part in node.values():
            yield from references(part)


def test_only_annotations_stand_beside_a_reference():
    """fastjsonschema ignores the keywords beside a reference, as JSON Schema did until draft 7."""
    assert len(list(references(SCHEMA))) > 20
    assert all(part.keys() <= ANNOTATIONS for part in references(SCHEMA))


@pytest.mark.parametrize("value", [True, 1.0, math.inf, "1", None])
def test_an_integer_is_neither_true_nor_a_float_nor_a_text(value):
    assert is_valid({"version": 1})
    assert not is_valid({"version": value})


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_pattern_ends_at_the_end_of_the_text(end):
    assert is_valid({"interfaces": {"a": {"device": f"eth0{end}"}}}) == (not end)
    assert is_valid({"interfaces": {f"a{end}": {"device": "eth0"}}}) == (not end)


@pytest.mark.parametrize("sources", [["10.0.0.1", "10.0.0.1"], [1, 1], [[], []], [{"a": []}, {"a": []}]])
def test_items_that_repeat_are_invalid(sources):
    rule = {"input": {"interface": "a", "group": "239.1.1.1", "port": 1}, "outputs": [{"interface": "a"}]}
    assert is_valid({"rules": {"r": rule}})
    assert not is_valid({"rules": {"r": {**rule, "input": {**rule["input"], "sources": sources}}}})


KNOWN = [
    None, True, 0, 1, 64, 65535, 65536, -1, 2.5, "", "a", "auto", "copy", "decrement", "kernel", "10.0.0.1",
     "239.1.1.1", "10.0.0.1.", [], ["10.0.0.1"], ["10.0.0.1", "10.0.0.1"], [1], {}, "x" * 16, "x" * 201,
]  # fmt: skip
VALUES = st.sampled_from(KNOWN)
MAPS = {name: node["properties"] for name, node in SCHEMA["$defs"].items() if "properties" in node}


@given(st.data(), st.sampled_from(sorted(MAPS)))
def test_a_map_is_valid_exactly_when_jsonschema_alone_says_so(data, kind):
    keys = data.draw(st.sets(st.sampled_from([*MAPS[kind], "unknown"])))
    part = {key: data.draw(VALUES) for key in sorted(keys)}
    if kind in ("input", "output"):
        rule = {"input": SCHEMA["$defs"]["input"]["examples"][0], "outputs": [{"interface": "a"}]}
        whole = {"rules": {"r": {**rule, **({"input": part} if kind == "input" else {"outputs": [part]})}}}
    else:
        whole = {f"{kind}s": {"x": part}}
    assert is_valid(whole) == Draft202012Validator(SCHEMA).is_valid(whole)


EXAMPLES = [
    parse(path.read_bytes(), path.name).data for path in sorted((ROOT / "examples").glob("**/*.yaml"))
]
STRANGE = [
    *KNOWN,
    1.0,
    64.0,
    "10.0.0.1\n",
    "studio\n",
    {"a": 1},
    {"group": "239.1.1.1", "address": "10.0.0.1"},
]


def places(node, path=()):
    """Every place of a value in a file."""
    yield path
    members = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, inner in members:
        yield from places(inner, (*path, key))


def mutated(draw):
    """An example in which a few values are replaced, deleted or added."""
    document = copy.deepcopy(draw(st.sampled_from(EXAMPLES)))
    for _ in range(draw(st.integers(0, 3))):
        *path, last = draw(st.sampled_from([place for place in places(document) if place] or [("rules",)]))
        owner = document
        for key in path:
            owner = owner[key]
        match draw(st.sampled_from(["replace", "delete", "add"])):
            case "replace":
                owner[last] = copy.deepcopy(draw(st.sampled_from(STRANGE)))
            case "delete" if last in owner or isinstance(owner, list):
                del owner[last]
            case "add" if isinstance(owner, dict):
                keys = st.sampled_from([key for keys in MAPS.values() for key in keys] + ["a b", "unknown"])
                owner[draw(keys)] = copy.deepcopy(draw(st.sampled_from(STRANGE)))
    return document


def test_examples_are_valid():
    assert len(EXAMPLES) >= 8
    assert all(is_valid(example) for example in EXAMPLES)


@given(st.composite(mutated)())
def test_a_file_is_valid_exactly_when_there_is_no_violation_to_explain(document):
    source = parse(json.dumps(document).encode(), "f")
    assert source.data == document
    assert is_valid(document) == (not list(find_violations(source)))


def test_the_schema_is_not_changed_by_use():
    before = copy.deepcopy(schema())
    is_valid({"workers": 0})
    list(find_violations(parse(b"workers: 0", "f")))
    assert schema() == before


def test_a_valid_file_is_checked_without_importing_jsonschema():
    code = (
        "import sys; from mcrelay.config.reader import parse;"
        "from mcrelay.config.section import read_section;"
        "read_section(parse(b'version: %d', 'f')); print('jsonschema' in sys.modules)"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", code % version], capture_output=True, text=True, check=True
        ).stdout
        for version in (1, 2)
    ]
    assert said == ["False\n", "True\n"]
