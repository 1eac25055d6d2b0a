"""Each example yields its plan, on a host with four devices and four CPUs.

`python -m tests.project.test_golden` writes the plans again; review the difference before a commit.
"""

import json
from pathlib import Path

import pytest

from mcrelay.cli.view.plan_report import plan_as_json
from mcrelay.model.links import Link, LinkAddress, LinkTable
from mcrelay.reconcile.plan import plan
from mcrelay.storage import config_files

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))

HOST = LinkTable(
    {
        link.device: link
        for link in (
            Link(1, "lo", mtu=65_536),
            Link(2, "eth0", addresses=(LinkAddress("10.30.0.1"), LinkAddress("10.9.2.50"))),
            Link(3, "eth1", addresses=(LinkAddress("10.40.0.1"), LinkAddress("10.9.1.1"))),
            Link(4, "eth2", addresses=(LinkAddress("192.0.2.7"), LinkAddress("10.20.0.1"))),
            Link(5, "eth3", mtu=9000, addresses=(LinkAddress("10.50.0.1"),)),
        )
    }
)


def planned(example):
    config = config_files.compile_contents(config_files.read(example))
    return json.dumps(plan_as_json(config, plan(config, HOST, cpus=4)), indent=2) + "\n"


def golden(example):
    return GOLDEN / f"{example.stem}.json"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_an_example_yields_its_plan(example):
    assert planned(example) == golden(example).read_text()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_every_rule_of_an_example_runs_unless_it_is_switched_off(example):
    states = {rule["state"] for rule in json.loads(planned(example))["rules"]}
    assert "active" in states
    assert states <= {"active", "disabled"}


def test_every_plan_has_its_example():
    assert sorted(GOLDEN.iterdir()) == [golden(example) for example in EXAMPLES]


if __name__ == "__main__":
    for example in EXAMPLES:
        golden(example).write_text(planned(example))
