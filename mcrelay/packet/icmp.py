"""The meaning of ICMP errors (RFC 792, RFC 1812) by their type and code."""

from __future__ import annotations

from mcrelay.model.send_errors import IcmpError

_UNREACHABLE, _TIME_EXCEEDED = 3, 11  # ICMP_DEST_UNREACH, ICMP_TIME_EXCEEDED of linux/icmp.h

_BY_CODE = {
    0: IcmpError.NET_UNREACHABLE,
    1: IcmpError.HOST_UNREACHABLE,
    3: IcmpError.PORT_UNREACHABLE,
    4: IcmpError.FRAGMENTATION_NEEDED,
    6: IcmpError.NET_UNREACHABLE,  # unknown network
    7: IcmpError.HOST_UNREACHABLE,  # unknown host
    8: IcmpError.HOST_UNREACHABLE,  # isolated host
    9: IcmpError.PROHIBITED,  # network
    10: IcmpError.PROHIBITED,  # host
    11: IcmpError.NET_UNREACHABLE,  # for this type of service
    12: IcmpError.HOST_UNREACHABLE,  # for this type of service
    13: IcmpError.PROHIBITED,  # a packet filter
}


def classify_icmp_error(kind: int, code: int) -> IcmpError:
    """Return the meaning of an ICMP error with this type and code."""
    if kind == _UNREACHABLE:
        return _BY_CODE.get(code, IcmpError.OTHER)
    return IcmpError.TTL_EXCEEDED if kind == _TIME_EXCEEDED else IcmpError.OTHER
