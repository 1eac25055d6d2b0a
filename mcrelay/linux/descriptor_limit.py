"""The limit of open files of this process (getrlimit(2))."""

from __future__ import annotations

import resource


def raise_descriptor_limit() -> None:
    """Raise the limit of open files to the hard limit: 10,000 groups take 500 sockets."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
