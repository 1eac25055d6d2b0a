"""Runs: builds networks of namespaces in which the demo and the tests send, relay and receive packets.

    with Lab() as lab:
        sender, relay = lab.host("sender"), lab.host("relay")
        lab.link(sender.end("eth0", "192.168.168.55/24"), relay.end("eth0", "10.1.0.1/24"))
        relay.run(["ip", "address"])

A lab does not change the network of the machine, and is removed when the block ends, even by an exception.
Its daemons see a bpf file system of its own, which goes with it. It requires root and iproute2.
"""

from mcrelay.lab.command import LabError
from mcrelay.lab.daemon import Daemon
from mcrelay.lab.host import End, Host
from mcrelay.lab.network import Lab, Switch
from mcrelay.lab.receiver import Receiver, Report, report_of, send, start_sending

__all__ = [
    "Daemon",
    "End",
    "Host",
    "Lab",
    "LabError",
    "Receiver",
    "Report",
    "Switch",
    "report_of",
    "send",
    "start_sending",
]
