"""`mcrelay trace`: what happens to a rule's packets, one by one, while it happens."""

from __future__ import annotations

import argparse
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from mcrelay.cli import session
from mcrelay.cli.argument_types import positive_number, whole_number
from mcrelay.cli.error_report import report_error
from mcrelay.cli.exit_codes import Exit
from mcrelay.cli.view.progress import Interrupt
from mcrelay.cli.view.trace_output import CaptureOutput, JsonOutput, TextOutput, TraceOutput, TraceSummary
from mcrelay.client.connection import BrokenOff, Client, Failed
from mcrelay.protocol.jsonrpc import Code
from mcrelay.traffic.endpoint import UsageError

POLL_INTERVAL_S = 0.05  # seconds between two looks where nothing has come
RETRY_DELAY_S = 0.2  # seconds between two tries to reach the daemon again
MAX_EVENTS_PER_READ = 1000  # events of one look

HELP = """\
A line tells of a packet when it came, on which device, from where, to where, its length and TTL, and what
became of it: sent to which outputs, or not and why. Packets that nearly match are told, too: to a
destination of the rule with a port that no rule takes, from a source that is not allowed, in fragments,
with a VLAN tag, malformed, or sent by the relay itself.

A worker tells of some 250 packets at once, and of 2000 a second. Of the others it tells only how many they
are: they are lost to the trace, and not to those who receive them.

Traces show what packets carry: they are for root, the user of the daemon and the socket's group.

--pcapng writes the packets as they came in, from the IP header on, as far as they were kept (up to 2000
octets); what became of each is its comment. To see them live:

  mcrelay trace RULE --pcapng - | wireshark -k -i -

With --json, one object a line: mcrelay-trace(1) and schemas/trace.schema.json describe it.

Exit codes: 0 packets were seen, 1 none came, or the trace broke off, 2 usage, 3 mcrelay does not run,
4 not permitted."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `trace`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = HELP
    parser.add_argument("rule", metavar="RULE", help="the rule whose packets to show")
    parser.add_argument(
        "-n",
        "--count",
        type=whole_number(1, 2**48),
        metavar="N",
        help="end after N packets (default: on Ctrl-C)",
    )
    parser.add_argument(
        "-d", "--duration", type=positive_number, metavar="SEC", help="end after so long (default: on Ctrl-C)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument(
        "--pcapng", metavar="FILE", help="write a capture for Wireshark; - is standard output"
    )
    session.arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Trace until something ends it, and tell what was seen in all."""
    try:
        with _open_outputs(options) as outputs:
            return session.run_with_daemon(lambda _: TraceRun(options, outputs).run(), options)
    except BrokenPipeError:
        raise  # whoever read it has gone: the command line's own affair
    except (UsageError, OSError) as error:
        return report_error("trace", error)


@contextmanager
def _open_outputs(options: argparse.Namespace) -> Iterator[list[TraceOutput]]:
    """Open what was asked for; lines are for whoever reads standard output, unless a capture goes there."""
    if options.pcapng == "-":
        yield [CaptureOutput(_binary_standard_output(options))]
        return
    shown: TraceOutput = JsonOutput() if options.json else TextOutput()
    if options.pcapng is None:
        yield [shown]
        return
    with _create(options.pcapng) as file:
        yield [CaptureOutput(file), shown]


def _create(path: str) -> IO[bytes]:
    try:
        return open(path, "wb")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def _binary_standard_output(options: argparse.Namespace) -> IO[bytes]:
    if options.json:
        raise UsageError("--json and --pcapng - would both write to standard output: name a file for one")
    if sys.stdout.isatty():
        raise UsageError("--pcapng - is not for a terminal: pipe it into `wireshark -k -i -`, or name a file")
    return sys.stdout.buffer


class TraceRun:
    """One run of the verb: the trace may begin several times, if the control process is restarted."""

    def __init__(self, options: argparse.Namespace, outputs: list[TraceOutput]) -> None:
        self._options, self._outputs = options, outputs
        self._summary = TraceSummary()
        self._ends_at = time.monotonic() + options.duration if options.duration else float("inf")
        self._reader = select.poll()
        self._reader.register(sys.stdout.fileno(), 0)  # no event but its end
        self._has_begun = False

    def run(self) -> int:
        """Trace, and tell what was seen."""
        problem = ""
        try:
            with session.connect_to_daemon(self._options) as client:
                problem = self._follow(client)
                if not (self._summary.packets or problem):
                    problem = _where_to_look(client, self._options.rule)
        except BrokenOff as error:
            if not self._has_begun:
                raise
            problem = self._begun_anew(str(error))
        finally:
            if self._has_begun:
                print(*filter(None, (problem, self._summary.format())), sep="\n", file=sys.stderr)
        return Exit.OK if self._summary.packets and not problem else Exit.FAILURE

    def _begun_anew(self, why: str) -> str:
        """Begin anew whenever the connection breaks; return why the trace ended, if it ended by itself."""
        while time.monotonic() < self._ends_at:
            print(f"{why}; the trace begins anew", file=sys.stderr)
            try:
                time.sleep(RETRY_DELAY_S)
                with session.connect_to_daemon(self._options) as client:
                    return self._follow(client)
            except BrokenOff as error:
                why = str(error)
            except KeyboardInterrupt:
                break
        return ""

    def _follow(self, client: Client) -> str:
        """Show events until the trace ends; return why, if it ended by itself."""
        with Interrupt() as interrupt:
            trace = client.call("trace.start", rule=self._options.rule)["trace"]
            print(f"tracing {self._options.rule}; Ctrl-C ends", file=sys.stderr, flush=True)
            self._has_begun, lost = True, 0
            while True:
                answer = self._read(client, trace)
                self._show(answer["events"], answer["lost"] - lost)
                lost = answer["lost"]
                if answer["ended"] is not None:
                    return f"the trace of `{self._options.rule}` ended: {answer['ended']}"
                is_over = interrupt.is_set or self._is_complete()
                if is_over or not (answer["events"] or self._paused()):
                    return ""

    def _read(self, client: Client, trace: int) -> dict[str, Any]:
        packets = self._options.pcapng is not None
        try:
            answer: dict[str, Any] = client.call(
                "trace.read", trace=trace, packets=packets, most=MAX_EVENTS_PER_READ
            )
        except Failed as error:
            if error.code != Code.NO_SUCH_TRACE:
                raise
            raise BrokenOff(str(error)) from None  # whoever was suspended for long has lost its lease
        return answer

    def _show(self, events: list[dict[str, Any]], lost: int) -> None:
        if self._options.count:
            events = events[: self._options.count - self._summary.packets]
        self._summary.add(events)
        self._summary.lost += lost
        for output in self._outputs:
            if lost:
                output.report_lost(lost)
            output.show(events)

    def _is_complete(self) -> bool:
        """Tell whether a limit is reached."""
        return time.monotonic() >= self._ends_at or self._summary.packets == self._options.count

    def _paused(self) -> bool:
        """Wait a moment; return whether anyone still reads the output."""
        return not self._reader.poll(POLL_INTERVAL_S * 1000)


def _where_to_look(client: Client, rule: str) -> str:
    """Return what to look at where no packet came."""
    try:
        (status,) = client.call("status", rule=rule)["rules"]
    except Failed as error:
        if error.code != Code.UNKNOWN_RULE:
            raise
        return f"no packet came, and `{rule}` is gone"
    wanted = status["input"]
    return (
        f"no packet to {wanted['destination']} came in on {wanted['device']}, not even to another port.\n"
        f"Does anyone send it there (`tcpdump -ni {wanted['device']} udp`)? If not: is the sender on this"
        " network, and do switches know of the relay's membership (`mcrelay status`, and an IGMP querier)?"
    )
