"""The text of `mcrelay status`, for all rules and for one rule in detail."""

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from mcrelay.cli.view.rule_detail import format_rule
from mcrelay.cli.view.status_table import format_status
from mcrelay.model.drops import Drop
from tests.support.status_documents import (
    DOCUMENT,
    REJECTED,
    RELOAD,
    TRIAL,
    document,
    idle,
    interface,
    output,
    process,
    rule,
)

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas" / "status.schema.json").read_text())
NO_DROPS = {"no_rule": 0, "fragment": 0, "malformed": 0, "oversize": 0, "overrun": 0}


def shown(*rules, colour=False, **fields):
    """The lines of the whole status."""
    return list(format_status(document(*rules, **fields), colour))


def row(lines, name):
    """The cells of the row that starts with `name`."""
    return next(line for line in lines if line.split()[:1] == [name]).split()


def depth(shown_rule, *interfaces):
    """The text of one rule in detail."""
    return "\n".join(
        format_rule(shown_rule, {one["name"]: one for one in interfaces or [interface()]}, False)
    )


def test_the_documents_of_the_tests_match_the_schema():
    dead = process("worker 1", "worker", pid=None, state="pausing", uptime=None, cpu_percent=None,
                   cpu_seconds=None, memory_octets=None, reason="killed by SIGKILL")  # fmt: skip
    status = document(rule(), idle("late", "unresolved", "why"), reload=REJECTED, processes=[dead])
    Draft202012Validator(SCHEMA).validate(status)


def test_the_schema_describes_every_key():
    def undescribed(part, path):
        for name, one in part.get("properties", {}).items():
            if "description" not in one and "description" not in SCHEMA["$defs"][one["$ref"].split("/")[-1]]:
                yield f"{path}.{name}"
            yield from undescribed(one, f"{path}.{name}")
            yield from undescribed(one.get("items", {}), f"{path}.{name}[]")

    parts = {"": SCHEMA, **SCHEMA["$defs"]}
    assert [key for name, part in parts.items() for key in undescribed(part, name)] == []


def test_the_heading_shows_generation_and_last_reload():
    first, second, third, blank, *_ = shown()
    assert first == "mcrelay 0.1.0, process 4710, up 1 d"
    assert re.fullmatch(r"/etc/mcrelay.yaml: generation 7 \(3f2a91c04b1e\) since 20..-..-.. ..:..:..", second)
    assert re.fullmatch(r"last reload 20.{17}: applied, 1 added, 2 removed, 3 kept", third)
    assert blank == ""


def test_the_last_reload_tells_of_changed_settings_of_the_file():
    changes = {**RELOAD["changes"], "settings": ["max_age: 1s -> 2s"]}
    assert shown(reload={**RELOAD, "changes": changes})[2].endswith(", 3 kept, max_age: 1s -> 2s")


def test_before_the_first_reload_the_heading_says_so():
    assert "no reload since the start" in shown(reload={**REJECTED, "outcome": "started"})


def test_a_rejected_file_shows_every_error_with_its_line_and_a_caret():
    lines = shown(reload=REJECTED)
    assert lines[2].endswith(": rejected, 1 problem; generation 7 still runs")
    assert lines[3:6] == [f"  {line}" for line in REJECTED["lines"]]


def test_ten_rules_fit_a_hundred_columns_whatever_their_names_and_reasons():
    reason = "2 of 2 outputs do not run: " + "; ".join(["output plant: device enp129s0f1 is absent"] * 4)
    rules = [rule(f"{number}" * (6 * number + 3), reason=reason, dropped=10**12) for number in range(10)]
    joined = [{"group": "239.255.255.250", "source": "192.168.168.168"}] * 300
    drops, addresses = dict.fromkeys(NO_DROPS, 10**12), ["192.168.168.168"] * 9
    busy = interface(drops=drops, addresses=addresses, memberships=joined)
    assert max(map(len, shown(*rules, interfaces=[busy]))) <= 100


def test_a_rule_shows_its_rates_drops_last_packet_and_source():
    taken = {"packets_per_second": 1500.0, "bits_per_second": 16.8e6}
    twice = [output(), output(packets_per_second=1.0, bits_per_second=8.0)]
    assert row(shown(rule(outputs=twice, dropped=12, **taken)), "camera") == [
        "camera", "active", "user", "1.50k", "16.8M", "20.0k", "224M", "12", "0.2", "s", "192.168.168.55",
    ]  # fmt: skip


def test_a_rule_that_sends_nothing_shows_its_drops_below():
    mute = [output(packets_per_second=0.0, drops={"ttl": 3, "send_error": {"ENETDOWN": 9}})]
    drops = {"source": 6000, "own": 0}
    said = "  not relayed: source 6,000, ttl 3, send_error ENETDOWN 9 (`mcrelay status camera` explains it)"
    lines = shown(rule(outputs=mute, drops=drops, dropped=6012))
    assert lines[lines.index(said) - 1].startswith("camera")


@pytest.mark.parametrize(
    "well",
    [
        rule(drops={"source": 6000}, dropped=6000),
        rule(outputs=[output(packets_per_second=0.0)]),
        rule(state="disabled", drops={"source": 6}, dropped=6, outputs=[output(packets_per_second=0.0)]),
    ],
    ids=["it relays others", "nothing was dropped", "it does not run"],
)
def test_a_rule_that_relays_or_receives_nothing_has_no_note(well):
    assert not any("not relayed" in line for line in shown(well))


def test_a_rate_that_is_not_known_yet_is_a_dash():
    new = {"packets_per_second": None, "bits_per_second": None}
    assert row(shown(rule(outputs=[output(**new)], **new)), "camera")[3:7] == ["-", "-", "-", "-"]


@pytest.mark.parametrize("state", ["paused", "unresolved", "failed", "disabled"])
def test_a_rule_that_does_not_run_has_its_reason_below_it(state):
    lines = shown(rule("a"), idle("b", state, "the reason"), rule("c"))
    place = next(number for number, line in enumerate(lines) if line.startswith(f"b     {state}"))
    assert lines[place].endswith("never")
    assert lines[place + 1] == "  the reason"
    assert lines[place + 2].startswith("c")
    assert f"3 rules: 2 active, 1 {state}" in lines


def test_a_name_that_is_too_long_for_its_column_has_a_line_of_its_own():
    long = "a-name-that-is-longer-than-the-others"
    lines = shown(rule("short"), rule(long))
    assert lines[lines.index(long) + 1].split()[0] == "active"
    assert lines[lines.index(long) + 1].index("active") == lines[lines.index(long) - 1].index("active")


def test_a_relay_without_rules_is_shown_as_such():
    assert "no rules" in list(format_status({**document(), "rules": []}, False))


def test_an_interface_shows_link_addresses_memberships_and_drops():
    drops = {**NO_DROPS, "no_rule": 5000, "oversize": 12}
    groups = [{"group": f"239.1.1.{number}", "source": None} for number in (1, 2, 3, 4)]
    lines = shown(interfaces=[interface(drops=drops, memberships=groups, link="down")])
    assert row(lines, "studio") == ["studio", "eth0", "down", "20.0k", "224M", "10.1.0.1"]
    said = " ".join(line.strip() for line in lines)
    assert "member of 239.1.1.1, 239.1.1.2, 239.1.1.3, 239.1.1.4" in said
    assert f"not relayed: no_rule 5,000, oversize 12 oversize: {Drop.OVERSIZE.explanation}" in said


def test_an_absent_device_has_no_address_and_no_membership():
    lines = shown(interfaces=[interface(link="absent", addresses=[], memberships=[])])
    assert row(lines, "studio")[2:] == ["absent", "20.0k", "224M", "-"]
    assert not any("member of" in line for line in lines)


def test_a_source_specific_membership_names_the_source():
    joined = [{"group": "232.1.1.1", "source": "10.0.0.5"}]
    assert "  member of 232.1.1.1 from 10.0.0.5" in shown(interfaces=[interface(memberships=joined)])


def test_a_trial_shows_its_end_and_how_to_keep_it():
    [line] = [line for line in shown(trial=TRIAL) if "on trial" in line]
    assert line.startswith("generation 7 is on trial until 20")
    assert line.endswith(": `mcrelay confirm` keeps it")
    assert not any("on trial" in line for line in shown())


def test_a_rollback_is_shown_in_the_heading():
    [line] = [line for line in shown(reload={**RELOAD, "outcome": "rolled_back"}) if "rolled back" in line]
    assert line.endswith("rolled back; the confirmed generation 7 runs, not the file")


def test_a_process_shows_cpu_memory_restarts_and_its_last_death():
    lines = shown(processes=[process("control", "control", restarts=3, reason="killed by SIGKILL")])
    assert row(lines, "control") == ["control", "4711", "running", "12.3", "%", "25.6", "MB", "3", "1", "d"]
    assert lines[-1] == "  last death: killed by SIGKILL"


def test_a_process_that_does_not_run_has_no_numbers():
    gone = {"pid": None, "state": "pausing", "uptime": None, "cpu_percent": None, "memory_octets": None}
    assert row(shown(processes=[process("control", "control", **gone)]), "control") == [
        "control",
        "-",
        "pausing",
        "-",
        "-",
        "0",
        "-",
    ]


def test_colour_changes_nothing_but_colours():
    status = (
        (rule("up"), idle("late", "unresolved", "why")),
        {"reload": REJECTED, "interfaces": [interface(link="down")]},
    )
    plain, coloured = shown(*status[0], **status[1]), shown(*status[0], colour=True, **status[1])
    assert [re.sub("\033\\[[0-9]*m", "", line) for line in coloured] == plain
    assert any("\033[33munresolved\033[0m" in line for line in coloured)
    assert not any("\033" in line for line in plain)


def test_rule_detail_shows_every_output_and_explains_every_drop():
    outputs = [
        output(drops={"ttl": 3, "send_error": {"ENETDOWN": 9}}),
        output(destination="10.9.2.50", runs=False, source=None, source_port=7001, ttl="decrement"),
    ]
    drops = {"fragment": 0, "malformed": 1, "oversize": 0, "source": 12, "own": 0}
    text = depth(
        rule(state="active", reason="the reason", outputs=outputs, sources=["10.0.0.5"], drops=drops)
    )
    assert text.startswith("camera: active: the reason\n")
    for wanted in (
        "/etc/mcrelay.yaml:12",
        "studio (eth0)  239.1.1.1:5001 from 10.0.0.5",
        "1,200,000 packets, 1.68 GB; 20.0k packets/s, 224 Mbit/s",
        "last packet 0.2 s ago",
        "12 not relayed: source",
        "1 not relayed: malformed",
        "3 not relayed: ttl",
        "9 not relayed: send_error ENETDOWN",
        "the output's device is down",
        "plant (eth1)  10.9.2.50:6001  (does not run)",
        "from the address that a route chooses:7001, TTL decrement, DSCP copy",
        "`mcrelay trace camera`",
    ):
        assert wanted in text
    assert Drop.SOURCE.explanation in " ".join(text.split())
    assert "fragment" not in text


def test_rule_detail_shows_the_counters_of_its_interface():
    text = depth(rule(last_packet=None), interface(drops={**NO_DROPS, "no_rule": 5000}))
    assert "no packet has arrived yet" in text
    assert "studio (eth0): up, member of 239.1.1.1" in text
    assert "5,000 not relayed: no_rule" in text


def test_a_description_cannot_move_the_cursor():
    text = depth({**rule(), "description": "two\nlines\tand \033[2Jmore"})
    assert "  two lines and [2Jmore\n" in text
    assert "\033" not in text


def test_rule_detail_says_what_to_check_if_nothing_arrives():
    silent = interface(packets=0)
    assert "No UDP packet has arrived on eth0: check the sender" in depth(rule(last_packet=None), silent)
    assert "`mcrelay trace camera` shows its packets" in depth(rule(), silent)


NOT_TAKEN = "What this host sends through eth0 is taken only with `loopback: true` of the input."
NOT_HEARD = "Programs on this host hear what is sent to a group only with `loopback: true` of the output."


def test_rule_detail_says_that_programs_of_this_host_take_no_part_without_loopback():
    silent = depth(rule(last_packet=None))
    assert NOT_TAKEN in silent
    assert NOT_HEARD in silent
    assert NOT_TAKEN not in depth(rule())
    assert NOT_HEARD in depth(rule())


def test_rule_detail_shows_loopback_and_gives_no_hint_where_it_is_set_or_means_nothing():
    looped = depth(rule(last_packet=None, loopback=True, outputs=[output(loopback=True)]))
    assert "239.1.1.1:5001, also from this host\n" in looped
    assert "DSCP copy, also heard on this host\n" in looped
    # `loopback` would not help a rule that gets nothing but what the relay sends.
    assert NOT_TAKEN not in depth(rule(last_packet=None, drops={"own": 12}))
    host, local = output(destination="10.9.2.50"), output(device="lo")
    for text in (looped, depth(rule(outputs=[host, local])), depth(idle("late", "unresolved", "why"))):
        assert NOT_TAKEN not in text
        assert NOT_HEARD not in text


@pytest.mark.parametrize(
    ("state", "advice"),
    [
        ("disabled", "`mcrelay enable late`"),
        ("unresolved", "starts as soon as"),
        ("failed", "tries periodically"),
    ],
)
def test_rule_detail_says_how_a_stopped_rule_runs_again(state, advice):
    text = depth(idle("late", state, "why"))
    assert advice in text
    assert "mcrelay trace" not in text


def test_rule_detail_tells_dropped_packets_from_no_packets():
    drops = {"source": 12, "own": 0}
    assert "no packet has been relayed yet" in depth(rule(last_packet=None, drops=drops))
    assert "no packet has arrived yet" in depth(rule(last_packet=None))


def test_rule_detail_shows_description_and_data_plane_reason():
    status = {
        **rule(packets_per_second=None),
        "description": "primary feed",
        "data_plane_reason": "a unicast host",
    }
    text = depth(status, interface("other"))
    assert "primary feed" in text
    assert "userspace (a unicast host)" in text
    assert "1,200,000 packets, 1.68 GB\n" in text


def files(state, **fields):
    """The section of files on disk."""
    return {**DOCUMENT["files"], "state": state, **fields}


INVALID = files("invalid", problems=REJECTED["problems"], problem_count=1)


def test_files_that_differ_or_are_invalid_are_told_with_what_to_do():
    [line] = [line for line in shown(files=files("differ")) if "differ" in line]
    assert line == "the files differ from what runs (1 kept): `mcrelay reload` applies them"
    lines = shown(files=INVALID)
    at = lines.index(
        "the files on disk are invalid, 1 problem: /etc/mcrelay.yaml:9:11: rules.a.input.port: too high"
    )
    assert lines[at + 1].startswith("  a reload or a restart would refuse them")


def test_files_that_the_last_reload_rejected_are_told_once_and_until_they_are_restored():
    assert not any("on disk" in line for line in shown(reload=REJECTED, files=INVALID))
    other = files("invalid", problems=[{**REJECTED["problems"][0], "line": 10}], problem_count=1)
    assert any("on disk" in line for line in shown(reload=REJECTED, files=other))
    assert "the files were restored since: they are the same as what runs" in shown(reload=REJECTED)


def test_a_rollback_has_its_reason():
    reason = "files 2fae: generation 2 was not confirmed in time"
    assert f"  {reason}" in shown(reload={**RELOAD, "outcome": "rolled_back", "reason": reason})
