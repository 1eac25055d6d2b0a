"""Files that are written differently and mean the same are no change."""

import pytest

from mcrelay.config.changes import compare_configs
from mcrelay.config.compiler import compile_config
from mcrelay.config.reader import parse
from mcrelay.model.links import Link, LinkAddress, LinkTable
from mcrelay.reconcile.diff import diff
from mcrelay.reconcile.plan import plan, route_finder
from tests.support.strategies import running_as

HEAD = "version: 1\ninterfaces: {studio: {device: eth0}, plant: {device: eth1}}\n"
FEED = "  feed: {input: {interface: studio, group: 239.1.1.1, port: 5001}, outputs: [{interface: plant}]}\n"
CLOCK = "  clock: {input: {interface: studio, group: 239.1.1.2, port: 319}, outputs: [{interface: plant}]}\n"
LINKS = LinkTable({"eth0": Link(2, "eth0"), "eth1": Link(3, "eth1", addresses=(LinkAddress("10.9.2.1"),))})

SAME = {
    "comments and empty lines": [f"# mine\n\n{HEAD}rules: # all of them\n\n{FEED}\n  # a clock\n{CLOCK}"],
    "rules in another order": [f"{HEAD}rules:\n{CLOCK}{FEED}"],
    "keys in another order": [
        "rules:\n"
        "  feed: {outputs: [{interface: plant}], input: {port: 5001, group: 239.1.1.1, interface: studio}}\n"
        f"{CLOCK}interfaces: {{plant: {{device: eth1}}, studio: {{device: eth0}}}}\nversion: 1\n"
    ],
    "block style instead of flow style": [
        f"{HEAD}rules:\n{CLOCK}  feed:\n    outputs:\n    - interface: plant\n"
        "    input:\n        interface: studio\n        group: 239.1.1.1\n        port: 5001\n"
    ],
    "quotes, and other line ends": [
        f"{HEAD}rules:\n{FEED}{CLOCK}".replace("239.1.1.1", "'239.1.1.1'")
        .replace("plant", '"plant"')
        .replace("\n", "\r\n")
    ],
    "JSON": [
        '{"version": 1, "interfaces": {"studio": {"device": "eth0"}, "plant": {"device": "eth1"}}, "rules": {'
        '"feed": {"input": {"interface": "studio", "group": "239.1.1.1", "port": 5001},'
        ' "outputs": [{"interface": "plant"}]},'
        '"clock": {"input": {"interface": "studio", "group": "239.1.1.2", "port": 319},'
        ' "outputs": [{"interface": "plant"}]}}}'
    ],
    "a rule moved to a drop-in": [f"{HEAD}rules:\n{FEED}", f"rules:\n{CLOCK}"],
    "all rules moved to drop-ins": [HEAD, f"rules:\n{CLOCK}", f"version: 1\nrules:\n{FEED}"],
    "interfaces moved to a drop-in": [
        f"version: 1\nrules:\n{FEED}{CLOCK}",
        HEAD.replace("version: 1\n", ""),
    ],
    "defaults spelt out": [
        f"{HEAD}data_plane: auto\nworkers: 1\nrules:\n{FEED}{CLOCK}".replace(
            "  feed: {", "  feed: {enabled: true, data_plane: auto, description: '', exclusive: false, "
        ).replace("{interface: plant}]", "{interface: plant, ttl: 64, dscp: copy}]")
    ],
}  # fmt: skip


def config(*texts):
    return compile_config([parse(text.encode(), f"{number}.yaml") for number, text in enumerate(texts)])


@pytest.mark.parametrize("texts", SAME.values(), ids=SAME.keys())
def test_files_that_mean_the_same_change_no_rule_and_need_no_action(texts):
    before, after = config(f"{HEAD}rules:\n{FEED}{CLOCK}"), config(*texts)
    changes = compare_configs(before, after, route_finder(LINKS))
    assert str(changes) == "0 added, 0 changed, 0 removed, 2 kept"
    running, desired = plan(before, LINKS, 1).state, plan(after, LINKS, 1).state
    assert len(desired.forwarding.flows) == 2
    assert diff(running_as(running), desired) == []
