"""What holds for every test."""

import os
import signal

import pytest
from hypothesis import settings

# A loaded machine is slow, not wrong.
settings.register_profile("mcrelay", deadline=None)
settings.load_profile("mcrelay")

# Who starts the tests in the background of a shell has them ignore Ctrl-C, and with them all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Mark what builds network namespaces; without root it shows as skipped (`make test` demands root)."""
    for item in items:
        if "netns" in item.path.parts:
            item.add_marker(pytest.mark.netns)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="builds network namespaces: needs root"))
