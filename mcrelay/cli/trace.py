"""`mcrelay trace`: shows the packets of a rule as they arrive, with their outputs or drop reasons."""

from __future__ import annotations

import argparse
import select
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

from mcrelay.cli import session
from mcrelay.cli.argument_types import positive_number, whole_number
from mcrelay.cli.error_report import report_error
from mcrelay.cli.exit_codes import Exit
from mcrelay.cli.interrupt import Interrupt
from mcrelay.cli.view.trace_output import CaptureOutput, JsonOutput, TextOutput, TraceOutput, TraceSummary
from mcrelay.cli.view.units import format_count
from mcrelay.client.connection import Client, NoAnswer, RequestFailed
from mcrelay.model.addresses import is_group
from mcrelay.model.drops import Drop
from mcrelay.model.os_errors import format_os_error
from mcrelay.protocol.jsonrpc import Code
from mcrelay.traffic.endpoint import UsageError

POLL_INTERVAL_S = 0.05  # between two reads, while no packets arrive
RETRY_DELAY_S = 0.2  # between two attempts to reconnect
MAX_EVENTS_PER_READ = 1000

HELP = """\
Each line is a packet: time, device, source, destination, length, TTL, and the outputs that it was sent to, or
the reason why it was dropped. Packets to the rule's destination that nearly match are shown, too: packets
with a port of no rule, from a source that is not allowed, in fragments, with a VLAN tag, malformed, too old,
or sent by the relay itself.

A worker reports about 250 packets at once, and 2000 a second. Further packets are relayed as usual; the trace
only counts them as lost events.

Traces show the content of packets. Only root, the user of the daemon, and the group of its socket may start
them.

--pcapng writes the packets as they arrived, starting at the IP header, up to 2000 bytes of each. The comment
of a packet says what happened to it. To watch them live:

  mcrelay trace RULE --pcapng - | wireshark -k -i -

With --json, the verb prints one object a line; mcrelay-trace(1) and schemas/trace.schema.json describe them.

Exit codes: 0 packets were seen, 1 none arrived, or the trace ended early, 2 usage, 3 no daemon is running,
4 not permitted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `trace`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = HELP
    parser.add_argument("rule", metavar="RULE", help="name of the rule")
    parser.add_argument(
        "-n",
        "--count",
        type=whole_number(1, 2**48),
        metavar="N",
        help="end after N packets (default: on Ctrl-C)",
    )
    parser.add_argument(
        "-d",
        "--duration",
        type=positive_number,
        metavar="SEC",
        help="end after SEC seconds (default: on Ctrl-C)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument(
        "--pcapng", metavar="FILE", help="write a capture for Wireshark; - for standard output"
    )
    session.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Trace until a limit is reached or the user presses Ctrl-C, and print a summary."""
    try:
        with _open_outputs(options) as outputs:
            return session.run_with_daemon(lambda _: TraceRun(options, outputs).run(), options)
    except (UsageError, OSError) as error:
        return report_error("trace", error)


@contextmanager
def _open_outputs(options: argparse.Namespace) -> Iterator[list[TraceOutput]]:
    """Open the outputs that the options name. A capture to standard output is the only output."""
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
        raise UsageError(f"cannot write {path}: {format_os_error(error)}") from None


def _binary_standard_output(options: argparse.Namespace) -> IO[bytes]:
    if options.json:
        raise UsageError("--json and --pcapng - would both write to standard output: give a file to --pcapng")
    if sys.stdout.isatty():
        raise UsageError(
            "--pcapng - cannot write to a terminal: pipe it into `wireshark -k -i -`, or give a file"
        )
    return sys.stdout.buffer


class TraceRun:
    """A run of `mcrelay trace`. Starts the trace again after a restart of the control process."""

    def __init__(self, options: argparse.Namespace, outputs: list[TraceOutput]) -> None:
        self._options, self._outputs = options, outputs
        self._summary = TraceSummary()
        self._ends_at = time.monotonic() + options.duration if options.duration else float("inf")
        self._reader = select.poll()
        self._reader.register(sys.stdout.fileno(), 0)  # reports only that the reader of the output closed it
        self._has_begun = False

    def run(self) -> int:
        """Trace, print the summary, and return the exit code."""
        problem = ""
        try:
            with session.connect_to_daemon(self._options) as client:
                problem = self._follow(client)
                if not (self._summary.packets or problem):
                    problem = _advise(client, self._options.rule)
        except NoAnswer as error:
            if not self._has_begun:
                raise
            problem = self._restart(str(error))
        finally:
            if self._has_begun:
                print(*filter(None, (problem, self._summary.format())), sep="\n", file=sys.stderr)
        return Exit.OK if self._summary.packets and not problem else Exit.FAILURE

    def _restart(self, why: str) -> str:
        """Start the trace again each time the connection breaks. Return what `_follow` returns."""
        while time.monotonic() < self._ends_at:
            print(f"{why}; starting the trace again", file=sys.stderr)
            try:
                time.sleep(RETRY_DELAY_S)
                with session.connect_to_daemon(self._options) as client:
                    return self._follow(client)
            except NoAnswer as error:
                why = str(error)
            except KeyboardInterrupt:
                break
        return ""

    def _follow(self, client: Client) -> str:
        """Show events until the trace ends. Return the reason if the daemon ended it, else an empty text."""
        with Interrupt() as interrupt:
            trace = client.call("trace.start", rule=self._options.rule)["trace"]
            print(f"tracing {self._options.rule}; Ctrl-C to end", file=sys.stderr, flush=True)
            self._has_begun, lost = True, 0
            while True:
                answer = self._read(client, trace)
                self._show(answer["events"], answer["lost"] - lost)
                lost = answer["lost"]
                if answer["ended"] is not None:
                    return f"the trace of `{self._options.rule}` ended: {answer['ended']}"
                is_over = interrupt.is_set or self._is_complete()
                if is_over or not (answer["events"] or self._wait()):
                    return ""

    def _read(self, client: Client, trace: int) -> dict[str, Any]:
        packets = self._options.pcapng is not None
        try:
            answer: dict[str, Any] = client.call(
                "trace.read", trace=trace, packets=packets, most=MAX_EVENTS_PER_READ
            )
        except RequestFailed as error:
            if error.code != Code.NO_SUCH_TRACE:
                raise
            # The daemon ends a trace that its client has not read for long.
            raise NoAnswer(str(error)) from None
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
        """Return whether a limit is reached."""
        return time.monotonic() >= self._ends_at or self._summary.packets == self._options.count

    def _wait(self) -> bool:
        """Wait POLL_INTERVAL_S; return whether the output still has a reader."""
        return not self._reader.poll(POLL_INTERVAL_S * 1000)


def _advise(client: Client, rule: str) -> str:
    """Return advice for a trace without packets."""
    try:
        (status,) = client.call("status", rule=rule)["rules"]
    except RequestFailed as error:
        if error.code != Code.UNKNOWN_RULE:
            raise
        return f"no packet arrived, and rule `{rule}` was removed"
    rule_input = status["input"]
    return (
        f"no packet to {rule_input['destination']} arrived on {rule_input['device']}, to any port.\n"
        f"Check with `tcpdump -ni {rule_input['device']} udp` whether such packets arrive. If not, check that"
        " the sender is on this network, that `mcrelay status` shows the membership, and that the network has"
        f" an IGMP querier.{_hint_at_local_packets(rule_input)}"
    )


def _hint_at_local_packets(rule_input: Mapping[str, Any]) -> str:
    """Return a warning about what tcpdump shows and the relay does not take, or an empty text."""
    if own := rule_input.get("drops", {}).get(Drop.OWN):
        return f" The relay itself sent {format_count(own, 'packet')} to it, and takes nothing that it sends."
    if rule_input.get("loopback") or not is_group(rule_input["destination"]):
        return ""
    return " What this host itself sends, which tcpdump also shows, is taken only with `loopback: true`."
