"""The network in which the tests relay: a source that nobody can route, and two networks that want it.

sender                     relay                                    left, right
192.168.168.55/24 ------ eth0 10.1.0.1/24   eth1 10.2.0.1/24 ------ eth0 10.2.0.2/24
TTL 1                    rp_filter=1        eth2 10.3.0.1/24 ------ eth0 10.3.0.2/24

Which data plane relays there is the choice of a module, or of a single test:

    pytestmark = pytest.mark.planes("userspace", "kernel")    what comes out, is counted, shown or lost
    pytestmark = pytest.mark.planes("userspace")              about workers, or what only they do
    (none)                                                    all else: `data_plane: auto`, as users write it

So what a packet meets is tested once for each plane, by the same test, and what it does not meet (files, the
control socket, the log) once. Rules that the kernel cannot relay are tested with `auto`: they fall back.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest

from mcrelay.lab import Daemon, Host, Lab, send, start_sending
from tests.netns.support.worker_harness import UdpListener, WorkerHarness

# The greatest age is not the default, because a busy machine is slow, not wrong.
INTERFACES = """\
version: 1
max_age: 1min
data_plane: %s
interfaces:
  studio: {device: eth0}
  left: {device: eth1}
  right: {device: eth2}
rules:
"""


ECHO = """\
version: 1
data_plane: %s
interfaces:
  one: {device: eth8}
  other: {device: eth9}
rules:
  echo: {input: {interface: one, group: 239.1.1.1, port: 5001}, outputs: [{interface: other}]}
"""


@dataclass(frozen=True, slots=True)
class Studio:
    """The hosts, and what the tests do with them."""

    lab: Lab
    sender: Host
    relay: Host
    left: Host
    right: Host
    folder: Path
    plane: str
    """The `data_plane` of its configurations."""

    def config(self, *rules):
        """Return a configuration: the interfaces, and rules such as `feed: {input: ..., outputs: ...}`."""
        return INTERFACES % self.plane + "".join(f"  {rule}\n" for rule in rules)

    @property
    def has_workers(self):
        """Whether workers relay, or the kernel without any."""
        return self.plane == "userspace"

    def relaying(self, *rules, **options):
        """Return a daemon with these rules, to be used in a `with` block."""
        return self.daemon(self.config(*rules), **options)

    def daemon(self, config, *, watch=False, **options):
        """Return a daemon with this configuration, to be used in a `with` block.

        It reloads on request only: if it watched its files, too, a slow test would count one more reload.
        """
        return Daemon(self.relay, self.folder / "daemon", config, watch=watch, **options)

    def send(self, destination, count, *, rate=20_000, size=1400, source="192.168.168.55"):
        """Send from the studio and wait for the end."""
        return send(self.sender, *self._traffic(destination, count, rate, size, source))

    def start_sending(self, destination, count, *, rate=20_000, size=1400, source="192.168.168.55"):
        """Send from the studio meanwhile."""
        return start_sending(self.sender, *self._traffic(destination, count, rate, size, source))

    def _traffic(self, destination, count, rate, size, source):
        options = {
            "interface": "eth0",
            "count": count,
            "rate": rate,
            "size": size,
            "source": source,
            "ttl": 1,
        }
        return [destination, *(f"--{name}={value}" for name, value in options.items())]


# Coverage costs as much processor time as the start of a daemon. In the processes that tests of other modules
# start, it is not measured: they reach hardly a line that these do not reach.
MEASURED = {
    *("control_process", "demo", "files_on_disk", "limits", "links", "log", "neighbours", "one_daemon"),
    *("processes", "rule_changes", "standstill", "start", "status", "supervisor", "trace", "trial"),
    *("worker_outputs", "worker_restart"),
}


@pytest.fixture(autouse=True)
def measured_processes(request, monkeypatch):
    """Measure coverage in the processes that a test starts only if its module is one of MEASURED."""
    if request.path.stem.removeprefix("test_") not in MEASURED:
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


def pytest_generate_tests(metafunc):
    """Run a test once for each data plane that `pytest.mark.planes` names, its own or that of its module."""
    marker = metafunc.definition.get_closest_marker("planes")
    if marker and "plane" in metafunc.fixturenames:
        metafunc.parametrize("plane", marker.args, indirect=True)


@pytest.fixture
def plane(request):
    """The data plane that the configurations of a test ask for."""
    return getattr(request, "param", "auto")


@pytest.fixture
def lab():
    with Lab() as lab:
        yield lab


@pytest.fixture
def studio(lab, tmp_path, plane):
    sender, relay, left, right = (lab.host(name) for name in ("sender", "relay", "left", "right"))
    lab.link(sender.end("eth0", "192.168.168.55/24"), relay.end("eth0", "10.1.0.1/24"))
    lab.link(relay.end("eth1", "10.2.0.1/24"), left.end("eth0", "10.2.0.2/24"))
    lab.link(relay.end("eth2", "10.3.0.1/24"), right.end("eth0", "10.3.0.2/24"))
    return Studio(lab, sender, relay, left, right, tmp_path, plane)


@dataclass(frozen=True, slots=True)
class Echo:
    """Two hosts at a switch that joins the relay's two sides: what it sends comes in again on the other.

    `config` has one rule, `echo`, which relays 239.1.1.1:5001 from there back to there, as 10.9.0.3.
    """

    source: Host
    viewer: Host
    config: str


@pytest.fixture
def echo(lab, studio):
    switch = lab.switch("switch", "10.9.0.254/24")
    source, viewer = lab.host("source"), lab.host("viewer")
    for end in (
        source.end("eth0", "192.168.168.55/24"),
        viewer.end("eth0", "10.9.0.2/24"),
        studio.relay.end("eth8", "10.9.0.1/24"),
        studio.relay.end("eth9", "10.9.0.3/24"),
    ):
        lab.link(end, switch.port())
    switch.wait()
    return Echo(source, viewer, ECHO % studio.plane)


@pytest.fixture
def harness(studio):
    """A worker on the relay host, without a daemon."""
    return WorkerHarness(studio)


@pytest.fixture
def left(studio):
    """A UDP listener in the left network, to 239.2.2.2:6001."""
    return UdpListener(studio.left)


@pytest.fixture
def right(studio):
    """A UDP listener in the right network, to 239.2.2.2:6001."""
    return UdpListener(studio.right)
