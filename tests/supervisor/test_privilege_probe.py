"""The start fails with advice where a child could not run, or no packet socket can be opened."""

import errno
import os

import pytest

from mcrelay.supervisor import privilege_probe
from mcrelay.supervisor.privilege_probe import probe_privileges
from mcrelay.supervisor.privileged import PrivilegeError, User

NOBODY = User("nobody", 65534, 65534)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user: needs root")


@needs_root
def test_where_everything_is_permitted_nothing_happens_to_this_process():
    before = os.getresuid(), os.getgroups()
    probe_privileges(NOBODY)
    assert (os.getresuid(), os.getgroups()) == before


@needs_root
def test_a_child_that_would_stay_root_is_an_error():
    with pytest.raises(
        PrivilegeError, match=r"^the children cannot become the user `root`.*uid 0.*: start mcrelay as"
    ):
        probe_privileges(User("root", 0, 0))


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"uid_map": "0 1000 1", "gid_map": "0 1000 1"}, "this user namespace does not have that user"),
        ({"uid_map": "0 0 4294967295", "gid_map": "0 0 1"}, "this user namespace does not have that user"),
        ({"uid_map": "0 0 65535", "gid_map": "0 0 65535", "setgroups": "deny"}, r"forbids setgroups\(2\)"),
        ({"uid_map": "0 1 9\n65534 70000 1", "gid_map": "65534 0 1", "setgroups": "allow"}, "no luck"),
        ({}, "no luck"),
    ],
)
def test_the_reason_is_that_of_the_user_namespace_where_it_is_one(monkeypatch, files, why):
    monkeypatch.setattr(privilege_probe, "_try_to_drop", lambda user: "no luck")
    monkeypatch.setattr(privilege_probe, "_read", lambda name: files.get(name, ""))
    with pytest.raises(PrivilegeError, match=why):
        probe_privileges(NOBODY)


def test_a_supervisor_that_is_not_root_is_told_what_its_children_lack(monkeypatch):
    monkeypatch.setattr(privilege_probe, "_try_to_drop", lambda user: "no Landlock")
    with pytest.raises(PrivilegeError, match=r"^the children cannot give up their privileges: no Landlock: "):
        probe_privileges(None)


def test_packet_sockets_that_are_forbidden_are_an_error(monkeypatch):
    def refuse():
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(privilege_probe, "_try_to_drop", lambda user: "")
    monkeypatch.setattr(privilege_probe, "open_packet_socket", refuse)
    with pytest.raises(
        PrivilegeError, match=r"^cannot open a packet socket: operation not permitted: a user"
    ):
        probe_privileges(NOBODY)


def test_a_file_of_the_kernel_that_is_absent_is_empty():
    assert privilege_probe._read("no-such-file") == ""
