"""Every rule is relayed by workers in user space."""

import pytest

from mcrelay.config.compiler import compile_config
from mcrelay.config.reader import parse
from mcrelay.reconcile.placement import place_rule


@pytest.mark.parametrize("wanted", ["auto", "userspace"])
def test_a_rule_is_placed_in_user_space(wanted):
    text = f"""
version: 1
data_plane: {wanted}
interfaces: {{studio: {{device: eth0}}, plant: {{device: eth1}}}}
rules:
  feed:
    input: {{interface: studio, group: 239.1.1.1, port: 5001}}
    outputs: [{{interface: plant}}]
"""
    config = compile_config([parse(text.encode(), "mcrelay.yaml")])
    assert place_rule(config.rules["feed"]) == ("userspace", "")
