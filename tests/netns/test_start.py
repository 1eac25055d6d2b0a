"""Where the daemon cannot run, the start says what to do, and ends with its exit code at once."""

import json
import os
import subprocess
import sys

import pytest

from mcrelay.lab import Receiver
from mcrelay.lab.command import mcrelay, wait_until

NOT_PERMITTED = 4
RULES = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
)


def start(studio, *prefix):
    """Start the daemon below another command, and wait for its end."""
    config = studio.folder / "mcrelay.yaml"
    config.write_text(studio.config(RULES))
    directories = (f"--run-dir={studio.folder}/run", f"--state-dir={studio.folder}/state")
    return studio.relay.run([*prefix, *mcrelay("run", "-c", str(config), *directories)], check=False)


@pytest.mark.parametrize("options", ["-Ur", "-Urn", "-Urnm"])
def test_a_user_namespace_with_one_user_is_told_at_the_start(studio, options):
    ended = start(studio, "unshare", options)
    assert ended.returncode == NOT_PERMITTED
    line, *others = ended.stderr.splitlines()
    assert others == [], "no child was started"
    assert line.startswith("mcrelay: not permitted: the children cannot become the user ")
    assert "this user namespace does not have that user: start mcrelay as root of the host" in line
    assert not (studio.folder / "run").exists()


def test_a_user_namespace_without_a_network_of_its_own_is_told_at_the_start(studio):
    """All users are mapped, so that the children could run."""
    ready = (
        'ready=$(mktemp -u); mkfifo $ready; unshare -U sh -c \'read _ < $0; exec "$@"\' $ready "$@" & pid=$!'
    )
    maps = "; ".join(
        f"until echo 0 0 65535 > /proc/$pid/{name}_map; do sleep 0.01; done 2> /dev/null"
        for name in ("uid", "gid")
    )
    script = f"{ready}; {maps}; echo > $ready; rm $ready; wait $pid"
    ended = start(studio, "sh", "-c", script, "sh")
    assert ended.returncode == NOT_PERMITTED
    assert ended.stderr.startswith(
        "mcrelay: not permitted: cannot open a packet socket: operation not permitted:"
    )


@pytest.mark.parametrize("lacking", ["setuid", "net_raw"])
def test_a_container_that_drops_a_capability_is_told_which(studio, lacking):
    ended = start(studio, "setpriv", f"--bounding-set=-{lacking}")
    assert ended.returncode == NOT_PERMITTED
    assert f"missing CAP_{lacking.upper()}: start mcrelay as root with all capabilities" in ended.stderr


def test_a_host_without_a_user_for_the_children_is_told_how_to_add_one(studio):
    for name, content in (("passwd", "root:x:0:0:root:/root:/bin/sh"), ("nsswitch.conf", "passwd: files")):
        (studio.folder / name).write_text(f"{content}\n")
    hide = 'for name in passwd nsswitch.conf; do mount --bind "$0/$name" /etc/$name; done; exec "$@"'
    ended = start(studio, "unshare", "-m", "sh", "-c", hide, str(studio.folder))
    assert ended.returncode == NOT_PERMITTED
    assert "for the children to run as: add one (`useradd --system mcrelay`)" in ended.stderr


def test_a_process_that_may_gain_no_privileges_runs(studio):
    """Containers and services set no_new_privs, which takes nothing from the daemon."""
    script = studio.folder / "python"
    script.write_text(f'#!/bin/sh\nexec setpriv --no-new-privs "{sys.executable}" "$@"\n')
    script.chmod(0o755)
    with studio.relaying(RULES, python=str(script)) as relay:
        assert "1 rule (1 active)" in relay.log()


def make_file(folder):
    folder.touch()


def make_full_disk(folder):
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "state", str(folder)], check=True)
    (folder / "history").mkdir()
    (folder / "full").write_bytes(bytes(4096))


def make_read_only(folder):
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "state", str(folder)], check=True)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (make_file, "file exists"),
        (make_full_disk, "no space left on device"),
        (make_read_only, "read-only file system"),
    ],
)
def test_a_state_directory_that_cannot_be_used_is_in_the_status(studio, make, reason):
    state = studio.folder / "daemon" / "state"
    state.parent.mkdir()
    make(state)
    try:
        with studio.relaying(RULES) as relay:
            shown, document = relay.ask("status").stdout, json.loads(relay.ask("status", "--json").stdout)
            left = Receiver(studio.left, "239.2.2.2:6001")
            studio.send("239.1.1.1:5001", count=100, rate=1000)
            assert left.report().received == 100
            assert "history and trials are disabled" in relay.log()
    finally:
        subprocess.run(["umount", str(state)], check=False, capture_output=True)
    (problem,) = document["daemon"]["problems"]
    assert problem.startswith(str(state))
    assert problem.endswith(f": {reason}: no history, no trials, and no rollback after a restart")
    assert " ".join(shown.split()).count(problem) == 1


def test_a_log_that_takes_no_line_is_in_the_status(studio):
    full = os.open("/dev/full", os.O_WRONLY)
    with studio.relaying(RULES, stderr=full) as relay:
        wait_until(
            lambda: "the log were lost: no space left on device" in relay.ask("status").stdout, "the loss"
        )
    os.close(full)
