"""A plan compared with the running rules: rule by rule and field by field."""

import pytest

from mcrelay.cli.view.plan_changes import compare
from mcrelay.cli.view.plan_report import format_reload
from tests.support.status_documents import SETTINGS, document, idle, output, process, rule


def planned(*rules, workers=1, **settings):
    """What a plan of these rules looks like."""
    wanted = {**SETTINGS, **settings}
    return {"version": 1, "settings": wanted, "workers": workers, "rules": list(rules), "opens": {}}


def differences(running, wanted):
    """What differs between two rules of one name."""
    return list(compare(document(running), planned(wanted)).change.get("camera", ()))


def text(running, wanted):
    """The text about what a reload would do."""
    return list(format_reload("relay.yaml", wanted, compare(running, wanted), colour=False))


def test_an_equal_rule_is_kept_and_counters_are_not_compared():
    found = compare(document(rule()), planned(rule(packets=7, last_packet=None)))
    assert found.is_empty
    assert found.keep == ("camera",)


def test_rules_are_compared_by_their_names():
    running = document(rule("same"), rule("other"), rule("gone"))
    found = compare(running, planned(rule("same"), rule("other", port=5002), rule("new")))
    assert (found.add, found.remove, found.keep) == (("new",), ("gone",), ("same",))
    assert found.change == {"other": ("input port: 5001 -> 5002",)}
    assert not found.is_empty


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (rule(interface="x", device="eth7"), ["input interface: studio -> x", "input device: eth0 -> eth7"]),
        (rule(destination="239.9.9.9"), ["input destination: 239.1.1.1 -> 239.9.9.9"]),
        (rule(sources=["10.0.0.5", "10.0.0.6"]), ["input sources: any -> 10.0.0.5, 10.0.0.6"]),
        ({**rule(), "description": "new"}, ["description: none -> new"]),
        (rule(state="disabled"), ["enabled: true -> false"]),
        (rule(outputs=[output(ttl="decrement")]), ["output plant:239.2.2.2:6001: ttl: 64 -> decrement"]),
        (rule(outputs=[output(dscp=46)]), ["output plant:239.2.2.2:6001: dscp: copy -> 46"]),
        (
            rule(outputs=[output(source_port=7001)]),
            ["output plant:239.2.2.2:6001: source port: none -> 7001"],
        ),
        (rule(outputs=[output(source=None)]), ["output plant:239.2.2.2:6001: source: 10.9.2.1 -> none"]),
        (
            rule(outputs=[output(port=6002)]),
            ["output plant:239.2.2.2:6001: removed", "output plant:239.2.2.2:6002: added"],
        ),
    ],
)
def test_every_field_that_a_file_can_change_is_compared(wanted, text):
    assert differences(rule(), wanted) == text


def test_outputs_in_another_order_are_a_difference():
    there = [output(), output(port=6002)]
    assert differences(rule(outputs=there), rule(outputs=there[::-1])) == ["outputs: another order"]


def test_a_kept_rule_in_another_state_than_planned_is_shown_and_is_no_change():
    running = document(rule(state="paused", reason="worker 0 is starting"))
    found = compare(running, planned(rule()))
    assert found.is_empty
    assert found.astray == {"camera": "paused, not active: worker 0 is starting"}
    assert text(running, planned(rule()))[-1] == "= camera: paused, not active: worker 0 is starting"


def test_another_number_of_workers_is_a_change():
    running = document(processes=[process("control", "control"), process("worker 0", "worker")])
    assert compare(running, planned(rule(), workers=2)).workers == (1, 2)
    assert not compare(running, planned(rule(), workers=2)).is_empty
    assert text(running, planned(rule(), workers=2)) == [
        "relay.yaml: a reload would run 2 workers instead of 1, and keep 1 rule"
    ]


def test_a_changed_setting_of_the_file_is_a_change():
    wanted = planned(rule(), max_age="2s", watch="false")
    found = compare(document(), wanted)
    assert found.settings == ("watch: true -> false", "max_age: 1s -> 2s")
    assert not found.is_empty
    assert text(document(), wanted) == [
        "relay.yaml: a reload would change 2 settings, and keep 1 rule",
        "",
        "~ watch: true -> false",
        "~ max_age: 1s -> 2s",
    ]


def test_a_daemon_of_an_earlier_version_reports_no_settings():
    running = document()
    running["generation"] = {key: running["generation"][key] for key in ("number", "hash", "accepted")}
    assert compare(running, planned(rule(), max_age="2s")).is_empty


def test_no_change_is_one_line():
    assert text(document(), planned(rule())) == ["relay.yaml: a reload would change nothing, and keep 1 rule"]


def test_each_change_has_a_sign_and_its_details():
    running = document(rule("same"), rule("other"), rule("gone"))
    lines = text(running, planned(rule("same"), rule("other", port=5002), idle("new", "unresolved", "why")))
    assert lines == [
        "relay.yaml: a reload would add 1 rule, change 1 rule, remove 1 rule, and keep 1 rule",
        "",
        "+ new: unresolved (why)",
        "  in   studio (eth0)  239.1.1.1:5001",
        "  out  plant (eth1)  239.2.2.2:6001  from the device's address, TTL 64, DSCP copy  (does not run)",
        "",
        "~ other: active",
        "  input port: 5001 -> 5002",
        "",
        "- gone",
        "",
        "1 rule would not run: new: why",
    ]
