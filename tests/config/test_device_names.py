"""What is written as the name of a device, and is none, gets advice."""

import pytest

from mcrelay.config.compiler import compile_config
from mcrelay.config.problems import ConfigError
from mcrelay.config.reader import parse


def check(device):
    text = f"version: 1\ninterfaces: {{studio: {{device: {device}}}}}\nrules: {{}}\n"
    return compile_config([parse(text.encode(), "mcrelay.yaml")]).interfaces["studio"].device


@pytest.mark.parametrize(
    ("device", "advice"),
    [
        ("'eth*'", "patterns are not supported"),
        ("eth0@if3", "write `eth0`: what `ip link` prints"),
        ('"@if3"', "without `/`"),
        ("'eth0:1'", "write `eth0`: what follows `:`"),
        ("/sys/class/net/eth0", "write `eth0`: a device has no path"),
        ("' eth0 '", "write `eth0`: without spaces"),
        ("eth0 eth1", "an interface has one device"),
        ("[eth0, eth1]", "an interface has one device"),
        ("7", 'write it in quotes: `"7"`'),
        ("1.5", "not 1.5"),
        ("' '", 'not " "'),
        ("'..'", 'not ".."'),
        ("e" * 128, "a name has at most 15 bytes, an alternative name 127"),
    ],
)
def test_a_value_that_is_no_name_of_a_device_is_refused_with_advice(device, advice):
    with pytest.raises(ConfigError) as refused:
        check(device)
    (problem,) = refused.value.problems
    assert "expected the name of a Linux network device" in problem.message
    assert advice in problem.message


@pytest.mark.parametrize("device", ["eth0.7", "enp3s0studio-of-the-third-floor", "\u00e9th0", "\u65e5\u672c"])
def test_a_device_may_have_a_long_alternative_name_or_letters_beyond_ascii(device):
    assert check(device) == device
