"""How a process gives up every privilege, and proves it."""

from __future__ import annotations

import os

from mcrelay.linux.capabilities import Capability, bound, forbid_new_privileges, keep_only, privileges
from mcrelay.linux.landlock import keep_to_itself


class PrivilegesHeldError(Exception):
    """The process still holds something that it must not have."""


def drop_all_privileges(uid: int | None, gid: int | None) -> None:
    """Become that user without groups and capabilities, for good; PrivilegesHeldError where the proof fails.

    Without a `uid` the supervisor was no root either. What its user may do to it and to its files, above all
    to its history, this process gives up, too, where the kernel knows how.
    """
    could_bound = privileges().has(Capability.CAP_SETPCAP)
    bound(0)
    if uid is not None and gid is not None:
        keep_only((Capability.CAP_SETUID, Capability.CAP_SETGID))
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    keep_only(())
    forbid_new_privileges()
    _prove(uid, gid, could_bound)
    if uid is None:
        keep_to_itself()


def _prove(uid: int | None, gid: int | None, could_bound: bool) -> None:
    held = privileges()
    sets = {
        "inheritable": held.inheritable,
        "permitted": held.permitted,
        "effective": held.effective,
        "ambient": held.ambient,
        # Nobody without CAP_SETPCAP can empty this one; with no_new_privs it gives nothing.
        "bounding": held.bounding if could_bound else 0,
    }
    faults = [f"capabilities {bits:#x} in the {name} set" for name, bits in sets.items() if bits]
    if held.uid == 0 or (uid is not None and (held.uid, held.gid, held.groups) != (uid, gid, ())):
        faults.append(f"uid {held.uid}, gid {held.gid}, groups {held.groups}")
    if not held.no_new_privs:
        faults.append("no_new_privs is not set")
    if faults:
        raise PrivilegesHeldError(f"this process must hold no privilege, and it has {'; '.join(faults)}")
