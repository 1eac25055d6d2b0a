"""Runs: the command line: a table of verbs, one module each, imported when its verb is called."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module

from mcrelay import __version__
from mcrelay.cli import inherited
from mcrelay.cli.exit_codes import Exit
from mcrelay.model.suggestions import did_you_mean, list_words


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb, its line in the help, and the module that has its `arguments(parser)` and `run(options)`."""

    name: str
    help: str
    module: str


VERBS = (
    Verb("run", "relay, in the foreground, until told to stop", "mcrelay.cli.run"),
    Verb("check", "tell everything that is wrong with a configuration", "mcrelay.cli.check"),
    Verb("plan", "show what a reload or a start would change", "mcrelay.cli.plan"),
    Verb("add", "add a rule, in a file of its own", "mcrelay.cli.add"),
    Verb("remove", "remove a rule that has a file of its own", "mcrelay.cli.remove"),
    Verb("enable", "let a disabled rule run", "mcrelay.cli.enable_disable"),
    Verb("disable", "let a rule rest, without forgetting it", "mcrelay.cli.enable_disable"),
    Verb("reload", "reload the configuration, and wait for the verdict", "mcrelay.cli.reload"),
    Verb("try", "put what the files say on trial", "mcrelay.cli.try_"),
    Verb("confirm", "keep what is on trial", "mcrelay.cli.confirm"),
    Verb("history", "list the last configurations that were accepted", "mcrelay.cli.history"),
    Verb("diff", "show what has changed since one of them", "mcrelay.cli.diff"),
    Verb("status", "show what runs, what does not and why, and every rate", "mcrelay.cli.status"),
    Verb("list", "list the rules and their states", "mcrelay.cli.list_"),
    Verb("stats", "show the counters", "mcrelay.cli.stats"),
    Verb("trace", "show what happens to a rule's packets, one by one", "mcrelay.cli.trace"),
    Verb("send", "send numbered test packets to groups or hosts", "mcrelay.cli.send"),
    Verb("receive", "receive test packets; report loss, order and latency", "mcrelay.cli.receive"),
    Verb("demo", "relay real multicast between network namespaces", "mcrelay.cli.demo"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb that the arguments name, and return its exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    inherited.make_usual()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a terminal that cannot show a character gets its code
    try:
        code = _run(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        _write_no_more()
        return Exit.BROKEN_PIPE
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _write_no_more()
        print(f"mcrelay: {error.strerror}", file=sys.stderr)
        return Exit.FAILURE
    return code


def _write_no_more() -> None:
    """Keep Python from complaining, at its exit, that it cannot write what is left of the output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(words: Sequence[str]) -> int:
    chosen = next((word for word in words if not word.startswith("-")), None)
    known = {verb.name: verb for verb in VERBS}
    if chosen is not None and chosen not in known:
        return _unknown(chosen, known)
    options = _parser(known.get(chosen or "")).parse_args(words)
    code: int = options.run(options)
    return code


def _parser(chosen: Verb | None) -> argparse.ArgumentParser:
    """Return the parser of all verbs, with the arguments of the chosen one."""
    parser = argparse.ArgumentParser(
        prog="mcrelay",
        description="Relays UDP multicast from sources nobody can route, from a routable address.",
        epilog="`mcrelay VERB --help` tells more about a verb.",
    )
    parser.add_argument("--version", action="version", version=f"mcrelay {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in VERBS:
        verb_parser = verbs.add_parser(verb.name, help=verb.help, description=verb.help.capitalize() + ".")
        if verb is chosen:
            module = import_module(verb.module)
            module.arguments(verb_parser)
            verb_parser.set_defaults(run=module.run, verb=verb.name)
    return parser


def _unknown(word: str, known: Iterable[str]) -> int:
    hint = did_you_mean(word, known) or f"; there are: {list_words(known)}"
    print(f"mcrelay: no verb is named `{word}`{hint}", file=sys.stderr)
    return Exit.USAGE
