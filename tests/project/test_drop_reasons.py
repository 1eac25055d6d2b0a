"""Every drop reason appears wherever mcrelay shows why packets were not relayed.

Each counter of dropped packets has a different number, so that a test fails if a column is missing or has the
name of another one.
"""

import re

import numpy as np
import pytest
from mcrelay_manual.code import SCHEMAS, schema

from mcrelay.cli.view.rule_detail import format_rule
from mcrelay.cli.view.status_table import format_status
from mcrelay.model.actions import Open, SetFlow
from mcrelay.model.counters import LINKS, OUTPUTS, RULES
from mcrelay.model.drops import Drop, Scope, drops_of
from mcrelay.model.rule_status import RuleState, RuleStatus
from mcrelay.model.send_errors import SEND_ERROR_NAMES
from mcrelay.model.state import DesiredState, Egress, Flow, Ingress, Route, RouteOutput, WorkerState
from mcrelay.packet.headers import Fault
from mcrelay.reconcile.plan import Plan
from mcrelay.supervisor.counter_rows import CounterRows
from mcrelay.supervisor.log_summary import describe_traffic
from mcrelay.tracing.events import EXPIRED, Event, PacketVerdict, SendOutcome
from mcrelay.tracing.format import as_document
from mcrelay.worker.array_path import _REASONS
from mcrelay.worker.counters import CounterWriter
from mcrelay.worker.trace_capture import _VERDICTS
from tests.support.control_harness import ServerHarness, rule, sections
from tests.support.json_schemas import validate
from tests.tracing.test_ring import HEAD

TABLES = {Scope.LINK: LINKS, Scope.RULE: RULES, Scope.OUTPUT: OUTPUTS}
COUNTS = {
    scope: {name: 1001 + 100 * at + column for column, name in enumerate(table.drops)}
    for at, (scope, table) in enumerate(TABLES.items())
}
ERRORS = {name: COUNTS[Scope.OUTPUT][name] for name in SEND_ERROR_NAMES}
GENERATION = {"number": 1, "hash": "a" * 64, "accepted": 1000.1, "settings": {}}
# The worker never receives a packet that found the ring full.
TRACED = [drop for drop in Drop if drop is not Drop.OVERRUN]


def shown(scope, send_errors):
    """The drops that a document shows of a scope, by reason."""
    counts = COUNTS[scope]
    return {drop: send_errors if drop is Drop.SEND_ERROR else counts[drop] for drop in drops_of(scope)}


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """The documents of `status` and of `stats` from a control process whose counters are COUNTS."""
    with ServerHarness(tmp_path_factory.mktemp("control")) as harness:
        harness.supervisor.change(**sections(feed=rule(0)) | {"generation": GENERATION})
        harness.memory.link(**COUNTS[Scope.LINK])
        harness.memory.rule(**COUNTS[Scope.RULE])
        harness.memory.output(**COUNTS[Scope.OUTPUT])
        client = harness.client()
        documents = {verb: client.call(verb) for verb in ("status", "stats")}
    for verb, document in documents.items():
        validate(document, verb)
    return documents


def test_status_has_the_drops_of_every_scope(documents):
    [feed], [studio] = documents["status"]["rules"], documents["status"]["interfaces"]
    assert studio["drops"] == shown(Scope.LINK, ERRORS)
    assert feed["input"]["drops"] == shown(Scope.RULE, ERRORS)
    assert [output["drops"] for output in feed["outputs"]] == [shown(Scope.OUTPUT, ERRORS)]
    assert feed["dropped"] == sum((*COUNTS[Scope.RULE].values(), *COUNTS[Scope.OUTPUT].values()))


def test_stats_has_the_drops_of_every_scope(documents):
    [feed], [studio] = documents["stats"]["rules"], documents["stats"]["interfaces"]
    errors = sum(ERRORS.values())
    assert studio["drops"] == shown(Scope.LINK, errors)
    assert feed["drops"] == shown(Scope.RULE, errors) | shown(Scope.OUTPUT, errors)


def names_with_counts(scope):
    """Each column of a scope as `status` names it, with its count."""
    for name, count in COUNTS[scope].items():
        yield (f"send_error {name}" if name in SEND_ERROR_NAMES else name), count


@pytest.mark.parametrize("scope", Scope)
def test_the_detail_of_a_rule_explains_the_drops_of_every_scope(documents, scope):
    status = documents["status"]
    [feed] = status["rules"]
    lines = list(format_rule(feed, {one["name"]: one for one in status["interfaces"]}, colour=False))
    text = " ".join(" ".join(lines).split())
    for name, count in names_with_counts(scope):
        assert f"{count:,} not relayed: {name} " in text
    for drop in drops_of(scope):
        assert drop is Drop.SEND_ERROR or f"{drop} {drop.explanation}" in text


@pytest.mark.parametrize("scope", Scope)
def test_the_table_of_status_has_the_drops_of_every_scope(documents, scope):
    text = " ".join(" ".join(format_status(documents["status"], colour=False)).split())
    for name, count in names_with_counts(scope):
        assert re.search(rf"\b{name} {count:,}", text), name


def test_the_log_has_the_drops_of_every_scope():
    output = RouteOutput("plant", Egress(8, "10.2.0.1"), "239.2.2.2", 6001, 64, 0)
    flow, route, ring = Flow(7, "239.1.1.1", 5001), Route("feed", (output,)), Ingress(7, 2048)
    counter_rows = CounterRows()
    counter_rows.instruction(Open(0, ring), False)
    counter_rows.instruction(SetFlow(0, flow, route), False)
    counters = CounterWriter(counter_rows.memory(0).shared.descriptor)
    arrays = {Scope.LINK: counters.links, Scope.RULE: counters.rules, Scope.OUTPUT: counters.outputs}
    for scope, table in TABLES.items():
        arrays[scope][0, table.drop_columns] = np.array([*COUNTS[scope].values()], np.uint64)
    state = DesiredState(WorkerState(frozenset({ring, output.egress}), {flow: route}), 1)
    statuses = {"feed": RuleStatus(RuleState.ACTIVE)}
    _, of_rule, of_output, of_link = describe_traffic(Plan(state, statuses), statuses, counter_rows)
    lines = {Scope.LINK: of_link, Scope.RULE: of_rule, Scope.OUTPUT: of_output}
    for scope, counts in COUNTS.items():
        wanted = ", ".join(f"{name} {count}" for name, count in counts.items())
        assert lines[scope].endswith(f"; dropped: {wanted}")


@pytest.mark.parametrize("drop", TRACED)
def test_a_trace_shows_every_reason(drop):
    if Scope.OUTPUT in drop.scopes:
        code = {Drop.TTL: EXPIRED, Drop.SEND_ERROR: 1}[drop]
        event = Event(HEAD, (SendOutcome(1, 3, 6001, code),), 1, b"")
        [output] = as_document(event, "feed", {}, with_packet=False)["outputs"]
        assert output["result"] == drop
    else:
        event = Event(HEAD._replace(verdict=PacketVerdict[drop.name]), (), 0, b"")
        document = as_document(event, "feed", {}, with_packet=False)
        assert (document["verdict"], document["reason"]) == ("dropped", drop)
        assert document["explanation"]


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.NONE])
def test_the_counters_and_the_trace_give_one_reason_for_a_fault(fault):
    assert _VERDICTS[fault].drop is _REASONS.get(fault, Drop.NO_RULE)
    assert (fault in _REASONS) is (fault is not Fault.TAGGED)


def test_the_schemas_have_the_reasons_of_every_scope():
    definitions, stats = schema("status")["$defs"], schema("stats")["properties"]
    link, of_rule, output = (drops_of(scope) for scope in Scope)
    for part, reasons in (
        (definitions["interface"], link),
        (definitions["input"], of_rule),
        (definitions["output"], output),
        (stats["interfaces"]["items"], link),
        (stats["rules"]["items"], (*of_rule, *output)),
    ):
        drops = part["properties"]["drops"]
        assert (*drops["properties"],) == (*drops["required"],) == reasons
    outcome = schema("trace")["properties"]["outputs"]["items"]["properties"]["result"]
    assert outcome["enum"] == ["sent", *output]


def test_the_manual_says_which_owner_counts_a_reason():
    page = (SCHEMAS.parent / "packaging/manual/mcrelay-drops.7.md").read_text()
    bullets = re.findall(r"^- An? \*(interface|rule's input|output)\*((?:.|\n  )*)", page, re.MULTILINE)
    named = {owner: {*re.findall(r"`(\w+)`", text)} for owner, text in bullets}
    assert named == {
        "interface": {*drops_of(Scope.LINK)},
        "rule's input": {*drops_of(Scope.RULE)},
        "output": {*drops_of(Scope.OUTPUT)},
    }
