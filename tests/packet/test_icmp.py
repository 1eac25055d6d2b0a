"""ICMP errors have the meanings of RFC 792 and RFC 1812."""

import pytest

from mcrelay.model.send_errors import IcmpError
from mcrelay.packet.icmp import classify_icmp_error


@pytest.mark.parametrize(
    ("kind", "code", "meaning"),
    [
        (3, 0, IcmpError.NET_UNREACHABLE),
        (3, 1, IcmpError.HOST_UNREACHABLE),
        (3, 3, IcmpError.PORT_UNREACHABLE),
        (3, 4, IcmpError.FRAGMENTATION_NEEDED),
        (3, 13, IcmpError.PROHIBITED),
        (3, 2, IcmpError.OTHER),
        (11, 0, IcmpError.TTL_EXCEEDED),
        (12, 0, IcmpError.OTHER),
    ],
)
def test_an_icmp_error_has_a_meaning(kind, code, meaning):
    assert classify_icmp_error(kind, code) is meaning
