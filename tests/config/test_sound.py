"""The quick answer is jsonschema's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from mcrelay.config.schema import schema
from mcrelay.config.sound import repeats, soundness

TEXTS = st.sampled_from(["", "a", "b", "auto", "10.0.0.1", "10.0.0.1\n"])
NUMBERS = st.sampled_from([-1, 0, 1, 2, 64, 65536, 0.5, 2.5])  # 1.0 is an integer to jsonschema, and not here
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
)
PARTS = [
    {"type": "integer"},
    {"type": ["object", "null"]},
    {"type": "boolean", "title": "an annotation says nothing"},
    {"const": "a"},
    {"enum": ["a", "auto"]},
    {"minimum": 1, "maximum": 64},
    {"maxLength": 3},
    {"pattern": "^[a-z]+$"},
    {"minItems": 1},
    {"items": {"type": "string"}, "uniqueItems": True},
    {"type": "object", "required": ["a", "b"]},
    {"propertyNames": {"pattern": "^a"}},
    {"properties": {"a": {"type": "string"}, "b": {"maximum": 1}}, "additionalProperties": False},
    {"additionalProperties": {"type": "integer"}},
    {"anyOf": [{"type": "integer", "minimum": 1}, {"const": "auto"}]},
    {"not": {"type": "object", "required": ["a", "b"]}},
    {},
]


@pytest.mark.parametrize("part", PARTS, ids=[" and ".join(part) or "nothing" for part in PARTS])
@given(value=VALUES)
def test_each_keyword_says_what_jsonschema_says(part, value):
    assert soundness(part)(value) == Draft202012Validator(part).is_valid(value)


def keywords(node):
    """Every keyword that checks something in a part of the schema."""
    named = {"title", "description", "examples", "default", "$schema", "$defs", "$ref"}
    for keyword, inner in node.items():
        yield from {keyword} - named
        match keyword:
            case "properties" | "$defs":
                yield from (word for part in inner.values() for word in keywords(part))
            case "items" | "not" | "propertyNames" | "additionalProperties":
                yield from keywords(inner or {})
            case "anyOf":
                yield from (word for part in inner for word in keywords(part))


def test_every_keyword_of_the_schema_is_compared_here():
    assert set(keywords(schema())) <= {word for part in PARTS for word in part}


def test_true_and_whole_floats_are_no_integers():
    assert [soundness({"type": "integer"})(value) for value in (1, True, 1.0)] == [True, False, False]


def test_the_end_of_a_pattern_is_the_end_of_the_text():
    assert not soundness({"pattern": "^a$"})("a\n")


def test_a_keyword_that_is_not_known_is_not_passed_over():
    with pytest.raises(KeyError, match="patternProperties"):
        soundness({"patternProperties": {}})


def test_only_texts_repeat_themselves():
    assert repeats(["a", 1, 1, "b", "a", "a"]) == [4, 5]
