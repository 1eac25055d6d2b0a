"""The program of the kernel data plane between TAP devices: what it sends, counts, and leaves to the host.

in    what is written here, the program receives
out   the outputs of all flows
host  gets a copy of each frame of `in` that the program has left to the host's stack
"""

import struct
from contextlib import contextmanager

from mcrelay.kernel import counters
from mcrelay.kernel.counters import CounterReader
from mcrelay.kernel.layout import AddressKey, KernelOutput, KernelRoute, group_mac
from mcrelay.kernel.loader import load_programs
from mcrelay.kernel.maps import KernelMaps, create_maps, possible_cpus
from mcrelay.linux.traffic_control import add_clsact, ingress_classifiers, set_bpf_classifier
from mcrelay.model.counters import LINKS, OUTPUTS, RULES
from mcrelay.model.state import Flow
from tests.netns.support.taps import Tap
from tests.support import bpf_programs
from tests.support.packets import UDP_HEADER, checksum, udp_checksum, vlan_tag

MACS = bytes.fromhex("01005e010101 020000000037")  # of the frames that come in
DEVICE_MAC = bytes.fromhex("02000000ee01")
OWN = ("10.9.2.1", 40_000)
LINK_ROW, MTU = 3, 1500
LINK_HEADER = 14


def output(number, **fields):
    """Return an output to 239.2.2.`number`, whose counters have the row `number`."""
    destination = fields.pop("destination", f"239.2.2.{number}")
    defaults = {
        "row": number,
        "source": OWN[0],
        "source_port": OWN[1],
        "destination": destination,
        "port": 6001,
        "destination_mac": group_mac(destination),
        "source_mac": DEVICE_MAC,
        "mtu": MTU,
        "ttl": 64,
        "dscp": "copy",
    }
    return KernelOutput(**{"ifindex": 0, **defaults, **fields})


def sent(output, payload, ttl=64, tos=0xB8, identification=0):
    """Return the frame with a payload that an output sends for a packet with this TTL and TOS."""
    ttl = ttl - 1 if output.ttl == "decrement" else output.ttl
    tos = tos & 0xFC if output.dscp == "copy" else output.dscp << 2
    addresses = bytes(map(int, f"{output.source}.{output.destination}".split(".")))
    length = UDP_HEADER.size + len(payload)
    bare = UDP_HEADER.pack(output.source_port, output.port, length, 0) + payload
    check = udp_checksum(addresses, bare)
    udp = UDP_HEADER.pack(output.source_port, output.port, length, check) + payload
    fields = 0x45, tos, 20 + len(udp), identification, 0, ttl, 17
    header = struct.pack("!BBHHHBBH8s", *fields, 0, addresses)
    header = struct.pack("!BBHHHBBH8s", *fields, checksum(header), addresses)
    return output.destination_mac + output.source_mac + b"\x08\x00" + header + udp


def identification(frame):
    """Return the IP identification of a frame that the program has sent."""
    return int.from_bytes(frame[18:20], "big")


def frame(packet, tags=()):
    """Return an Ethernet frame with VLAN tags, outermost first: Ethernet type and control information."""
    types = [*(ethertype for ethertype, _ in tags), 0x0800]
    tag_octets = b"".join(map(vlan_tag, (control for _, control in tags), types[1:]))
    return MACS + types[0].to_bytes(2, "big") + tag_octets + packet


class KernelBench:
    """The devices, the program and its maps."""

    def __init__(self, host):
        self.input, self.output, self.host = (Tap(host, name) for name in ("in", "out", "host"))
        self.cpus = possible_cpus()
        self.maps = KernelMaps(create_maps(self.cpus), self.cpus)
        self._reader, self._rows = CounterReader(self.cpus), set()
        self.programs = load_programs(self.maps.descriptors)
        self.network = host
        self._before = [bpf_programs.load(program) for program in (bpf_programs.NEXT, bpf_programs.vouch())]
        copy = bpf_programs.load(bpf_programs.copy(self.host.ifindex))
        with host.enter_namespace():
            add_clsact(self.input.ifindex)
            for priority, program in enumerate((self._before[0], self.programs.ingress, copy), start=1):
                set_bpf_classifier(self.input.ifindex, f"test-{priority}", program, priority)
        self.maps.set_link(self.input.ifindex, LINK_ROW)
        self._ensure(LINKS, LINK_ROW)
        self.maps.set_own(*OWN)

    def _ensure(self, table, row):
        self.maps.ensure_cells(table, row)
        self.maps.use_segments()
        self._rows.add((table, row))
        for name, descriptor in self.maps.descriptors.items():
            self._reader.add(name, descriptor)

    def set_flow(self, destination, port, outputs, rule=1, source=None, **fields):
        """Set a flow of `in` with outputs to the device `out`, and return these."""
        outputs = tuple(
            KernelOutput(**{**_fields(one), "ifindex": one.ifindex or self.output.ifindex}) for one in outputs
        )
        flow = Flow(self.input.ifindex, destination, port, source)
        self._ensure(RULES, rule)
        for one in outputs:
            self._ensure(OUTPUTS, one.row)
        self.maps.set_flow(flow, KernelRoute(rule, LINK_ROW, outputs, **fields))
        self.maps.set_address(AddressKey(self.input.ifindex, destination, 0), rule)
        return outputs

    def receive(self, octets, checksum="open", udp=34, segment=0):
        """Let the device `in` receive a frame; `checksum` is as in tests/packet/cases.py."""
        if checksum != "valid":
            self.input.send(octets, checksum == "not ready", udp, segment)
            return
        self._replace(1, self._before[1])
        self.input.send(octets)
        self._replace(1, self._before[0])

    @contextmanager
    def without_program(self):
        """Let the device run another program, which does nothing, during the block."""
        self._replace(2, self._before[0])
        yield
        self._replace(2, self.programs.ingress)

    def _replace(self, priority, program):
        """Let another program run in the place of one: 1 is before that of the kernel plane, which has 2."""
        name = f"test-{priority}"
        with self.network.enter_namespace():
            present = ingress_classifiers(self.input.ifindex)
            [handle] = [found.handle for found in present if found.name == name and found.handle]
            set_bpf_classifier(self.input.ifindex, name, program, priority, handle)

    def reset(self):
        """Forget the flows, the counts and the frames of an earlier test."""
        self.clear()
        for flow in self.maps.flows():
            self.maps.delete_flow(flow)
        for key in self.maps.addresses():
            self.maps.delete_address(key)
        self.maps.reclaim()

    def clear(self):
        """Set all counts to zero, and forget the frames."""
        for table, row in self._rows:
            counters.clear(self.programs.clear, table, row, self.cpus)
        for tap in (self.input, self.output, self.host):
            tap.receive()

    def counts(self, table, row):
        """Return the counts of a row that are not zero, without times."""
        counts = dict(zip(table.columns, self._reader.row(table, row), strict=True))
        return {name: count for name, count in counts.items() if count and not name.endswith("_time")}

    def close(self):
        for tap in (self.input, self.output, self.host):
            tap.close()


def _fields(one):
    return {name: getattr(one, name) for name in one.__slots__}
