"""The JSON Schemas of what verbs print with --json, ready for a validator."""

import jsonschema
from mcrelay_manual.code import SCHEMAS, schema

VERBS = sorted(
    name
    for path in SCHEMAS.glob("*.schema.json")
    if (name := path.name.removesuffix(".schema.json")) != "mcrelay"
)


def validate(document, verb):
    """Raise ValidationError where a document is not what the verb prints with --json."""
    jsonschema.Draft202012Validator(schema(verb)).validate(document)
