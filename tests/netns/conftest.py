"""The network in which the tests relay: a source that nobody can route, and two networks that want it.

sender                     relay                                    left, right
192.168.168.55/24 ------ eth0 10.1.0.1/24   eth1 10.2.0.1/24 ------ eth0 10.2.0.2/24
TTL 1                    rp_filter=1        eth2 10.3.0.1/24 ------ eth0 10.3.0.2/24
"""

from dataclasses import dataclass
from pathlib import Path

import pytest

from mcrelay.lab import Daemon, Host, Lab, send, start_sending

INTERFACES = """\
version: 1
interfaces:
  studio: {device: eth0}
  left: {device: eth1}
  right: {device: eth2}
rules:
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

    def config(self, *rules):
        """Return a configuration: the interfaces, and rules such as `feed: {input: ..., outputs: ...}`."""
        return INTERFACES + "".join(f"  {rule}\n" for rule in rules)

    def relaying(self, *rules, **options):
        """Return a daemon with these rules, to be used in a `with` block."""
        return self.daemon(self.config(*rules), **options)

    def daemon(self, config, *, watch=False, **options):
        """Return a daemon with this configuration, to be used in a `with` block.

        It is told when to reload: were it to watch its files, too, a slow test would count one reload more.
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


@pytest.fixture
def lab():
    with Lab() as lab:
        yield lab


@pytest.fixture
def studio(lab, tmp_path):
    sender, relay, left, right = (lab.host(name) for name in ("sender", "relay", "left", "right"))
    lab.link(sender.end("eth0", "192.168.168.55/24"), relay.end("eth0", "10.1.0.1/24"))
    lab.link(relay.end("eth1", "10.2.0.1/24"), left.end("eth0", "10.2.0.2/24"))
    lab.link(relay.end("eth2", "10.3.0.1/24"), right.end("eth0", "10.3.0.2/24"))
    return Studio(lab, sender, relay, left, right, tmp_path)
