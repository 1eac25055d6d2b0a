"""Packets without a rule are counted for each rule that they were probably meant for."""

import os

import numpy as np
import pytest

from mcrelay.model.counters import COUNTERS_SIZE, RULES
from mcrelay.model.near_misses import NearMiss
from mcrelay.model.state import Flow
from mcrelay.packet.keys import endpoint_key, outgoing_key
from mcrelay.worker.counters import CounterWriter
from mcrelay.worker.near_misses import NearMisses

ROWS = {
    Flow(2, "239.1.1.1", 5001): 0,
    Flow(2, "239.1.1.1", 5002): 1,
    Flow(4, "239.1.1.1", 5001): 2,
    Flow(3, "239.1.1.1", 5003, "10.0.0.5"): 3,
    Flow(3, "239.1.1.1", 5003, "10.0.0.6"): 3,
    Flow(3, "10.0.0.1", 5004): 4,
}
TIME = 77


class Harness:
    def __init__(self, rows):
        memory = os.memfd_create("counters")
        os.ftruncate(memory, COUNTERS_SIZE)
        self.counters = CounterWriter(memory)
        os.close(memory)
        self.near_misses = NearMisses(rows, self.counters)

    def unknown(self, ifindex, *keys):
        self.near_misses.count_unknown(ifindex, np.array(keys, np.uint64), TIME)
        return self.counted()

    def tagged(self, ifindex, *keys, vlans):
        self.near_misses.count_tagged(ifindex, np.array(keys, np.uint64), np.array(vlans, np.uint16), TIME)
        return self.counted()

    def counted(self):
        """Return the kind, detail and number of near misses by row."""
        found = {}
        for row, values in enumerate(self.counters.rules[:10].tolist()):
            for miss in NearMiss:
                time, detail, packets = (values[RULES.column(name)] for name in miss.columns)
                if packets:
                    assert time == TIME
                    found.setdefault(row, []).append((miss, detail, packets))
        return found


@pytest.fixture
def harness():
    return Harness(ROWS)


def test_packets_on_another_link_are_counted_for_each_rule_that_wants_them(harness):
    wanted, foreign = endpoint_key("239.1.1.1", 5001), endpoint_key("239.1.1.2", 5001)
    assert harness.unknown(3, wanted, foreign, wanted) == {
        0: [(NearMiss.OTHER_DEVICE, 3, 2)],
        2: [(NearMiss.OTHER_DEVICE, 3, 2)],
    }


def test_packets_to_another_port_are_counted_for_each_rule_of_the_address_on_the_link(harness):
    assert harness.unknown(2, endpoint_key("239.1.1.1", 6000)) == {
        0: [(NearMiss.OTHER_PORT, 6000, 1)],
        1: [(NearMiss.OTHER_PORT, 6000, 1)],
    }


def test_a_rule_with_several_sources_counts_a_packet_once(harness):
    assert harness.unknown(2, endpoint_key("239.1.1.1", 5003)) == {3: [(NearMiss.OTHER_DEVICE, 2, 1)]}


def test_unicast_packets_are_counted_alike(harness):
    assert harness.unknown(2, endpoint_key("10.0.0.1", 5004)) == {4: [(NearMiss.OTHER_DEVICE, 2, 1)]}


def test_foreign_packets_and_packets_of_this_host_are_not_counted(harness):
    assert harness.unknown(3, endpoint_key("239.9.9.9", 5001), outgoing_key("239.1.1.1", 5001)) == {}
    assert Harness({}).unknown(3, endpoint_key("239.9.9.9", 5001)) == {}


def test_tagged_packets_are_counted_for_the_rules_of_their_address_on_the_link(harness):
    keys = [endpoint_key("239.1.1.1", 1), endpoint_key("239.9.9.9", 1), endpoint_key("239.1.1.1", 5001)]
    assert harness.tagged(2, *keys, vlans=[5, 6, 7]) == {
        0: [(NearMiss.TAGGED, 7, 2)],
        1: [(NearMiss.TAGGED, 7, 2)],
    }
