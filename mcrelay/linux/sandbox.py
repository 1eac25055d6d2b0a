"""Drops every privilege of this process, and verifies that none is left."""

from __future__ import annotations

import os

from mcrelay.linux.capabilities import (
    Capability,
    forbid_new_privileges,
    keep_only,
    limit_bounding_set,
    privileges,
)
from mcrelay.linux.landlock import forbid_writing_and_signalling


class PrivilegesHeldError(Exception):
    """The process still holds a privilege that it must not have. The text names the privilege."""


def drop_all_privileges(uid: int | None, gid: int | None) -> None:
    """Become the user without groups and capabilities, for good.

    Without a `uid`, the supervisor is not root and the process keeps its user, to whom the supervisor and its
    files belong. The process then also gives up writing files and signalling other processes, if the kernel
    has Landlock. Raises PrivilegesHeldError if a privilege is left, and OSError.
    """
    can_bound = privileges().has(Capability.CAP_SETPCAP)
    limit_bounding_set(0)
    if uid is not None and gid is not None:
        keep_only((Capability.CAP_SETUID, Capability.CAP_SETGID))
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    keep_only(())
    forbid_new_privileges()
    _verify(uid, gid, can_bound)
    if uid is None:
        forbid_writing_and_signalling()


def _verify(uid: int | None, gid: int | None, can_bound: bool) -> None:
    held = privileges()
    sets = {
        "inheritable": held.inheritable,
        "permitted": held.permitted,
        "effective": held.effective,
        "ambient": held.ambient,
        # Without CAP_SETPCAP it cannot be emptied; with no_new_privs it grants nothing.
        "bounding": held.bounding if can_bound else 0,
    }
    faults = [f"capabilities {bits:#x} in the {name} set" for name, bits in sets.items() if bits]
    if held.uid == 0 or (uid is not None and (held.uid, held.gid, held.groups) != (uid, gid, ())):
        faults.append(f"uid {held.uid}, gid {held.gid}, groups {held.groups}")
    if not held.no_new_privs:
        faults.append("no_new_privs is not set")
    if faults:
        raise PrivilegesHeldError(f"this process must hold no privilege, but holds {'; '.join(faults)}")
