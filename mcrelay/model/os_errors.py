"""The reason of an OSError, as messages show it."""

from __future__ import annotations


def format_os_error(error: OSError) -> str:
    """Return the reason in lower case and without the number, such as `permission denied`."""
    return (error.strerror or str(error)).lower()
