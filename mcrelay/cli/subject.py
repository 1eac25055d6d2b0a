"""Which configuration a verb is about: the file it names, else the running daemon's, else the usual."""

from __future__ import annotations

import argparse

from mcrelay.cli import daemon
from mcrelay.supervisor import files
from mcrelay.supervisor.files import Contents


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name the file."""
    usual = f"the configuration (default: the running daemon's, else {files.DEFAULT}); - is standard input"
    either = parser.add_mutually_exclusive_group()
    either.add_argument("file", nargs="?", metavar="FILE", help=usual)
    either.add_argument("-c", "--config", metavar="FILE", help="the same as FILE")


def named(options: argparse.Namespace) -> str | None:
    """Return the file that was named, None where none was."""
    return next((name for name in (options.file, options.config) if name is not None), None)


def file(options: argparse.Namespace) -> str:
    """Return the file that was named, else that of the daemon, if it can be asked, else the usual one."""
    if (name := named(options)) is not None:
        return name
    try:
        with daemon.connected(options) as client:
            return str(client.greeting["config"])
    except daemon.UNREACHABLE:
        return str(files.DEFAULT)


def contents(name: str) -> Contents:
    """Return what the file and its drop-ins hold; raises `Invalid`."""
    return files.read_standard_input() if name == "-" else files.read(name)
