"""The traffic: flows, their packets, and their destinations."""

from __future__ import annotations

import random
from dataclasses import dataclass

from mcrelay.traffic.endpoint import Endpoint

INPUT_PORT, OUTPUT_PORT = 5001, 6001

LARGE, SMALL = 1400, 100  # bytes of payload
_MIXED = 64  # lengths, repeated in turn


@dataclass(frozen=True, slots=True)
class Case:
    """One situation in which the relays are compared.

    There are `rules` rules with `outputs` outputs each, and the first `flows` of them have traffic. Packets
    have the payload lengths `lengths` (bytes) in turn. With `runs`, consecutive packets belong to the same
    flow, as from a camera; without, the flows take turns with each packet.
    """

    name: str
    lengths: tuple[int, ...] = (LARGE,)
    flows: int = 1
    outputs: int = 1
    rules: int = 1
    runs: bool = True

    @property
    def inputs(self) -> list[Endpoint]:
        """The destinations to which the traffic is sent."""
        return [flow(number) for number in range(self.flows)]

    @property
    def copies(self) -> list[Endpoint]:
        """The destinations of relays that can change the address."""
        return [copy(number, output) for number in range(self.flows) for output in range(self.outputs)]


def flow(number: int) -> Endpoint:
    """Return the destination of an incoming flow. No two groups share an Ethernet address."""
    return Endpoint(f"239.1.{number // 250}.{number % 250 + 1}", INPUT_PORT)


def copy(number: int, output: int) -> Endpoint:
    """Return the destination of one output of a flow."""
    return Endpoint(f"239.{output + 2}.{number // 250}.{number % 250 + 1}", OUTPUT_PORT)


def differing_lengths() -> tuple[int, ...]:
    """Return lengths around 1300 bytes. No two consecutive lengths are equal."""
    return tuple(random.Random(1).sample(range(1200, 1401), _MIXED))


ONE_FLOW = Case("1 flow, 1400 B")
SMALL_PACKETS = Case("1 flow, 100 B", lengths=(SMALL,))
DIFFERING = Case("1 flow, lengths differ", lengths=differing_lengths(), runs=False)
ONE_BY_ONE = Case("1 flow, 1400 B, one by one", runs=False)
FLOWS_50 = Case("50 flows in turn, 1400 B", flows=50, rules=50, runs=False)
RULES_10 = Case("10 rules, 1 flow", rules=10)
RULES_100 = Case("100 rules, 1 flow", rules=100)
RULES_1000 = Case("1,000 rules, 1 flow", rules=1000)
RULES_10000 = Case("10,000 rules, 1 flow", rules=10_000)
FAN_OUT_8 = Case("1 flow to 8 groups", outputs=8)
FAN_OUT_50 = Case("1 flow to 50 groups", outputs=50)
