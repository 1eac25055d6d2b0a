"""What holds for every test: what pytest inherits does not matter (hostile_environment.py)."""

import os
import resource
import signal
import tempfile

import pytest
from hypothesis import settings

from mcrelay.cli import inherited_state

# A loaded machine is slow, not wrong.
settings.register_profile("mcrelay", deadline=None)
settings.load_profile("mcrelay")

DESCRIPTORS = 4096  # a process that runs many tests, with servers in threads, has some hundreds of them
MAX_TMPDIR = 12  # characters: a socket's path has at most 107, of which `tmp_path` needs most
VARIABLES = (
    *("COLUMNS", "LINES", "TZ", "PYTHONWARNINGS", "PYTHONIOENCODING", "NO_COLOR", "FORCE_COLOR", "MAKEFLAGS"),
    *("RUNTIME_DIRECTORY", "STATE_DIRECTORY", "MCRELAY_SOCKET"),
    *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"),
)


def make_usual():
    """Give this process, and so all that the tests start, the usual streams, signals, mask and variables."""
    inherited_state.repair()
    os.umask(0o022)
    # nohup ignores SIGHUP, and a shell SIGINT for its background jobs. A handler is not inherited: what tests
    # start has the default again, and nohup still protects this process.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, lambda *_: None)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, DESCRIPTORS)), hard))
    if len(tempfile.gettempdir()) > MAX_TMPDIR:
        os.environ["TMPDIR"] = tempfile.tempdir = "/tmp"
    for name in VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(LC_ALL="C.UTF-8", TERM="xterm")


make_usual()


def pytest_collection_modifyitems(items):
    """Mark what builds network namespaces; without root it shows as skipped (`make test` demands root)."""
    for item in items:
        if "netns" in item.path.parts:
            item.add_marker(pytest.mark.netns)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="builds network namespaces: needs root"))
