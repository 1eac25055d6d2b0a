"""The routes that the kernel takes for datagrams (RTM_GETROUTE of rtnetlink(7)). Needs no privilege."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Collection, Sequence
from dataclasses import replace

from mcrelay.linux.constants import (
    RTA_DPORT,
    RTA_DST,
    RTA_GATEWAY,
    RTA_IP_PROTO,
    RTA_OIF,
    RTA_PREFSRC,
    RTA_SPORT,
    RTA_SRC,
    RTA_VIA,
    RTM_GETROUTE,
    RTN_BROADCAST,
    RTN_LOCAL,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV4_RULE,
)
from mcrelay.linux.rtnetlink import Message, NetlinkConnection, Subscription, attribute, attributes
from mcrelay.model.addresses import address_to_bytes
from mcrelay.model.routes import HostRoute, RouteKind, RouteQuery

# struct rtmsg: family, lengths of destination and source in bits, TOS, table, protocol, scope, type, flags
_ROUTE_MESSAGE = struct.Struct("=8BI")
_KINDS = {RTN_LOCAL: RouteKind.LOCAL, RTN_BROADCAST: RouteKind.BROADCAST}
_KINDS_OF_ERRORS = {
    errno.EINVAL: RouteKind.BLACKHOLE,
    errno.EHOSTUNREACH: RouteKind.UNREACHABLE,
    errno.EACCES: RouteKind.PROHIBIT,
    errno.ENETUNREACH: RouteKind.NONE,
    errno.ENODEV: RouteKind.NONE,  # the device of a VRF was removed
}


def look_up_routes(queries: Collection[RouteQuery]) -> dict[RouteQuery, HostRoute]:
    """Return the route of each datagram. Raises OSError.

    As in connect(2), a datagram without a source gets the preferred source of its route, and is then routed
    again with this source, because a rule of ip-rule(8) may depend on it.
    """
    with NetlinkConnection() as connection:
        found = _look_up(connection, list(queries))
        chosen = {
            query: replace(query, source=route.source)
            for query, route in found.items()
            if query.source is None and route.source is not None
        }
        with_source = _look_up(connection, list(chosen.values()))
    return found | {query: with_source[again] for query, again in chosen.items()}


def _look_up(connection: NetlinkConnection, queries: Sequence[RouteQuery]) -> dict[RouteQuery, HostRoute]:
    answers = connection.ask(RTM_GETROUTE, [_encode(query) for query in queries])
    return {query: _decode(query, answer) for query, answer in zip(queries, answers, strict=True)}


def _encode(query: RouteQuery) -> bytes:
    fields = _ROUTE_MESSAGE.pack(socket.AF_INET, 32, 32 if query.source else 0, 0, 0, 0, 0, 0, 0)
    parts = [
        fields,
        attribute(RTA_DST, address_to_bytes(query.destination)),
        attribute(RTA_IP_PROTO, bytes([socket.IPPROTO_UDP])),
        attribute(RTA_DPORT, query.port.to_bytes(2, "big")),
    ]
    if query.source:
        parts.append(attribute(RTA_SRC, address_to_bytes(query.source)))
    if query.source_port:
        parts.append(attribute(RTA_SPORT, query.source_port.to_bytes(2, "big")))
    if query.ifindex:
        parts.append(attribute(RTA_OIF, struct.pack("=I", query.ifindex)))
    return b"".join(parts)


def _decode(query: RouteQuery, answer: Message) -> HostRoute:
    if answer.error:
        if answer.error not in _KINDS_OF_ERRORS:
            raise OSError(answer.error, os.strerror(answer.error))
        return HostRoute(_KINDS_OF_ERRORS[answer.error])
    kind = _KINDS.get(_ROUTE_MESSAGE.unpack_from(answer.body)[7], RouteKind.UNICAST)
    found = attributes(answer.body, _ROUTE_MESSAGE.size)
    preferred = found.get(RTA_PREFSRC)
    return HostRoute(
        kind=kind,
        ifindex=struct.unpack("=I", found[RTA_OIF])[0],
        gateway=_gateway(found),
        source=socket.inet_ntoa(preferred) if preferred else query.source,
    )


def _gateway(found: dict[int, bytes]) -> str | None:
    if RTA_GATEWAY in found:
        return socket.inet_ntoa(found[RTA_GATEWAY])
    if RTA_VIA in found:  # struct rtvia: an IPv4 route through an IPv6 gateway
        return socket.inet_ntop(struct.unpack_from("=H", found[RTA_VIA])[0], found[RTA_VIA][2:])
    return None


class RouteMonitor:
    """A socket that is readable after a route or a rule of ip-rule(8) has changed."""

    def __init__(self) -> None:
        self._subscription = Subscription(RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_RULE)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._subscription.fileno()

    def switch(self, is_on: bool) -> None:
        """Begin or end to watch. Raises OSError."""
        self._subscription.switch(is_on)

    def drain(self) -> None:
        """Discard all messages that have arrived."""
        self._subscription.read()
