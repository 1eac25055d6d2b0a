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
from mcrelay.model.drops import SEND_ERROR_MEANINGS, Drop

__all__ = [
    "SCHEMAS",
    "SEND_ERROR_MEANINGS",
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
    import_module(verb.module).arguments(parser)
    return parser


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema `schemas/NAME.schema.json`."""
    document: dict[str, Any] = json.loads((SCHEMAS / f"{name}.schema.json").read_bytes())
    return document
