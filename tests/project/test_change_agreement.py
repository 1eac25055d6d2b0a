"""The result of a reload, `plan`, `history`, `diff`, the log and the sockets agree on what a change changes.

There is at least one case for every key of the schema: a new key without a case fails.
"""

import json
import logging
import os
from copy import deepcopy
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mcrelay.cli import diff as diff_verb
from mcrelay.cli import main
from mcrelay.cli.view.plan_changes import compare as compare_with_plan
from mcrelay.cli.view.plan_report import plan_as_json
from mcrelay.config.changes import compare_configs
from mcrelay.config.compiler import compile_config
from mcrelay.config.problems import ConfigError
from mcrelay.config.reader import parse
from mcrelay.config.schema import schema
from mcrelay.model.actions import DeleteFlow, SetFlow
from mcrelay.model.links import Link, LinkAddress, LinkTable
from mcrelay.model.routes import RouteAnswers
from mcrelay.reconcile.diff import diff
from mcrelay.reconcile.plan import plan, route_finder
from tests.support.strategies import running_as
from tests.support.supervisor_harness import Stage

LINKS = LinkTable(
    {
        "eth0": Link(1, "eth0", addresses=(LinkAddress("10.1.0.1"),)),
        "eth1": Link(2, "eth1", addresses=(LinkAddress("10.2.0.1"), LinkAddress("10.2.0.2"))),
        "eth7": Link(8, "eth7", addresses=(LinkAddress("10.7.0.1"),)),
    }
)
BASE = {
    "version": 1,
    "interfaces": {
        "studio": {"device": "eth0"},
        "plant": {"device": "eth1"},
        "lab": {"device": "eth1", "source": "10.2.0.1", "ttl": 8, "dscp": 34},
        "spare": {"device": "eth9"},
    },
    "rules": {
        "feed": {
            "input": {
                "interface": "studio",
                "group": "232.1.1.1",
                "port": 5001,
                "sources": ["10.0.0.5", "10.0.0.6"],
            },
            "outputs": [
                {"interface": "plant", "group": "239.2.2.2", "port": 6001},
                {"interface": "plant", "address": "10.9.2.50", "port": 6002},
            ],
        },
        "fixed": {
            "input": {"interface": "studio", "group": "239.1.1.2", "port": 5002},
            "outputs": [{"interface": "plant", "source": "10.2.0.1", "ttl": 5, "dscp": 4}],
        },
        "tunnel": {
            "input": {"interface": "lab", "address": "10.2.0.1", "port": 5003},
            "outputs": [{"interface": "studio", "group": "239.3.3.3"}],
        },
        "off": {
            "enabled": False,
            "input": {"interface": "lab", "group": "239.1.1.4", "port": 5004},
            "outputs": [{"interface": "studio"}],
        },
    },
}
FEED, FIXED, TUNNEL = "rules.feed", "rules.fixed", "rules.tunnel"
ABSENT = object()


@dataclass(frozen=True)
class Case:
    """Edits of `BASE` (path: value; `ABSENT` deletes the key), and what they change."""

    key: str  # as the schema has it
    edits: dict
    changed: dict = field(default_factory=dict)  # name: differences
    added: tuple = ()
    removed: tuple = ()
    settings: tuple = ()  # texts about settings of the file
    shown_only: tuple = ()  # names of rules that are changed for people, and for no socket


PLANT_FEED = ("output plant:239.2.2.2:6001", "output plant:10.9.2.50:6002")

CASES = {
    "a device of inputs": Case(
        "interface.device",
        {"interfaces.studio.device": "eth7"},
        {
            "feed": ("input device: eth0 -> eth7",),
            "fixed": ("input device: eth0 -> eth7",),
            "tunnel": (
                "output studio:239.3.3.3:5003: device: eth0 -> eth7",
                "output studio:239.3.3.3:5003: source: 10.1.0.1 -> 10.7.0.1",
            ),
            "off": ("output studio:239.1.1.4:5004: device: eth0 -> eth7",),
        },
        shown_only=("off",),  # which does not run
    ),
    "the device of an interface that no rule uses": Case(
        "interface.device", {"interfaces.spare.device": "eth7"}
    ),
    "an absent device": Case(
        "interface.device",
        {"interfaces.lab.device": "eth9"},
        {
            "tunnel": (
                "input device: eth1 -> eth9",
                "output studio:239.3.3.3:5003: source: 10.1.0.1 -> none",  # as long as it does not run
            ),
            "off": ("input device: eth1 -> eth9",),
        },
        shown_only=("off",),
    ),
    "the address that was taken anyway as the source of an interface": Case(
        "interface.source", {"interfaces.plant.source": "10.2.0.1"}
    ),
    "another source of an interface": Case(
        "interface.source",
        {"interfaces.plant.source": "10.2.0.2"},
        {"feed": tuple(f"{output}: source: 10.2.0.1 -> 10.2.0.2" for output in PLANT_FEED)},
    ),
    "the source of an interface without outputs": Case(
        "interface.source", {"interfaces.lab.source": "10.2.0.2"}
    ),
    "the TTL of an interface": Case(
        "interface.ttl",
        {"interfaces.plant.ttl": 9},
        {"feed": tuple(f"{output}: ttl: 64 -> 9" for output in PLANT_FEED)},
    ),
    "the default TTL of an interface": Case("interface.ttl", {"interfaces.plant.ttl": 64}),
    "the TTL of an interface without outputs": Case("interface.ttl", {"interfaces.lab.ttl": "decrement"}),
    "the DSCP of an interface": Case(
        "interface.dscp",
        {"interfaces.plant.dscp": 46},
        {"feed": tuple(f"{output}: dscp: copy -> 46" for output in PLANT_FEED)},
    ),
    "the DSCP of an interface without outputs": Case("interface.dscp", {"interfaces.lab.dscp": "copy"}),
    "a description": Case(
        "rule.description",
        {f"{FEED}.description": "primary"},
        {"feed": ("description: none -> primary",)},
        shown_only=("feed",),
    ),
    "another input of a disabled rule": Case(
        "rule.input",
        {"rules.off.input": {"interface": "plant", "group": "239.1.1.9", "port": 5009}},
        {
            "off": (
                "input interface: lab -> plant",
                "input destination: 239.1.1.4 -> 239.1.1.9",
                "input port: 5004 -> 5009",
                "output studio:239.1.1.4:5004: removed",
                "output studio:239.1.1.9:5009: added",
            )
        },
        shown_only=("off",),
    ),
    "one more output": Case(
        "rule.outputs",
        {f"{FIXED}.outputs": [*BASE["rules"]["fixed"]["outputs"], {"interface": "lab", "port": 6009}]},
        {"fixed": ("output lab:239.1.1.2:6009: added",)},
    ),
    "one output less": Case(
        "rule.outputs",
        {f"{FEED}.outputs": BASE["rules"]["feed"]["outputs"][:1]},
        {"feed": ("output plant:10.9.2.50:6002: removed",)},
    ),
    "outputs in another order": Case(
        "rule.outputs",
        {f"{FEED}.outputs": BASE["rules"]["feed"]["outputs"][::-1]},
        {"feed": ("outputs: another order",)},
    ),
    "a rule that is disabled": Case(
        "rule.enabled",
        {f"{TUNNEL}.enabled": False},
        {
            "tunnel": (
                "enabled: true -> false",
                "output studio:239.3.3.3:5003: source: 10.1.0.1 -> none",
            )
        },
    ),
    "a rule that is enabled": Case(
        "rule.enabled",
        {"rules.off.enabled": True},
        {
            "off": (
                "enabled: false -> true",
                "output studio:239.1.1.4:5004: source: none -> 10.1.0.1",
            )
        },
    ),
    "the default of enabled": Case("rule.enabled", {f"{FEED}.enabled": True}),
    "a rule for the workers": Case(
        "rule.data_plane",
        {f"{FIXED}.data_plane": "userspace"},
        {"fixed": ("data plane: kernel -> userspace",)},
        shown_only=("fixed",),  # there is no kernel data plane here
    ),
    "the default of exclusive": Case("rule.exclusive", {f"{FEED}.exclusive": False}),
    "a rule whose packets this host does not get": Case(
        "rule.exclusive",
        {f"{FIXED}.exclusive": True},
        {"fixed": ("exclusive: false -> true",)},
    ),
    "another interface of an input": Case(
        "input.interface",
        {f"{FIXED}.input.interface": "plant", f"{FIXED}.outputs": [{"interface": "studio"}]},
        {
            "fixed": (
                "input interface: studio -> plant",
                "input device: eth0 -> eth1",
                "output plant:239.1.1.2:5002: removed",
                "output studio:239.1.1.2:5002: added",
            )
        },
    ),
    "another interface of an input, with the same device": Case(
        "input.interface",
        {f"{TUNNEL}.input.interface": "plant"},
        {"tunnel": ("input interface: lab -> plant",)},
        shown_only=("tunnel",),
    ),
    "the group of an input": Case(
        "input.group",
        {f"{FEED}.input.group": "232.1.1.7"},
        {"feed": ("input destination: 232.1.1.1 -> 232.1.1.7",)},
    ),
    "the address of an input": Case(
        "input.address",
        {f"{TUNNEL}.input.address": "10.2.0.2"},
        {"tunnel": ("input destination: 10.2.0.1 -> 10.2.0.2",)},
    ),
    "the port of an input, which an output inherits": Case(
        "input.port",
        {f"{TUNNEL}.input.port": 5009},
        {
            "tunnel": (
                "input port: 5003 -> 5009",
                "output studio:239.3.3.3:5003: removed",
                "output studio:239.3.3.3:5009: added",
            )
        },
    ),
    "the port of an input": Case(
        "input.port", {f"{FEED}.input.port": 5009}, {"feed": ("input port: 5001 -> 5009",)}
    ),
    "one more source of an input": Case(
        "input.sources",
        {f"{FEED}.input.sources": ["10.0.0.5", "10.0.0.6", "10.0.0.7"]},
        {"feed": ("input sources: 10.0.0.5, 10.0.0.6 -> 10.0.0.5, 10.0.0.6, 10.0.0.7",)},
    ),
    "any source of an input": Case(
        "input.sources",
        {f"{FEED}.input.sources": ABSENT},
        {"feed": ("input sources: 10.0.0.5, 10.0.0.6 -> any",)},
    ),
    "the sources of an input in another order": Case(
        "input.sources", {f"{FEED}.input.sources": ["10.0.0.6", "10.0.0.5"]}
    ),
    "the interface of an output": Case(
        "output.interface",
        {f"{TUNNEL}.outputs.0.interface": "lab"},
        {"tunnel": ("output studio:239.3.3.3:5003: removed", "output lab:239.3.3.3:5003: added")},
    ),
    "the interface of an output, with the same device": Case(
        "output.interface",
        {f"{FIXED}.outputs.0.interface": "lab"},
        {"fixed": ("output plant:239.1.1.2:5002: removed", "output lab:239.1.1.2:5002: added")},
    ),
    "the group of an output": Case(
        "output.group",
        {f"{FEED}.outputs.0.group": "239.2.2.9"},
        {"feed": ("output plant:239.2.2.2:6001: removed", "output plant:239.2.2.9:6001: added")},
    ),
    "the inherited group, spelled out": Case("output.group", {f"{FIXED}.outputs.0.group": "239.1.1.2"}),
    "the address of an output": Case(
        "output.address",
        {f"{FEED}.outputs.1.address": "10.9.2.51"},
        {"feed": ("output plant:10.9.2.50:6002: removed", "output plant:10.9.2.51:6002: added")},
    ),
    "the port of an output": Case(
        "output.port",
        {f"{FEED}.outputs.0.port": 6009},
        {"feed": ("output plant:239.2.2.2:6001: removed", "output plant:239.2.2.2:6009: added")},
    ),
    "the inherited port, spelled out": Case("output.port", {f"{FIXED}.outputs.0.port": 5002}),
    "the source of an output": Case(
        "output.source",
        {f"{FIXED}.outputs.0.source": "10.2.0.2"},
        {"fixed": ("output plant:239.1.1.2:5002: source: 10.2.0.1 -> 10.2.0.2",)},
    ),
    "the source of an output that the interface has anyway": Case(
        "output.source", {f"{FIXED}.outputs.0.source": ABSENT}
    ),
    "a source of an output that the host does not have": Case(
        "output.source",
        {f"{FIXED}.outputs.0.source": "10.2.0.77"},
        {"fixed": ("output plant:239.1.1.2:5002: source: 10.2.0.1 -> 10.2.0.77",)},
    ),
    "the source port of an output": Case(
        "output.source_port",
        {f"{FEED}.outputs.0.source_port": 7001},
        {"feed": ("output plant:239.2.2.2:6001: source port: none -> 7001",)},
    ),
    "the TTL of an output": Case(
        "output.ttl",
        {f"{FIXED}.outputs.0.ttl": "decrement"},
        {"fixed": ("output plant:239.1.1.2:5002: ttl: 5 -> decrement",)},
    ),
    "the DSCP of an output": Case(
        "output.dscp",
        {f"{FIXED}.outputs.0.dscp": 0},
        {"fixed": ("output plant:239.1.1.2:5002: dscp: 4 -> 0",)},
    ),
    "an output that this host hears": Case(
        "output.loopback",
        {f"{FIXED}.outputs.0.loopback": True},
        {"fixed": ("output plant:239.1.1.2:5002: loopback: false -> true",)},
    ),
    "the default of an output's loopback": Case("output.loopback", {f"{FIXED}.outputs.0.loopback": False}),
    "an input that takes what this host sends": Case(
        "input.loopback",
        {f"{FEED}.input.loopback": True},
        {"feed": ("input loopback: false -> true",)},
    ),
    "the default of an input's loopback": Case("input.loopback", {f"{FEED}.input.loopback": False}),
    "the version, which may be nothing else": Case("file.version", {"version": 1}),
    "the data plane of all rules": Case(
        "file.data_plane",
        {"data_plane": "userspace"},
        dict.fromkeys(("feed", "fixed", "off", "tunnel"), ("data plane: kernel -> userspace",)),
        settings=("data_plane: auto -> userspace",),
        shown_only=("feed", "fixed", "off", "tunnel"),
    ),
    "the number of workers": Case("file.workers", {"workers": 2}, settings=("workers: 1 -> 2",)),
    "the greatest age of a packet": Case("file.max_age", {"max_age": "2s"}, settings=("max_age: 1s -> 2s",)),
    "the default of the greatest age in another unit": Case("file.max_age", {"max_age": "1000ms"}),
    "whether files are watched": Case("file.watch", {"watch": False}, settings=("watch: true -> false",)),
    "one more interface": Case("file.interfaces", {"interfaces.new": {"device": "eth7"}}),
    "an unused interface less": Case("file.interfaces", {"interfaces.spare": ABSENT}),
    "another name of an interface with the same device": Case(
        "file.interfaces",
        {
            "interfaces.lab": ABSENT,
            "interfaces.laboratory": BASE["interfaces"]["lab"],
            f"{TUNNEL}.input.interface": "laboratory",
            "rules.off.input.interface": "laboratory",
        },
        {"tunnel": ("input interface: lab -> laboratory",), "off": ("input interface: lab -> laboratory",)},
        shown_only=("tunnel", "off"),
    ),
    "rules in another order": Case("file.rules", {"rules": dict(reversed(BASE["rules"].items()))}),
    "one more rule": Case(
        "file.rules",
        {
            "rules.new": {
                "input": {"interface": "studio", "group": "239.1.1.8", "port": 5008},
                "outputs": [{"interface": "plant"}],
            }
        },
        added=("new",),
    ),
    "one rule less": Case("file.rules", {FEED: ABSENT}, removed=("feed",)),
    "another name of a rule": Case(
        "file.rules",
        {TUNNEL: ABSENT, "rules.pipe": BASE["rules"]["tunnel"]},
        added=("pipe",),
        removed=("tunnel",),
    ),
}


def edited(*edits):
    """Return `BASE` with edits."""
    document = deepcopy(BASE)
    for path, value in (edit for each in edits for edit in each.items()):
        *keys, last = (int(key) if key.isdecimal() else key for key in path.split("."))
        owner = document
        for key in keys:
            owner = owner[key]
        if value is ABSENT:
            del owner[last]
        else:
            owner[last] = deepcopy(value)
    return json.dumps(document, indent=1)


def rules_of(running):
    return {flow: route.rule for worker in running.workers.values() for flow, route in worker.flows.items()}


def rules_touched(running, actions):
    """Return the names of the rules whose flows these actions set or delete."""
    before = rules_of(running)
    flows = {action.flow for action in actions if isinstance(action, SetFlow | DeleteFlow)}
    after = {action.route.rule for action in actions if isinstance(action, SetFlow)}
    return after | {before[flow] for flow in flows if flow in before}


def test_every_key_of_the_schema_has_a_case():
    kinds = {"file": schema(), **schema()["$defs"]}
    keys = {f"{kind}.{key}" for kind, part in kinds.items() for key in part.get("properties", ())}
    assert keys == {case.key for case in CASES.values()}


@pytest.fixture
def stage(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(diff_verb, "read_links", lambda: LINKS)
    monkeypatch.setattr(diff_verb, "read_route_answers", lambda *_: RouteAnswers())
    stage = Stage(tmp_path, LINKS, monkeypatch)
    stage.file.write_text(edited())
    stage.start()
    stage.settle()
    yield stage
    stage.close()


def planned(stage):
    """Return what `mcrelay plan` compares: the status of the daemon with the plan of its file."""
    statuses = stage.snapshot["statuses"]
    rules = [
        {
            "name": name,
            "state": statuses[name].state,
            "reason": statuses[name].reason,
            **rule.as_json()["shown"],
        }
        for name, rule in stage.snapshot["rules"].items()
    ]
    processes = list(stage.snapshot["processes"].values())
    config = compile_config([parse(stage.file.read_bytes(), str(stage.file))])
    wanted = plan_as_json(config, plan(config, LINKS, os.cpu_count() or 1))
    generation = stage.snapshot["generation"]
    return compare_with_plan({"generation": generation, "rules": rules, "processes": processes}, wanted)


def printed(capsys, stage, *words):
    """Return what a verb prints as JSON that reads the history of a daemon that cannot be asked."""
    nowhere = str(stage.folder / "nowhere.sock")
    assert main([*words, "--json", "--state-dir", str(stage.folder / "state"), "--socket", nowhere]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_result_plan_history_diff_log_and_sockets_agree_on_what_changed(case, stage, capsys, caplog):
    text = edited(case.edits)
    is_new = text != stage.file.read_text()
    stage.file.write_text(text)
    names = [*BASE["rules"]]
    kept = {*names} - {*case.changed, *case.removed}

    comparison = planned(stage)
    assert comparison.change == case.changed
    assert ({*comparison.add}, {*comparison.remove}) == ({*case.added}, {*case.removed})
    assert {*comparison.keep} == kept
    assert comparison.settings == case.settings
    assert comparison.is_empty == (not (case.added or case.changed or case.removed or case.settings))

    running = stage.supervisor.reconciler.running
    sockets = {*stage.kernel.open}
    caplog.clear()
    stage.reload()
    actions = diff(running, stage.supervisor.reconciler.desired)
    touched = rules_touched(running, actions) if case.key != "file.workers" else set()
    is_about_workers = case.key in ("file.workers", "file.max_age") and bool(case.settings)
    assert touched == {*case.changed, *case.added, *case.removed} - {*case.shown_only}
    assert bool(actions) == (bool(touched) or is_about_workers)
    stage.settle()
    if not touched:
        assert sockets <= stage.kernel.open
        assert stage.kernel.open == sockets or case.key == "file.workers"

    result = stage.configuration.reloads.as_json()
    assert result["outcome"] == ("applied" if is_new else "unchanged")
    assert {*result["changes"]["added"]} == {*case.added}
    assert {*result["changes"]["changed"]} == {*case.changed}
    assert {*result["changes"]["removed"]} == {*case.removed}
    assert result["changes"]["kept"] == len(kept)
    assert result["changes"]["settings"] == [*case.settings]

    if is_new:
        counts = f"{len(case.added)} added, {len(case.changed)} changed, {len(case.removed)} removed"
        told = "; ".join((f"generation 2, rules: {counts}, {len(kept)} kept", *case.settings))
        assert told in caplog.messages
        assert printed(capsys, stage, "history")["entries"][-1]["changes"] == result["changes"]
        assert printed(capsys, stage, "diff", "1")["changes"] == result["changes"]
    assert planned(stage).is_empty


def runs_whole(config, name):
    """Whether a rule runs with all of its outputs."""
    route = route_finder(LINKS)(config, config.rules[name])
    return route is not None and len(route.outputs) == len(config.rules[name].outputs)


def is_shown_only(differences):
    """Whether these change nothing that runs, on a host without a kernel data plane."""
    shown = ("description: ", "input interface: ", "data plane: ")
    return all(text.startswith(shown) for text in differences)


@given(st.lists(st.sampled_from([*CASES.values()]), min_size=2, max_size=4), st.booleans())
def test_any_combination_of_changes_touches_exactly_the_rules_that_it_names(cases, is_backwards):
    try:
        configs = [
            compile_config([parse(text.encode(), "mcrelay.yaml")])
            for text in (edited(), edited(*(case.edits for case in cases)))
        ]
    except (ConfigError, KeyError, IndexError):  # edits that do not go together
        assume(False)
    before, after = configs[::-1] if is_backwards else configs
    changes = compare_configs(before, after, route_finder(LINKS))
    states = (plan(config, LINKS, 4).state for config in (before, after))
    running, desired = (replace(state, worker_count=1) for state in states)
    running = running_as(running)
    touched = rules_touched(running, diff(running, desired))
    assert touched <= {*changes.added, *changes.changed, *changes.removed}
    for name, differences in changes.changed.items():
        if runs_whole(before, name) and runs_whole(after, name) and not is_shown_only(differences):
            assert name in touched
