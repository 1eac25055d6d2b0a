"""Every verb with --json has a JSON Schema, to which its help points."""

import jsonschema
import pytest
from mcrelay_manual.code import parser_of, schema

from mcrelay.cli import VERBS
from mcrelay.model.send_errors import PathFault
from tests.support import json_schemas


def has_json(parser):
    return any("--json" in action.option_strings for action in parser._actions)


def test_the_verbs_with_json_are_those_with_a_schema():
    assert {verb.name for verb in VERBS if has_json(parser_of(verb))} == {*json_schemas.VERBS}


@pytest.mark.parametrize("name", json_schemas.VERBS)
def test_the_help_points_at_the_schema(name):
    [verb] = [verb for verb in VERBS if verb.name == name]
    assert f"schemas/{name}.schema.json" in " ".join(parser_of(verb).epilog.split())


@pytest.mark.parametrize("name", [*json_schemas.VERBS, "mcrelay"])
def test_a_schema_is_one_and_describes_every_key(name):
    jsonschema.Draft202012Validator.check_schema(schema(name))
    assert all(part.get("description") for part in keys_of(schema(name)))


def test_the_faults_of_an_output_are_those_of_the_code():
    assert schema("status")["$defs"]["fault"]["enum"] == [*PathFault, None]


def keys_of(node):
    """Yield what a schema says of each key, definitions put in for references."""
    whole = node.get("$defs", {})

    def found(part):
        if isinstance(part, dict):
            for key in part.get("properties", {}).values():
                if isinstance(key, dict) and key.keys() != {"const"}:
                    yield {**whole.get(key.get("$ref", "").removeprefix("#/$defs/"), {}), **key}
            for inner in part.values():
                yield from found(inner)
        elif isinstance(part, list):
            for inner in part:
                yield from found(inner)

    yield from found(node)
