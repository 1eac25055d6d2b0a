"""Where the daemon cannot run, the start says what to do, and ends with its exit code at once."""

import sys

import pytest

from mcrelay.lab.command import mcrelay

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
