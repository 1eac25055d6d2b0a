"""What the pages take from mcrelay: the only module here that imports it."""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path
from typing import Any

from mcrelay import __version__ as VERSION
from mcrelay.cli import VERBS, Verb
from mcrelay.cli.exit_codes import Exit
from mcrelay.model.drops import Drop
from mcrelay.model.send_errors import SEND_ERROR_EXPLANATIONS
from mcrelay.protocol.jsonrpc import Json

__all__ = [
    "SCHEMAS",
    "SEND_ERROR_EXPLANATIONS",
    "VERBS",
    "VERSION",
    "Drop",
    "Exit",
    "Verb",
    "parser_of",
    "schema",
]

SCHEMAS = Path(__file__).parents[3] / "schemas"


def parser_of(verb: Verb) -> argparse.ArgumentParser:
    """Return the parser of one verb."""
    parser = argparse.ArgumentParser(f"mcrelay {verb.name}", description=f"{verb.help.capitalize()}.")
    import_module(verb.module).add_arguments(parser)
    return parser


def schema(name: str) -> dict[str, Any]:
    """Return `schemas/NAME.schema.json`. What it refers to in other schemas is among its own `$defs`."""
    definitions: dict[str, Any] = {}

    def own(part: Json, home: str) -> Json:
        """Return a part of the schema `home` in which every `$ref` is one of `definitions`."""
        if isinstance(part, list):
            return [own(one, home) for one in part]
        if not isinstance(part, dict):
            return part
        part = {key: own(value, home) for key, value in part.items()}
        if isinstance(ref := part.get("$ref"), str):
            file, _, key = ref.partition("#/$defs/")
            source = file.removesuffix(".schema.json") or home
            if key not in definitions:
                definitions[key] = None  # under way
                definitions[key] = own(_read(source)["$defs"][key], source)
            part["$ref"] = f"#/$defs/{key}"
        return part

    document: dict[str, Any] = own({**_read(name), "$defs": {}}, name)
    return {**document, "$defs": definitions}


def _read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((SCHEMAS / f"{name}.schema.json").read_bytes())
    return document
