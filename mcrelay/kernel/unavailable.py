"""Why a host has no kernel data plane."""

from __future__ import annotations

import errno

from mcrelay.model.os_errors import format_os_error

_REASONS = {
    errno.EPERM: "the daemon lacks CAP_BPF or CAP_NET_ADMIN, or a security module forbids bpf(2)",
    errno.ENOSYS: "the kernel has no bpf(2)",
    errno.ENOMEM: "the kernel has no memory for it, or the limit of locked memory is too low",
}


class KernelPlaneUnavailable(Exception):
    """The kernel data plane cannot be used now. The text is the reason, for the user."""


def explain(error: OSError) -> str:
    """Return why bpf(2), or a file of the bpf file system, is refused."""
    return _REASONS.get(error.errno or 0, format_os_error(error))
