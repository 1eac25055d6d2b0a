"""The text of an address, its number, and what an address stands for."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.model.addresses import (
    FIRST_GROUP,
    GROUP_RANGE,
    LAST_GROUP,
    address_to_bytes,
    address_to_number,
    format_endpoint,
    is_group,
    is_group_number,
    is_link_local_group,
    is_loopback,
    looks_like_address,
    normalize_address,
    number_to_address,
    reason_not_host,
    split_endpoint,
)

# The standard library's answers are the reference.
addresses = st.integers(0, 2**32 - 1).map(IPv4Address)


@given(addresses)
def test_text_number_and_bytes_stand_for_the_same_address(address):
    assert address_to_number(str(address)) == int(address)
    assert number_to_address(int(address)) == str(address)
    assert address_to_bytes(str(address)) == address.packed
    assert normalize_address(str(address)) == str(address)
    assert looks_like_address(str(address))


def test_bits_above_the_address_are_ignored():
    assert number_to_address(0xFFFF_FFFF_C0A8_0001) == "192.168.0.1"


@given(addresses)
def test_a_text_and_a_number_are_groups_alike(address):
    assert is_group(str(address)) == is_group_number(int(address)) == address.is_multicast
    assert is_loopback(str(address)) == address.is_loopback


@pytest.mark.parametrize(
    "text", ["", "239.1.1", "239.1.1.256", "239.1.1.1.1", "ff02::1", "239.1.1.1 ", "camera"]
)
def test_what_is_not_an_address_is_refused(text):
    with pytest.raises(ValueError, match="is not an IPv4 address"):
        normalize_address(text)


def test_a_mistyped_address_still_looks_like_one_and_a_name_does_not():
    assert looks_like_address("10.0.0.999")
    assert not looks_like_address("plant")
    assert not looks_like_address("10.0.0.1:5001")


def test_an_endpoint_is_written_and_read_alike():
    assert format_endpoint("239.1.1.1", 5001) == "239.1.1.1:5001"
    assert split_endpoint("239.1.1.1:5001") == ("239.1.1.1", "5001")
    assert split_endpoint("239.1.1.1:") == ("239.1.1.1", "")
    assert split_endpoint("239.1.1.1") == ("239.1.1.1", None)


def test_the_groups_end_where_the_standard_says():
    borders = ("223.255.255.255", "224.0.0.0", "239.255.255.255", "240.0.0.0")
    assert [is_group(address) for address in borders] == [False, True, True, False]
    assert f"{number_to_address(FIRST_GROUP)} to {number_to_address(LAST_GROUP)}" == GROUP_RANGE
    assert is_link_local_group("224.0.0.255")
    assert not is_link_local_group("224.0.1.0")


def test_why_an_address_is_not_one_of_a_host():
    assert reason_not_host("10.0.0.1", "eth0") == ""
    assert reason_not_host("127.0.0.1") == ""
    assert reason_not_host("127.0.0.1", "eth0").endswith("through the device lo alone, not through eth0")
    assert reason_not_host("239.1.1.1") == "239.1.1.1 is a multicast group, not the address of a host"
    for address in ("0.0.0.0", "0.1.2.3", "240.0.0.1", "255.255.255.255"):
        assert reason_not_host(address) == f"{address} is not the address of a host"
