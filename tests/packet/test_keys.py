"""Endpoint keys have one encoding, whichever way they are made."""

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mcrelay.model.addresses import address_to_number, number_to_address
from mcrelay.packet.keys import (
    addresses,
    destination_keys,
    endpoint_key,
    endpoint_keys,
    find,
    pair_with_address,
    ports,
    source_keys,
)

numbers = st.integers(0, 2**32 - 1)
addresses_as_text = numbers.map(number_to_address)
udp_ports = st.integers(0, 65_535)
endpoints = st.tuples(addresses_as_text, udp_ports)


def column(values, dtype=np.uint64):
    return np.array(list(values), dtype)


@given(endpoints, endpoints)
def test_a_key_is_unique_to_its_address_and_port(first, second):
    assert (endpoint_key(*first) == endpoint_key(*second)) == (first == second)


@given(st.lists(endpoints))
def test_keys_of_columns_are_the_keys_of_their_endpoints_and_lead_back(some):
    numbers = column((address_to_number(address) for address, _ in some), np.uint32)
    keys = endpoint_keys(numbers, column((port for _, port in some), np.uint32))
    assert keys.tolist() == [endpoint_key(*one) for one in some]
    assert addresses(keys).tolist() == numbers.tolist()
    assert ports(keys).tolist() == [port for _, port in some]


@given(st.binary(min_size=4, max_size=4), st.tuples(numbers, numbers), st.tuples(udp_ports, udp_ports))
def test_keys_are_cut_from_the_words_of_a_packet(before, between, both_ports):
    octets = before + struct.pack("!IIHH", *between, *both_ports)
    word_1, word_2 = np.frombuffer(octets, ">u8").astype(np.uint64).reshape(2, 1)
    source, destination = (
        endpoint_key(number_to_address(number), port)
        for number, port in zip(between, both_ports, strict=True)
    )
    assert source_keys(word_1, word_2).tolist() == [source]
    assert destination_keys(word_2).tolist() == [destination]


@given(st.tuples(numbers, endpoints), st.tuples(numbers, endpoints))
def test_a_pair_is_unique_to_its_index_and_address(first, second):
    pairs = [
        pair_with_address(column([index], np.int64), column([endpoint_key(*endpoint)]))[0]
        for index, endpoint in (first, second)
    ]
    is_same = (first[0], first[1][0]) == (second[0], second[1][0])
    assert (pairs[0] == pairs[1]) == is_same


@given(st.sets(st.integers(0, 2**64 - 1), min_size=1), st.lists(st.integers(0, 2**64 - 1)))
def test_a_number_is_found_exactly_when_it_is_there(keys, wanted):
    wanted += sorted(keys)
    indexes, found = find(column(sorted(keys)), column(wanted))
    assert found.tolist() == [one in keys for one in wanted]
    assert all(
        sorted(keys)[index] == key
        for index, key, is_there in zip(indexes, wanted, found, strict=True)
        if is_there
    )
