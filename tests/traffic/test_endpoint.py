"""The arguments of `send` and `receive`, and the errors for invalid ones."""

import pytest

from mcrelay.traffic.endpoint import Endpoint, UsageError, device_index, parse_address, parse_endpoints


def test_a_destination_has_its_own_or_the_default_port():
    assert parse_endpoints(["239.1.1.1:5001", "10.0.0.5"], 6001) == [
        Endpoint("239.1.1.1", 5001),
        Endpoint("10.0.0.5", 6001),
    ]


def test_a_group_is_distinguished_from_a_host_address():
    assert [one.is_group for one in parse_endpoints(["239.255.255.255", "10.0.0.5"], 1)] == [True, False]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["239.1.1.1"], "239.1.1.1 needs a port: give 239.1.1.1:5001 or --port"),
        (["239.1.1"], "'239.1.1' is not an IPv4 address such as 239.1.1.1"),
        ([":5001"], "'' is not an IPv4 address such as 239.1.1.1"),
        (["ff02::1"], "'ff02' is not an IPv4 address such as 239.1.1.1"),
        (["239.1.1.1:"], "'' is not a UDP port: give 1 to 65535"),
        (["239.1.1.1:0"], "'0' is not a UDP port: give 1 to 65535"),
        (["239.1.1.1:65536"], "'65536' is not a UDP port: give 1 to 65535"),
        (["239.1.1.1:" + "9" * 5000], "'" + "9" * 5000 + "' is not a UDP port: give 1 to 65535"),
        (["239.1.1.1:²"], "'²' is not a UDP port: give 1 to 65535"),
        (["239.1.1.1:1", "239.1.1.1:1"], "239.1.1.1:1 is given twice"),
    ],
)
def test_an_invalid_destination_is_reported_with_what_to_give(texts, message):
    with pytest.raises(UsageError) as error:
        parse_endpoints(texts, None)
    assert str(error.value) == message


def test_a_missing_device_is_reported_with_all_devices():
    with pytest.raises(UsageError, match=r"^this host has no device eth99; its devices are: .*\blo\b"):
        device_index("eth99")
    assert device_index("lo") > 0


def test_a_source_is_an_address():
    assert parse_address("10.0.0.5") == "10.0.0.5"
