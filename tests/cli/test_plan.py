"""`mcrelay plan` shows what a start would do on this host, as text and as JSON."""

import io
import json
import sys

import pytest

from mcrelay.cli import main
from mcrelay.cli import plan as plan_verb
from mcrelay.cli.exit_codes import Exit
from mcrelay.kernel.unavailable import KernelPlaneUnavailable
from mcrelay.linux.netlink import read_links
from mcrelay.model.links import Link, LinkAddress, LinkTable

CONFIG = """\
version: 1
interfaces:
  here: {device: lo, source: 127.0.0.1}
  there: {device: nowhere0}
rules:
  camera:
    input: {interface: here, group: 239.1.1.1, port: 5001, sources: [127.0.0.5]}
    outputs:
      - {interface: here, group: 239.2.2.2, port: 6001, source_port: 7001}
      - {interface: there, group: 239.2.2.3, port: 6001}
  late:
    input: {interface: there, group: 239.1.1.2, port: 5001}
    outputs: [{interface: here, group: 224.0.0.5}]
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mcrelay.yaml"
    path.write_text(CONFIG)
    return path


def test_the_plan_shows_what_would_run_and_what_not_and_why(file, capsys):
    assert main(["plan", str(file)]) == Exit.OK
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == f"{file}: a start would run 1 of 2 rules"
    reason = "1 of 2 outputs does not run: output there: device nowhere0 is absent"
    assert f"camera: active ({reason})" in out
    assert "  in   here (lo)  239.1.1.1:5001 from 127.0.0.5" in lines
    assert "  out  here (lo)  239.2.2.2:6001  from 127.0.0.1:7001, TTL 64, DSCP copy" in lines
    assert any(line.endswith("(does not run)") for line in lines)
    assert "late: unresolved (input: device nowhere0 is absent)" in lines
    assert lines[-3] == "It would start 1 worker and open 1 ring, 1 socket, 1 membership, 0 held ports."
    assert lines[-2:] == [
        "1 rule would not run: late: input: device nowhere0 is absent",
        f"1 rule would run in part: camera: {reason}",
    ]
    assert err.startswith("warning: ")
    assert "224.0.0.5" in err


def test_the_plan_as_json_has_the_same_content(file, capsys):
    assert main(["plan", "--json", "-c", str(file)]) == Exit.OK
    document = json.loads(capsys.readouterr().out)
    assert document["file"] == str(file)
    assert [(rule["name"], rule["state"]) for rule in document["rules"]] == [
        ("camera", "active"),
        ("late", "unresolved"),
    ]
    assert [output["runs"] for output in document["rules"][0]["outputs"]] == [True, False]
    assert document["opens"] == {"rings": 1, "sockets": 1, "memberships": 1, "held ports": 0}


def test_the_plan_of_standard_input_is_shown(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(CONFIG.encode())))
    assert main(["plan", "-"]) == Exit.OK
    assert capsys.readouterr().out.startswith("-: a start would run 1 of 2 rules")


def test_an_invalid_file_is_reported_as_by_check(tmp_path, capsys):
    path = tmp_path / "bad.yaml"
    path.write_text("version: 1\ninterfaces: {a: {devise: eth0}}\n")
    assert main(["plan", str(path)]) == Exit.INVALID
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{path}:2:" in err
    assert "did you mean `device`?" in err


def test_the_plan_uses_the_links_of_this_host():
    assert read_links().is_local("127.0.0.1")
    assert "lo" in read_links().links


def test_a_rule_for_the_kernel_is_planned_as_on_a_host_that_has_a_kernel_data_plane(
    file, capsys, monkeypatch
):
    links = LinkTable(
        {
            name: Link(
                number,
                name,
                addresses=(LinkAddress(f"127.0.0.{number}"),),
                ethernet_address=f"02:00:00:00:00:0{number}",
            )
            for number, name in enumerate(("lo", "nowhere0"), start=1)
        }
    )
    monkeypatch.setattr(plan_verb, "read_links", lambda: links)
    file.write_text(CONFIG.replace("version: 1", "version: 1\ndata_plane: kernel"))
    assert main(["plan", "--json", str(file)]) == Exit.OK
    rules = json.loads(capsys.readouterr().out)["rules"]
    assert {(rule["name"], rule["state"], rule["wanted_data_plane"]) for rule in rules} == {
        ("camera", "active", "kernel"),
        ("late", "active", "kernel"),
    }


def test_a_plan_tells_that_this_installation_has_no_program_for_the_kernel(file, capsys, monkeypatch):
    def refuse():
        raise KernelPlaneUnavailable("there is no program")

    monkeypatch.setattr(plan_verb, "check_object", refuse)
    file.write_text(CONFIG.replace("version: 1", "version: 1\ndata_plane: kernel"))
    assert main(["plan", str(file)]) == Exit.OK
    assert "camera: failed (`data_plane: kernel`: there is no program" in capsys.readouterr().out


def test_a_rule_that_no_kernel_can_relay_is_planned_with_the_reason(file, capsys):
    file.write_text(CONFIG.replace("version: 1", "version: 1\ndata_plane: kernel"))
    assert main(["plan", str(file)]) == Exit.OK
    assert "camera: failed (`data_plane: kernel`: lo is not an Ethernet device" in capsys.readouterr().out
