"""The FILE, `--config` and `--as` options of `check` and `plan`."""

from __future__ import annotations

import argparse
from pathlib import Path

from mcrelay.cli import session
from mcrelay.client.connection import UNREACHABLE
from mcrelay.storage import config_files
from mcrelay.storage.config_files import Contents


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name the configuration file."""
    meaning = (
        "configuration file, or - for standard input"
        f" (default: the running daemon's, else {config_files.DEFAULT})"
    )
    either = parser.add_mutually_exclusive_group()
    either.add_argument("file", nargs="?", metavar="FILE", help=meaning)
    either.add_argument("-c", "--config", metavar="FILE", help="the same as FILE")
    parser.add_argument(
        "--as", dest="place", metavar="PLACE", type=Path,
        help="check FILE as if it replaced the main file or drop-in at PLACE, with the other files there",
    )  # fmt: skip


def find_named_file(options: argparse.Namespace) -> str | None:
    """Return the PLACE of `--as`, else the named file, else None."""
    if options.place is not None:
        return str(options.place)
    return _find_file_argument(options)


def _find_file_argument(options: argparse.Namespace) -> str | None:
    return next((name for name in (options.file, options.config) if name is not None), None)


def find_file(options: argparse.Namespace) -> str:
    """Return the named file, else the running daemon's, else the default path."""
    if (name := find_named_file(options)) is not None:
        return name
    try:
        with session.connect_to_daemon(options) as client:
            return str(client.greeting["config"])
    except UNREACHABLE:
        return str(config_files.DEFAULT)


def read_contents(options: argparse.Namespace, name: str) -> Contents:
    """Return the content of the file and its drop-ins. Raises ConfigError if a file cannot be read."""
    if options.place is not None:
        return config_files.read_with(options.place, _read_file(_find_file_argument(options) or "-"))
    return config_files.read_standard_input() if name == "-" else config_files.read(name)


def _read_file(name: str) -> bytes:
    return config_files.read_standard_input()[0][1] if name == "-" else config_files.read_one(name)
