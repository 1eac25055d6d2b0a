"""The copy of the snapshot, as the documents and the traces read it."""

from mcrelay.protocol.relayed_flows import Duplicate, RelayedFlow
from mcrelay.protocol.snapshot import compute_delta, split_delta
from mcrelay.status.rates import CounterReader
from mcrelay.status.replica import SnapshotReplica
from tests.support.control_harness import RESULT, interface, rule, sections

SNAPSHOT = {"generation": {"number": 1}, "rules": {name: rule(row=n) for n, name in enumerate("abcde")}}


def replica(**changes):
    """Return a replica that has received a whole snapshot, with some sections replaced."""
    copy = SnapshotReplica(CounterReader())
    copy.apply_delta({**sections(), **changes}, now=0.0)
    return copy


def test_a_replica_is_complete_when_the_last_part_of_the_first_snapshot_has_arrived():
    copy = SnapshotReplica(CounterReader())
    for part in split_delta(compute_delta({}, SNAPSHOT), limit=2):
        assert not copy.is_complete
        copy.apply_delta(part, now=0.0)
    assert copy.is_complete
    assert list(copy.rules) == list("abcde")


def test_a_replica_is_empty_until_the_first_delta():
    copy = SnapshotReplica(CounterReader())
    assert not copy.is_complete
    assert (copy.rules, copy.interfaces, copy.devices(), copy.reload_results()) == ({}, {}, {}, [])
    copy.apply_delta(sections(), now=0.0)
    assert copy.is_complete
    assert list(copy.rules) == ["feed"]


def test_devices_are_found_by_ifindex_and_absent_ones_are_left_out():
    there, absent = interface(ifindex=7, device="eth7"), interface(row=1, ifindex=None, device="wg0")
    assert replica(interfaces={"set": {"studio": there, "wan": absent}}).devices() == {7: "eth7"}


def test_a_renamed_device_has_its_new_name():
    copy = replica(interfaces={"set": {"studio": interface(ifindex=7, device="eth7")}})
    copy.apply_delta({"interfaces": {"set": {"studio": interface(ifindex=7, device="camera0")}}}, now=1.0)
    assert copy.devices() == {7: "camera0"}


def test_a_rule_without_a_status_is_not_evaluated_yet():
    copy = replica(rules={"set": {"feed": rule(), "new": rule(row=1)}})
    assert copy.rule_status("feed") == ("active", "")
    assert copy.rule_status("new") == ("unresolved", "not evaluated yet")


def test_the_latest_result_of_a_reload_comes_first_and_unfinished_ones_are_left_out():
    latest, earlier = {**RESULT, "finished": 2, "begun": 3}, {**RESULT, "finished": 1}
    results = replica(reload={**latest, "earlier": [earlier, {"finished": 0}]}).reload_results()
    assert [result["finished"] for result in results] == [2, 1]
    assert "begun" not in results[0]


def test_a_flow_that_another_daemon_sends_to_the_same_output_is_a_reason_and_else_a_hint():
    copy = replica()
    twice, once = Duplicate(7, "b.yaml", "same", True), Duplicate(8, "c.yaml", "apart", False)
    copy.duplicates_changed({"feed": (twice, once)})
    assert copy.rule_status("feed") == ("active", twice.reason)
    assert copy.hints() == [f"rule feed: {once.reason}"]
    copy.duplicates_changed({})
    assert (copy.rule_status("feed"), copy.hints()) == (("active", ""), [])


def test_the_flows_of_rules_that_run_have_the_ifindexes_of_their_devices():
    shown = rule()["shown"]
    copy = replica(
        interfaces={"set": {"studio": interface(ifindex=7, device=shown["input"]["device"])}},
        rules={"set": {"feed": rule(), "new": rule(row=1)}},
    )
    (flow,) = copy.relayed_flows()
    outputs = frozenset((0, output["destination"], output["port"]) for output in shown["outputs"])
    sources = frozenset(shown["input"]["sources"])
    expected = RelayedFlow("feed", 7, shown["input"]["destination"], shown["input"]["port"], sources, outputs)
    assert flow == expected
