"""The program of the kernel data plane treats packets as the readers of packet/ do, octet by octet."""

import pytest

from mcrelay.lab import Lab
from mcrelay.model.counters import OUTPUTS, RULES
from tests.netns.support.kernel_bench import (
    KernelBench,
    frame,
    identification,
    output,
    sent,
)
from tests.packet.cases import CASES, DESTINATION, VALID
from tests.support.packets import checksum

GROUP, PORT = DESTINATION
RULE = 1


@pytest.fixture(scope="module")
def shared_bench():
    with Lab() as lab:
        bench = KernelBench(lab.host("relay"))
        yield bench
        bench.close()


@pytest.fixture
def bench(shared_bench):
    shared_bench.reset()
    return shared_bench


def udp_offset(case):
    """Return the offset of the UDP header in the frame of a case."""
    header = 4 * (case.packet[0] & 15) if case.packet else 20
    return 14 + 4 * len(case.tags) + header


def complete(octets, udp):
    """Return a frame with the UDP checksum that a device computes; it has the sum of what precedes."""
    check = checksum(octets[udp:]).to_bytes(2, "big")
    return octets[: udp + 6] + check + octets[udp + 8 :]


RECEIVABLE = [case for case in CASES if case.captured is None and not case.is_super_packet]


@pytest.mark.parametrize("case", RECEIVABLE, ids=lambda case: case.name)
def test_a_packet_has_the_verdict_of_the_table(bench, case):
    outputs = bench.set_flow(GROUP, PORT, [output(1), output(2, ttl="decrement", dscp=10)])
    octets, udp = frame(case.packet, case.tags), udp_offset(case)
    bench.receive(octets, case.checksum, udp)
    frames = bench.output.receive()
    if case.verdict == VALID:
        expected = [
            sent(one, case.payload, identification=identification(got))
            for one, got in zip(outputs, frames, strict=True)
        ]
        if case.checksum == "valid":  # a device was believed: the checksum is as wrong as it was
            frames, expected = [[one[:40] + one[42:] for one in some] for some in (frames, expected)]
        assert frames == expected
        relayed = {"packets": 1, "octets": len(case.payload)} if case.payload else {"packets": 1}
        assert bench.counts(OUTPUTS, 1) == bench.counts(OUTPUTS, 2) == relayed
        assert bench.counts(RULES, RULE) == {**relayed, "last_source": 0xC0A8A837}
    else:
        assert frames == []
    if case.packet:  # the kernel copies no frame without octets behind the link header
        left = complete(octets, udp) if case.checksum == "not ready" else octets
        assert bench.host.receive() == [left]
