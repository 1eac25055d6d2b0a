"""Asks the kernel which sockets are readable, without waiting (poll(2))."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterable


def find_readable(sockets: Iterable[socket.socket]) -> set[socket.socket]:
    """Return the sockets that are readable now. An error, as of a link that is down, does not count."""
    by_descriptor = {sock.fileno(): sock for sock in sockets}
    poll = select.poll()
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    return {by_descriptor[descriptor] for descriptor, events in poll.poll(0) if events & select.POLLIN}
