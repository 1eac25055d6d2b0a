"""Documents: what each shows of a rule, and how those of very many rules are built in pieces."""

import json
from itertools import count

import pytest

from mcrelay.cli.view.status_table import format_status
from mcrelay.model.send_errors import SEND_ERROR_NAMES
from mcrelay.protocol.relayed_flows import Duplicate
from mcrelay.status.documents import RULES_PER_PIECE, Documents, Now
from mcrelay.status.process_usage import Usage
from mcrelay.status.rates import CounterReader
from mcrelay.status.replica import SnapshotReplica
from tests.support.control_harness import RESULT, Memory, ServerHarness, rule, sections
from tests.support.json_schemas import validate

NOW = Now(monotonic=1000.0, time=2000.0, boot=1000.0)
JUST_NOW, BEFORE = 1_999_000_000_000, 1_998_000_000_000  # nanoseconds
REFUSED = SEND_ERROR_NAMES.index("EPERM")


class Answers:
    """The documents of a snapshot, with the counters of one worker."""

    def __init__(self, state="active", reason="", **changes):
        counters = CounterReader()
        self.memory = Memory()
        counters.add(0, self.memory.numbers.cast("B"))
        usages = (Usage(cpu_seconds=seconds, memory_octets=7) for seconds in count())
        self.documents = Documents(SnapshotReplica(counters), counters, lambda pid: next(usages))
        statuses = {"set": {"feed": [state, reason]}}
        snapshot = {**sections(feed=rule(outputs=2)), "statuses": statuses, **changes}
        self.documents.apply_delta(snapshot, NOW)

    def status(self):
        """Return the document `status`."""
        return json.loads(b"".join(self.documents.status(None, NOW)))

    def reasons(self):
        """Return the reason of the only rule in each document."""
        listed, counted = self.documents.list(NOW), self.documents.stats(None, NOW)
        documents = (self.status(), *(json.loads(b"".join(pieces)) for pieces in (listed, counted)))
        return [document["rules"][0]["reason"] for document in documents]


def test_each_document_has_the_current_errors_of_outputs_in_the_reason_of_an_active_rule():
    answers = Answers(reason="worker 1 pauses")
    answers.memory.rule(0, last_time=BEFORE)
    answers.memory.output(1, last_error_time=JUST_NOW, last_error=REFUSED)
    first, *others = answers.reasons()
    assert first.startswith("worker 1 pauses; output plant to 239.2.2.2:6001: EPERM, a packet filter")
    assert others == [first, first]


@pytest.mark.parametrize(("state", "age_s"), [("active", 100), ("paused", 1)])
def test_an_error_of_the_past_or_of_a_rule_that_does_not_run_is_no_reason(state, age_s):
    answers = Answers(state, "because")
    answers.memory.output(0, last_error_time=int((NOW.time - age_s) * 1e9), last_error=REFUSED)
    assert answers.reasons() == ["because"] * 3


def test_until_the_first_configuration_runs_the_daemon_is_starting():
    generation = {**sections()["generation"], "hash": 64 * "0"}
    answers = Answers(reload={"begun": 1, "finished": 0, "earlier": []}, generation=generation)
    document = answers.status()
    assert document["reload"] == {
        "outcome": "starting", "generation": 1, "at": 1000.1, "reason": "",
        "changes": {}, "problems": [], "lines": [],
    }  # fmt: skip
    validate(document, "status")
    assert "starting: generation 1 does not run completely yet" in format_status(document, False)


@pytest.mark.parametrize(
    ("earlier", "shown"), [([{**RESULT, "outcome": "applied"}], "applied"), ([], "confirmed")]
)
def test_the_status_shows_the_last_result_about_the_files_or_else_the_last_one(earlier, shown):
    confirmed = {**RESULT, "outcome": "confirmed", "is_about_files": False}
    answers = Answers(reload={**confirmed, "earlier": earlier})
    assert answers.status()["reload"]["outcome"] == shown


def test_one_rule_can_be_asked_for():
    answers = Answers()
    answers.memory.output(1, EPERM=3)
    for pieces in (answers.documents.status("feed", NOW), answers.documents.stats("feed", NOW)):
        assert [rule["name"] for rule in json.loads(b"".join(pieces))["rules"]] == ["feed"]
    assert answers.status()["rules"][0]["outputs"][1]["drops"]["send_error"] == {"EPERM": 3}


def test_a_sample_is_what_later_rates_and_usages_are_measured_from():
    answers = Answers()
    answers.documents.sample(NOW)
    answers.memory.rule(0, packets=50)
    later = Now(NOW.monotonic + 2, NOW.time + 2, NOW.boot + 2)
    document = json.loads(b"".join(answers.documents.status(None, later)))
    assert document["rules"][0]["input"]["packets_per_second"] is None  # the rule came with the sample
    answers.documents.sample(later)
    answers.memory.rule(0, packets=150)
    latest = Now(NOW.monotonic + 4, NOW.time + 4, NOW.boot + 4)
    document = json.loads(b"".join(answers.documents.status(None, latest)))
    assert document["rules"][0]["input"]["packets_per_second"] == 50.0
    assert document["processes"][0]["cpu_percent"] == 50.0


def test_a_rule_without_counters_has_none():
    answers = Answers(rules={"set": {"feed": rule(row=None)}})
    assert answers.status()["rules"][0]["input"]["packets"] == 0


def test_a_delta_without_rules_changes_no_rule():
    answers = Answers()
    answers.documents.apply_delta({"generation": {**sections()["generation"], "number": 2}}, NOW)
    document = answers.status()
    assert (document["generation"]["number"], [rule["name"] for rule in document["rules"]]) == (2, ["feed"])


def test_a_flow_that_another_daemon_relays_is_in_the_next_document():
    answers = Answers()
    assert answers.status()["daemon"]["problems"] == []
    once = Duplicate(8, "c.yaml", "apart", False)
    answers.documents.duplicates_changed({"feed": [once]})
    assert answers.status()["daemon"]["problems"] == [f"rule feed: {once.reason}"]


@pytest.mark.parametrize("count", [0, 1, RULES_PER_PIECE, 2 * RULES_PER_PIECE + 1])
def test_a_document_has_every_rule_once_and_in_the_order_of_the_file(tmp_path, count):
    names = [f"rule-{number}" for number in range(count)]
    with ServerHarness(tmp_path) as harness:
        rules = {"set": {name: rule(row) for row, name in enumerate(names)}}
        harness.supervisor.change(**{**sections(), "rules": rules})
        client = harness.client()
        for method in ("status", "list", "stats"):
            document = client.call(method)
            assert [one["name"] for one in document["rules"]] == names
        assert {"processes", "interfaces"} <= client.call("status").keys()
        assert "interfaces" in client.call("stats")
