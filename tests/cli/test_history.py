"""`mcrelay history` and `mcrelay diff` with a state directory, with and without a daemon."""

import json
import subprocess
from pathlib import Path

import pytest

from mcrelay.cli import main
from mcrelay.cli.diff import compare_lines
from mcrelay.cli.view.units import format_time
from mcrelay.linux.netlink import LinkTableError
from mcrelay.reload.history import Entry
from mcrelay.storage import config_files
from tests.support.fake_daemon import GREETING, serve_answers

MAIN = """\
version: 1
interfaces: {studio: {device: eth0}, plant: {device: eth1}}
rules:
  home: {input: {interface: studio, group: 239.9.9.9, port: 9}, outputs: [{interface: plant}]}
"""
CAMERA = MAIN[MAIN.index("rules") :].replace("home", "camera").replace("239.9.9.9", "239.1.1.1")
THEN = 1_795_381_964.0
NAMES = tuple(f"camera-{number}" for number in range(6))


def changes(settings=(), **kinds):
    """The changes of a reload, as an entry holds them."""
    counts = {f"{kind}_count": len(names) for kind, names in kinds.items()}
    return {"added": [], "changed": [], "removed": [], "kept": 0, "settings": [*settings], **kinds, **counts}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mcrelay.yaml"
    path.write_text(MAIN)
    return path


@pytest.fixture
def state_dir(tmp_path):
    (tmp_path / "state" / "history").mkdir(parents=True)
    return tmp_path / "state"


@pytest.fixture
def add_entry(state_dir, file):
    """A function that adds an entry to the history, with the texts of the main file and of drop-ins."""

    def keep(number, main_text=MAIN, outcome="applied", on_trial=False, changed=None, **drop_ins):
        folder = config_files.drop_in_directory(file)
        names = [
            (str(file), main_text),
            *((f"{folder}/{name}.yaml", text) for name, text in drop_ins.items()),
        ]
        content = config_files.digest([(name, text.encode()) for name, text in names])
        entry = Entry(
            number,
            number,
            THEN + number,
            content,
            outcome,
            "hangup",
            on_trial,
            changed or changes(),
            tuple(names),
        )
        path = state_dir / "history" / f"{number:06}.json"
        path.write_text(json.dumps(entry.as_json()))
        return entry

    return keep


def run_verb(capsys, *words):
    code = main([*words])
    return code, *capsys.readouterr()


def test_the_history_has_a_line_for_each_entry_with_what_it_changed(add_entry, state_dir, capsys):
    add_entry(1, outcome="started", changed=changes(added=list(NAMES)))
    changed = changes(["max_age: 1s -> 2s"], changed=["camera-1"], removed=["camera-5"])
    add_entry(2, on_trial=True, changed=changed)
    add_entry(3, outcome="rolled_back")
    code, out, err = run_verb(capsys, "history", "--state-dir", str(state_dir))
    assert (code, err) == (0, "")
    heads, *lines = out.splitlines()
    assert heads.split() == ["N", "TIME", "HASH", "HOW", "WHAT"]
    assert [line.split("  ", 2)[1].strip() for line in lines] == ["1", "2", "3"]
    assert lines[0].endswith("  started           added camera-0, camera-1, camera-2, camera-3 +2")
    assert lines[1].endswith("  applied on trial  changed camera-1; removed camera-5; max_age: 1s -> 2s")
    assert lines[2].endswith("  rolled back       no rule changed")
    assert all(format_time(THEN + number) in line for number, line in enumerate(lines, 1))


def test_the_latest_entry_with_the_running_content_has_a_star(add_entry, state_dir, capsys, tmp_path):
    first = add_entry(1)
    add_entry(2, MAIN + "# another\n")
    add_entry(3)
    hello = {**GREETING, "hash": first.hash, "state_dir": str(state_dir)}
    with serve_answers(tmp_path / "control.sock", hello=hello) as at:
        _, out, _ = run_verb(capsys, "history", "--socket", at)
        _, document, _ = run_verb(capsys, "history", "--json", "--socket", at)
    assert [line.split()[:2] for line in out.splitlines() if "*" in line] == [["*", "3"]]
    entries = json.loads(document)["entries"]
    assert [entry["runs"] for entry in entries] == [False, False, True]
    assert entries[0] == {
        "number": 1, "generation": 1, "time": THEN + 1, "hash": first.hash, "outcome": "applied",
        "cause": "hangup", "on_trial": False, "changes": changes(),
        "reason": "", "files": [name for name, _ in first.contents], "runs": False,
    }  # fmt: skip


def test_without_a_daemon_no_entry_has_a_star(add_entry, state_dir, capsys, tmp_path):
    add_entry(1)
    words = ("history", "--json", "--state-dir", str(state_dir), "--run-dir", str(tmp_path))
    document = json.loads(run_verb(capsys, *words)[1])
    assert document["state_dir"] == str(state_dir)
    assert [entry["runs"] for entry in document["entries"]] == [None]


def test_the_history_is_shown_if_the_daemon_does_not_answer(add_entry, state_dir, capsys, tmp_path):
    add_entry(1)
    wrong = {"error": {"code": -32000, "message": "this daemon speaks protocol 9", "data": {"protocol": 9}}}
    with serve_answers(tmp_path / "control.sock", hello=wrong) as at:
        code, out, err = run_verb(capsys, "history", "--socket", at, "--state-dir", str(state_dir))
    assert (code, len(out.splitlines())) == (0, 2)
    assert err.startswith("warning: cannot ask the daemon: ")


def test_an_unreadable_entry_is_reported_and_the_others_are_shown(add_entry, state_dir, capsys):
    add_entry(1)
    (state_dir / "history" / "000002.json").write_text("{")
    (state_dir / "history" / "notes.txt").write_text("not ours")
    code, out, err = run_verb(capsys, "history", "--state-dir", str(state_dir))
    assert code == 0
    assert len(out.splitlines()) == 2
    assert err == f"warning: {state_dir}/history/000002.json: it is not a JSON object\n"


def test_an_empty_history_is_reported_as_empty(state_dir, capsys):
    assert run_verb(capsys, "history", "--state-dir", str(state_dir)) == (0, "no history yet\n", "")


def test_a_missing_state_directory_is_reported_with_what_to_do(tmp_path, capsys):
    code, out, err = run_verb(capsys, "history", "--state-dir", str(tmp_path / "nowhere"))
    assert (code, out) == (1, "")
    hint = "give the state directory with --state-dir"
    assert err == f"mcrelay: {tmp_path}/nowhere/history: no such file or directory; {hint}\n"


def test_missing_permission_to_read_the_history_is_reported(state_dir, capsys, monkeypatch):
    def forbidden(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.listdir", forbidden)
    code, _, err = run_verb(capsys, "history", "--state-dir", str(state_dir))
    assert (code, err) == (4, f"mcrelay: {state_dir}/history: permission denied: use sudo\n")


def test_a_diff_shows_lines_of_files_and_names_of_rules(add_entry, state_dir, file, capsys):
    entry = add_entry(7, MAIN.replace("port: 9", "port: 8"), old=CAMERA.replace("camera", "old"))
    folder = config_files.drop_in_directory(file)
    folder.mkdir()
    (folder / "camera.yaml").write_text(CAMERA)
    code, out, err = run_verb(capsys, "diff", "7", "--state-dir", str(state_dir))
    assert (code, err) == (0, "")
    lines = [line.rstrip("\t") for line in out.splitlines()]  # a name with a space ends in a tab
    for name, heads in (
        (file, [f"--- {file}", f"+++ {file}"]),
        ("old", [f"--- {folder}/old.yaml", "+++ /dev/null"]),
        ("camera", ["--- /dev/null", f"+++ {folder}/camera.yaml"]),
    ):
        assert heads in [lines[at : at + 2] for at in range(len(lines))], name
    assert "-" + MAIN.splitlines()[3].replace("port: 9", "port: 8") in lines
    assert "+" + MAIN.splitlines()[3] in lines
    assert lines[-6:] == [
        "",
        f"since entry 7 ({entry.hash[:12]}, {format_time(THEN + 7)}):",
        "  added    1 rule: camera",
        "  changed  1 rule: home",
        "  removed  1 rule: old",
        "  kept     0 rules",
    ]


def test_no_difference_is_one_line(add_entry, state_dir, capsys):
    entry = add_entry(1)
    out = run_verb(capsys, "diff", "1", "--state-dir", str(state_dir))[1]
    assert out == f"nothing has changed since entry 1 ({entry.hash[:12]}, {format_time(THEN + 1)})\n"


def test_a_diff_as_json_has_the_documented_keys(add_entry, state_dir, capsys):
    entry = add_entry(1, MAIN.replace("port: 9", "port: 8"))
    document = json.loads(run_verb(capsys, "diff", "1", "--json", "--state-dir", str(state_dir))[1])
    assert document.pop("diff")[0].startswith("--- ")
    assert document == {
        "version": 1, "entry": 1, "time": THEN + 1, "hash": entry.hash,
        "changes": {**changes(changed=["home"]), "added_count": 0, "removed_count": 0},
    }  # fmt: skip


def test_invalid_files_are_compared_line_by_line(add_entry, state_dir, file, capsys):
    add_entry(1)
    file.write_bytes(b"version: 2 \xff\x1b[2J\n")
    code, out, _ = run_verb(capsys, "diff", "1", "--state-dir", str(state_dir))
    assert code == 0
    assert "+version: 2 \ufffd\ufffd[2J" in out.splitlines()
    assert out.endswith(
        "the rules cannot be compared, because the files are now invalid: see `mcrelay check`\n"
    )


def test_missing_files_are_reported_as_by_check(add_entry, state_dir, file, capsys):
    add_entry(1)
    file.unlink()
    code, out, err = run_verb(capsys, "diff", "1", "--state-dir", str(state_dir))
    assert (code, out, err) == (
        78,
        "",
        f"{file}: no such file or directory; write it, or name another file\n",
    )


def test_a_missing_entry_is_reported_in_one_line(add_entry, state_dir, capsys):
    add_entry(1)
    code, out, err = run_verb(capsys, "diff", "9", "--state-dir", str(state_dir))
    assert (code, out) == (1, "")
    assert err == (
        f"mcrelay: {state_dir}/history/000009.json: there is no such entry;"
        " `mcrelay history` lists the entries\n"
    )


@pytest.mark.parametrize("number", ["x", "-1", "9" * 5000])
def test_an_invalid_entry_number_is_a_usage_error(number, state_dir, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_verb(capsys, "diff", "--state-dir", str(state_dir), number)
    assert capsys.readouterr().err.startswith("usage: mcrelay diff")


def test_files_are_compared_after_they_have_moved(add_entry, state_dir, file, tmp_path, capsys):
    add_entry(1, camera=CAMERA)
    moved = tmp_path / "moved" / "relay.yaml"
    moved.parent.mkdir()
    moved.write_text(MAIN)
    config_files.drop_in_directory(moved).mkdir()
    (config_files.drop_in_directory(moved) / "camera.yaml").write_text(CAMERA)
    out = run_verb(capsys, "diff", "1", "-c", str(moved), "--state-dir", str(state_dir))[1]
    assert out.startswith("nothing has changed since entry 1 ")


@pytest.mark.parametrize("stem", ["mcrelay", "two words"])
def test_a_diff_is_a_patch_that_restores_the_old_files(tmp_path, stem):
    main, folder = tmp_path / f"{stem}.yaml", tmp_path / f"{stem}.d"
    folder.mkdir()
    before = [(str(main), MAIN), (str(folder / "old.yaml"), CAMERA)]
    after = [(str(main), MAIN + "# new\n"), (str(folder / "new.yaml"), CAMERA)]
    for name, text in after:
        Path(name).write_text(text)
    patch = "\n".join([*compare_lines(before, after), "", "since entry 1:", "  added    1 rule: camera", ""])
    subprocess.run(["patch", "-d", "/", "-p1", "-R"], input=patch, text=True, check=True, timeout=60)
    now = [main, *folder.iterdir()]
    assert {str(name): name.read_text() for name in now} == dict(before)


def test_rules_are_compared_even_if_links_cannot_be_read(add_entry, state_dir, monkeypatch, capsys):
    def fail():
        raise LinkTableError("no buffer space available")

    monkeypatch.setattr("mcrelay.cli.diff.read_links", fail)
    add_entry(1, MAIN.replace("port: 9", "port: 8"))
    code, out, err = run_verb(capsys, "diff", "1", "--state-dir", str(state_dir))
    assert (code, err) == (0, "warning: cannot read the links of this host: no buffer space available\n")
    assert "  changed  1 rule: home" in out.splitlines()
