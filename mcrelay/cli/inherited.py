"""What a process inherits from its parent, made usual: closed standard streams, and an ignored SIGCHLD."""

from __future__ import annotations

import os
import signal
import sys

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def make_usual() -> None:
    """Open standard streams that are closed, and let child processes be waited for.

    Otherwise the next file or socket would become a standard stream, and the kernel would discard how a child
    process ended (wait(2)).
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
