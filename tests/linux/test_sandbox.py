"""A child drops every privilege, verifies that, and does not run if a privilege is left."""

import errno
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from mcrelay.linux import landlock, sandbox
from mcrelay.linux.capabilities import Privileges
from mcrelay.linux.sandbox import PrivilegesHeldError
from mcrelay.protocol.framing import MAX_PACKET, PROCESS_PROTOCOL, Hello
from mcrelay.protocol.worker import decode_answer

NOBODY = 65534
SETS = ("inheritable", "permitted", "effective", "bounding", "ambient")
NOTHING = Privileges(
    uid=NOBODY,
    gid=NOBODY,
    groups=(),
    **dict.fromkeys(SETS, 0),
    no_new_privs=True,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user: needs root")

AS_NOBODY = [
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    *(f"--{kind}-caps=-all,+dac_read_search,+net_raw" for kind in ("inh", "ambient")),
]


def run(code, prefix=()):
    """Run code in a process of its own; return its exit status and output."""
    done = subprocess.run(
        [*prefix, sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.returncode, done.stdout


CONFINE = """
import os
from mcrelay.linux.capabilities import privileges
from mcrelay.linux import sandbox
from mcrelay.linux.sandbox import PrivilegesHeldError
{before}
try:
    sandbox.drop_all_privileges({uid}, {gid})
except PrivilegesHeldError as error:
    print("not confined:", error)
else:
    print(privileges(), os.getresuid(), os.getresgid())
"""


@needs_root
def test_a_process_of_root_becomes_another_user_without_privileges():
    status, output = run(CONFINE.format(before="os.setgroups([4, 27])", uid=NOBODY, gid=NOBODY))
    assert status == 0
    assert output == f"{NOTHING} {(NOBODY,) * 3} {(NOBODY,) * 3}\n"


@needs_root
def test_a_process_of_another_user_drops_its_capabilities_and_keeps_its_user():
    status, output = run(CONFINE.format(before="", uid=None, gid=None), AS_NOBODY)
    assert status == 0
    for kind in ("inheritable", "permitted", "effective", "ambient"):
        assert f"{kind}=0" in output
    assert "no_new_privs=True" in output


@pytest.fixture
def folder():
    """A folder in which another user can do what he likes; above those of pytest, only root can."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@needs_root
@pytest.mark.skipif(landlock._version() < 6, reason="the kernel's Landlock has no scope for signals (6.12)")
def test_a_process_that_keeps_its_user_cannot_write_files_or_signal_processes_of_that_user(folder):
    attempts = f"""
import signal
sandbox.drop_all_privileges(None, None)
os.chdir({str(folder)!r})
for attempt in (
    lambda: open("mine", "a"),
    lambda: open("mine", "r+"),
    lambda: open("more", "x"),
    lambda: os.unlink("mine"),
    lambda: os.rename("mine", "yours"),
    lambda: os.link("mine", "yours"),
    lambda: os.symlink("mine", "yours"),
    lambda: os.mkdir("folder"),
    lambda: os.truncate("mine", 0),
    lambda: os.kill(os.getppid(), signal.SIGCONT),
):
    try:
        attempt()
    except PermissionError:
        print("refused", flush=True)
print(open("mine").read(), flush=True)
os._exit(0)
"""
    (folder / "mine").write_text("as it was")
    for path in (folder, folder / "mine"):
        os.chown(path, NOBODY, NOBODY)
    parent = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {!r}]))"
    code = CONFINE.format(before=attempts, uid=None, gid=None)
    assert run(parent.format(code), AS_NOBODY) == (0, "refused\n" * 10 + "as it was\n")


@needs_root
def test_no_dropped_privilege_can_be_regained():
    attempts = """
import socket
sandbox.drop_all_privileges(65534, 65534)
for attempt in (
    lambda: os.setuid(0),
    lambda: os.setgid(0),
    lambda: os.setgroups([0]),
    lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0),
    lambda: os.kill(1, 0),
    lambda: open("/etc/shadow"),
):
    try:
        attempt()
    except PermissionError:
        print("refused", flush=True)
os._exit(0)
"""
    assert run(CONFINE.format(before=attempts, uid=0, gid=0)) == (0, "refused\n" * 6)


@needs_root
@pytest.mark.parametrize(
    ("omitted", "fault"),
    [
        ("sandbox.limit_bounding_set = sandbox.keep_only = lambda _: None", "in the bounding set"),
        ("os.setresuid = lambda *_: None", "uid 0"),
        ("os.setresgid = lambda *_: None", "gid 0"),
        ("os.setgroups([4]); os.setgroups = lambda _: None", "groups (4,)"),
        ("sandbox.forbid_new_privileges = lambda: None", "no_new_privs is not set"),
    ],
)
def test_an_omitted_step_is_detected(omitted, fault):
    status, output = run(CONFINE.format(before=omitted, uid=NOBODY, gid=NOBODY))
    assert status == 0
    assert output.startswith("not confined: ")
    assert fault in output


@needs_root
def test_kept_capabilities_are_detected():
    status, output = run(
        CONFINE.format(before="sandbox.keep_only = lambda _: None", uid=None, gid=None), AS_NOBODY
    )
    assert status == 0
    for kind in ("inheritable", "permitted", "effective", "ambient"):
        assert f"capabilities 0x2004 in the {kind} set" in output


@needs_root
def test_root_is_no_user_for_a_worker():
    for uid, gid in ((0, 0), (None, None)):
        _, output = run(CONFINE.format(before="", uid=uid, gid=gid))
        assert "uid 0" in output


@pytest.fixture
def proof(monkeypatch):
    """The verification, for a process with the privileges of the test."""

    def prove(held, uid=NOBODY, gid=NOBODY, could_bound=True):
        monkeypatch.setattr(sandbox, "privileges", lambda: held)
        sandbox._verify(uid, gid, could_bound)

    return prove


def test_a_process_without_privileges_passes(proof):
    proof(NOTHING)
    proof(NOTHING, uid=None, gid=None)


@pytest.mark.parametrize("kind", SETS)
def test_one_capability_in_any_set_is_an_error(proof, kind):
    with pytest.raises(PrivilegesHeldError, match=f"capabilities 0x2000 in the {kind} set"):
        proof(Privileges(**asdict(NOTHING) | {kind: 0x2000, "groups": ()}))


@pytest.mark.parametrize(
    "change",
    [{"uid": 0}, {"uid": 1000}, {"gid": 0}, {"gid": 1000}, {"groups": (NOBODY,)}, {"no_new_privs": False}],
)
def test_another_user_or_group_or_missing_no_new_privs_is_an_error(proof, change):
    with pytest.raises(PrivilegesHeldError):
        proof(replace(NOTHING, **change))


def test_all_faults_are_in_one_error(proof):
    with pytest.raises(PrivilegesHeldError) as refusal:
        proof(replace(NOTHING, uid=0, effective=1, no_new_privs=False))
    for part in ("effective", "uid 0", "no_new_privs"):
        assert part in str(refusal.value)


def test_a_bounding_set_that_could_not_be_emptied_is_no_error(proof):
    full = replace(NOTHING, bounding=0x1FF)
    proof(full, uid=None, gid=None, could_bound=False)
    with pytest.raises(PrivilegesHeldError, match="bounding"):
        proof(full, uid=None, gid=None, could_bound=True)


def test_a_process_that_keeps_its_user_may_have_any_user_but_root(proof):
    someone = replace(NOTHING, uid=1000, gid=1000, groups=(4, 27))
    proof(someone, uid=None, gid=None)
    with pytest.raises(PrivilegesHeldError, match="uid 0"):
        proof(replace(someone, uid=0), uid=None, gid=None)


# The entry of a worker's process.


@pytest.fixture
def started():
    """Start the worker's program as the supervisor does; return it and the other end of its channel."""
    processes = []

    def start(*options, prefix=()):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [
                *prefix,
                sys.executable,
                "-I",
                "-m",
                "mcrelay.worker",
                "--worker=3",
                "--ring-octets=4096",
            ]
            process = subprocess.Popen(
                [*command, f"--channel={theirs.fileno()}", *options],
                pass_fds=[theirs.fileno()],
                stderr=subprocess.PIPE,
                text=True,
            )
        processes.append(process)
        ours.settimeout(20)
        return process, ours

    yield start
    for process in processes:
        process.kill()
        process.communicate()


NOBODYS = (f"--uid={NOBODY}", f"--gid={NOBODY}")


def memory():
    descriptor = os.memfd_create("counters")
    os.ftruncate(descriptor, 1 << 30)
    return descriptor


@needs_root
def test_a_worker_says_hello_once_it_has_its_memory_and_ends_with_its_channel(started):
    process, channel = started(*NOBODYS)
    descriptor = memory()
    socket.send_fds(channel, [b"."], [descriptor])
    os.close(descriptor)
    assert decode_answer(channel.recv(MAX_PACKET)[1:]) == Hello(PROCESS_PROTOCOL)
    channel.close()
    assert process.wait(20) == 0
    assert process.stderr.read() == ""


@needs_root
def test_a_worker_whose_supervisor_is_gone_ends(started):
    process, channel = started(*NOBODYS)
    channel.close()
    assert process.wait(20) == 0
    assert process.stderr.read() == ""


@needs_root
@pytest.mark.parametrize(
    ("options", "prefix", "why"),
    [((), (), "uid 0"), (("--uid=0", "--gid=0"), AS_NOBODY, "Operation not permitted")],
)
def test_a_worker_that_cannot_drop_its_privileges_prints_one_line_and_ends(started, options, prefix, why):
    process, channel = started(*options, prefix=prefix)
    assert process.wait(20) == 1
    [line] = process.stderr.read().splitlines()
    assert line.startswith("worker 3: cannot give up privileges: ")
    assert why in line
    assert channel.recv(MAX_PACKET) == b""


@needs_root
def test_a_worker_that_gets_a_malformed_message_prints_one_line_and_ends(started):
    process, channel = started(*NOBODYS)
    channel.send(b"?")
    assert process.wait(20) == 1
    [line] = process.stderr.read().splitlines()
    assert line.startswith("worker 3: ")


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM])
def test_a_kernel_without_landlock_is_no_error(monkeypatch, error):
    def unknown(number, *_):
        assert number == landlock._CREATE_RULESET
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(landlock, "_syscall", unknown)
    assert landlock.forbid_writing_and_signalling() is False


def test_another_error_of_landlock_is_raised(monkeypatch):
    def broken(*_):
        raise OSError(errno.ENOMEM, "no memory")

    monkeypatch.setattr(landlock, "_syscall", broken)
    with pytest.raises(OSError, match="no memory"):
        landlock.forbid_writing_and_signalling()


@pytest.mark.parametrize(
    ("version", "size", "files"),
    [(1, 8, 0x1FF2), (2, 8, 0x3FF2), (3, 8, 0x7FF2), (6, 24, 0x7FF2), (7, 24, 0x7FF2)],
)
def test_each_version_of_landlock_gets_the_rights_that_it_knows(version, size, files):
    attributes, length = landlock._attributes(version)
    assert len(attributes) == length == size
    assert int.from_bytes(attributes[:8], sys.byteorder) == files
