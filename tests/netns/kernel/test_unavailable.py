"""Where there is no kernel data plane, rules say why, and those that can do without it run in workers."""

import json
import sys
from textwrap import dedent

import pytest

DAEMON = """\
    #!{python} -I
    import runpy, sys
    from pathlib import Path
    from mcrelay.kernel import loader, location
    from mcrelay.linux.capabilities import Capability, keep_only
    from mcrelay.supervisor import kernel_plane

    def refuse(path):
        raise PermissionError

    kernel_plane.IS_DEFAULT = True
    {change}
    del sys.argv[:3]  # this file, -I, -m
    runpy.run_module("mcrelay", run_name="__main__", alter_sys=True)
"""
RULE = (
    "{name}: {{data_plane: {plane}, input: {{interface: studio, group: 239.1.1.1, port: {port}}},"
    " outputs: [{{interface: left, group: 239.2.2.2}}]}}"
)
RULES = [
    RULE.format(name=plane, plane=plane, port=port)
    for port, plane in enumerate(("auto", "kernel", "userspace"), start=5001)
]
MISSING = {
    "program": (
        'loader.OBJECT = Path("/nonexistent")',
        "this installation has no compiled program: it was built without ziglang",
    ),
    "capability": (
        "keep_only(set(Capability) - {Capability.CAP_BPF})",
        "lacks CAP_BPF or CAP_NET_ADMIN",
    ),
    "file system": (
        "location.is_bpf_file_system, location.mount_bpf_file_system = lambda path: False, refuse",
        "no bpf file system is mounted on /sys/fs/bpf: run `mount -t bpf bpf /sys/fs/bpf`",
    ),
}


@pytest.mark.parametrize("missing", MISSING)
def test_what_is_missing_is_told_once_for_the_daemon_and_with_each_rule_that_wants_it(studio, missing):
    change, reason = MISSING[missing]
    python = studio.folder / "python"
    python.write_text(dedent(DAEMON).format(python=sys.executable, change=change))
    python.chmod(0o755)
    with studio.relaying(*RULES, python=str(python)) as relay:
        document = json.loads(relay.ask("status", "--json").stdout)
        planned = relay.ask("plan").stdout
    rules = {rule["name"]: rule for rule in document["rules"]}
    assert {name: (rule["state"], rule["data_plane"]) for name, rule in rules.items()} == {
        "auto": ("active", "userspace"),
        "kernel": ("failed", "kernel"),
        "userspace": ("active", "userspace"),
    }
    assert reason in rules["auto"]["data_plane_reason"]
    assert rules["kernel"]["reason"].startswith("`data_plane: kernel`: ")
    assert reason in rules["kernel"]["reason"]
    assert rules["userspace"]["data_plane_reason"] == ""
    known = document["daemon"]["kernel_data_plane"]
    assert known == {"available": False, "reason": rules["auto"]["data_plane_reason"]}
    assert document["daemon"]["problems"] == [f"there is no kernel data plane: {known['reason']}"]
    assert f"1 rule would not run: kernel: `data_plane: kernel`: {known['reason']}" in planned


def test_a_kernel_data_plane_that_is_there_is_no_problem(studio):
    with studio.relaying(RULES[1]) as relay:
        daemon = json.loads(relay.ask("status", "--json").stdout)["daemon"]
    assert daemon["kernel_data_plane"] == {"available": True, "reason": ""}
    assert daemon["problems"] == []


def test_without_a_rule_that_may_need_it_nothing_is_told(studio):
    with studio.relaying(RULES[2]) as relay:
        daemon = json.loads(relay.ask("status", "--json").stdout)["daemon"]
    assert daemon["kernel_data_plane"] == {"available": None, "reason": ""}
    assert daemon["problems"] == []
