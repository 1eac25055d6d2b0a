"""Runs: the command line. A table lists the verbs; the module of a verb is imported if the verb is called."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module

from mcrelay import __version__
from mcrelay.cli import inherited_state, streams
from mcrelay.cli.exit_codes import Exit
from mcrelay.model.suggestions import did_you_mean, list_words


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb with its line in the help. Its module has `add_arguments(parser)` and `run(options)`."""

    name: str
    help: str
    module: str


VERBS = (
    Verb("run", "run the relay in the foreground until it is stopped", "mcrelay.cli.run"),
    Verb("check", "check a configuration and list every problem", "mcrelay.cli.check"),
    Verb("plan", "show what a reload or a start would change", "mcrelay.cli.plan"),
    Verb("add", "add a rule as a drop-in file", "mcrelay.cli.add"),
    Verb("remove", "remove a rule that has its own drop-in file", "mcrelay.cli.remove"),
    Verb("enable", "enable a rule that has its own drop-in file", "mcrelay.cli.enable_disable"),
    Verb("disable", "disable a rule and keep its drop-in file", "mcrelay.cli.enable_disable"),
    Verb("reload", "reload the configuration and wait for the result", "mcrelay.cli.reload"),
    Verb("try", "apply the configuration on trial", "mcrelay.cli.try_"),
    Verb("confirm", "keep the configuration that is on trial", "mcrelay.cli.confirm"),
    Verb("history", "list the most recent accepted configurations", "mcrelay.cli.history"),
    Verb("diff", "compare the files with an entry of the history", "mcrelay.cli.diff"),
    Verb("status", "show rules, interfaces and processes with their states and rates", "mcrelay.cli.status"),
    Verb("list", "list the rules with their states and files", "mcrelay.cli.list_"),
    Verb("stats", "show packet and byte counters", "mcrelay.cli.stats"),
    Verb("trace", "show each packet of a rule with its outputs or its drop reason", "mcrelay.cli.trace"),
    Verb("send", "send numbered test packets to groups or hosts", "mcrelay.cli.send"),
    Verb("receive", "receive test packets and report loss, order and latency", "mcrelay.cli.receive"),
    Verb("demo", "relay real multicast between network namespaces", "mcrelay.cli.demo"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb that the arguments name, and return its exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    # Where a verb needs numpy, the library of numpy for linear algebra would start a thread for each CPU.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    inherited_state.repair()
    streams.replace_output_streams()
    try:
        code = _run_verb_and_write_output(words)
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
    except streams.StreamError as error:
        streams.discard_output()
        if error.is_broken_pipe:
            return Exit.BROKEN_PIPE
        print(f"mcrelay: cannot write the output: {error}", file=sys.stderr)
        return Exit.FAILURE
    return code


def _run_verb_and_write_output(words: Sequence[str]) -> int:
    try:
        return _run_verb(words)
    finally:  # also after --help, which raises SystemExit
        sys.stdout.flush()


def _run_verb(words: Sequence[str]) -> int:
    chosen = next((word for word in words if not word.startswith("-")), None)
    known = {verb.name: verb for verb in VERBS}
    if chosen is not None and chosen not in known:
        return _report_unknown(chosen, known)
    verb = known.get(chosen or "")
    # Parsers take a while to build, and only the help of mcrelay itself shows all verbs.
    verbs = (verb,) if verb and words[0] == verb.name else VERBS
    options, unknown = _build_parser(verbs, verb).parse_known_args(words)
    if unknown:
        options.verb_parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    code: int = options.run(options)
    return code


def _build_parser(shown: Iterable[Verb], chosen: Verb | None) -> argparse.ArgumentParser:
    """Return the parser of some verbs, with the arguments of the chosen verb only."""
    parser = argparse.ArgumentParser(
        prog="mcrelay",
        description="Relays UDP multicast from unroutable sources, with a routable source address.",
        epilog="`mcrelay VERB --help` describes a verb.",
    )
    parser.add_argument("--version", action="version", version=f"mcrelay {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in shown:
        verb_parser = verbs.add_parser(verb.name, help=verb.help, description=verb.help.capitalize() + ".")
        if verb is chosen:
            module = import_module(verb.module)
            module.add_arguments(verb_parser)
            verb_parser.set_defaults(run=module.run, verb=verb.name, verb_parser=verb_parser)
    return parser


def _report_unknown(word: str, known: Iterable[str]) -> int:
    hint = did_you_mean(word, known) or f"; the verbs are: {list_words(known)}"
    print(f"mcrelay: no verb is named `{word}`{hint}", file=sys.stderr)
    return Exit.USAGE
