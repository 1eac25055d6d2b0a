"""Repairs what a process may inherit from its parent: closed standard streams and an ignored SIGCHLD."""

from __future__ import annotations

import os
import signal
import sys

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def repair() -> None:
    """Open standard streams that are closed, and give SIGCHLD its default action.

    If a standard stream were closed, the next file or socket would take its number. If SIGCHLD were ignored,
    the kernel would discard the exit status of child processes (wait(2)).
    """
    for descriptor, (name, mode) in enumerate(_STREAMS):
        if not _is_open(descriptor):
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode, closefd=False))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
