"""The verdict on a packet names the drop reason under which the packet is counted."""

import pytest

from mcrelay.model.drops import Drop
from mcrelay.tracing.events import PacketVerdict


@pytest.mark.parametrize("verdict", PacketVerdict)
def test_a_verdict_names_the_counter_of_its_packets(verdict):
    named = {PacketVerdict.RELAYED: None, PacketVerdict.TAGGED: Drop.NO_RULE}
    assert verdict.drop == named.get(verdict, verdict.name.lower())
