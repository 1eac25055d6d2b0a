"""A trace event as a document, and as a line with the verdict, the reason and the outputs."""

import base64
import errno
from dataclasses import replace

import pytest

from mcrelay.model.drops import Drop
from mcrelay.model.send_errors import FAULT_CODES, PathFault
from mcrelay.tracing.events import EXPIRED, SENT, Event, PacketVerdict, SendOutcome
from mcrelay.tracing.format import as_comment, as_document, as_text, format_timestamp
from tests.tracing.test_ring import EVENT, HEAD

DEVICES = {2: "eth0", 3: "eth1", 4: "eth2"}
LEFT, RIGHT = 0xEF020202, 0x0A090232


def document_of(event, with_packet=False):
    return as_document(event, "feed", DEVICES, with_packet)


def relayed(*codes):
    outcomes = tuple(SendOutcome(LEFT + number, 3, 6001, code) for number, code in enumerate(codes))
    return Event(HEAD, outcomes, len(outcomes), b"")


def with_verdict(verdict, **fields):
    return Event(HEAD._replace(verdict=verdict, **fields), (), 0, b"")


def test_a_document_has_every_field_of_an_event():
    event = Event(
        HEAD, (SendOutcome(LEFT, 3, 6001, SENT), SendOutcome(RIGHT, 4, 6002, errno.ENETDOWN)), 2, b"octets"
    )
    assert document_of(event, with_packet=True) == {
        "rule": "feed",
        "time": "2023-11-14T22:13:20.123456789Z",
        "time_ns": 1_700_000_000_123_456_789,
        "device": "eth0",
        "source": "192.168.168.55",
        "source_port": 4000,
        "destination": "239.1.1.1",
        "port": 5001,
        "ttl": 1,
        "dscp": 46,
        "vlan": None,
        "length": 1428,
        "payload": 1400,
        "verdict": "relayed",
        "reason": None,
        "explanation": "",
        "outputs": [
            {"device": "eth1", "destination": "239.2.2.2", "port": 6001, "result": "sent", "errno": None},
            {"device": "eth2", "destination": "10.9.2.50", "port": 6002, "result": "send_error",
             "errno": "ENETDOWN"},
        ],
        "unlisted_outputs": 0,
        "packet": base64.b64encode(b"octets").decode(),
    }  # fmt: skip


@pytest.mark.parametrize("verdict", [PacketVerdict.FRAGMENT, PacketVerdict.MALFORMED])
def test_ports_and_payload_are_null_without_a_udp_header_that_can_be_trusted(verdict):
    document = document_of(with_verdict(verdict))
    assert (document["source_port"], document["port"], document["payload"]) == (None, None, None)
    assert "192.168.168.55 > 239.1.1.1  IP packet of 1428 bytes, TTL 1: dropped: " in as_text(document, "now")


@pytest.mark.parametrize(
    ("codes", "description"),
    [
        ((SENT,), "relayed to 239.2.2.2:6001 (eth1)"),
        ((SENT, SENT), "relayed to 239.2.2.2:6001 (eth1), 239.2.2.3:6001 (eth1)"),
        (
            (SENT, errno.EPERM),
            "relayed to 239.2.2.2:6001 (eth1); not sent to 239.2.2.3:6001 (eth1): EPERM",
        ),
        ((EXPIRED,), "not sent to 239.2.2.2:6001 (eth1): ttl (the TTL reached 0 by `ttl: decrement`)"),
        ((FAULT_CODES[PathFault.NO_ROUTE],), "not sent to 239.2.2.2:6001 (eth1): no_route"),
        ((4095,), "not sent to 239.2.2.2:6001 (eth1): 4095"),
        ((), "the rule has no outputs"),
    ],
)
def test_the_line_of_a_relayed_packet_says_where_each_copy_went(codes, description):
    document = document_of(relayed(*codes))
    packet = "192.168.168.55:4000 > 239.1.1.1:5001  1400 bytes of payload, TTL 1"
    assert as_text(document, "21:03:04.1") == f"21:03:04.1  eth0  {packet}: {description}"
    assert as_comment(document) == f"rule feed: {description}"


def test_outputs_beyond_those_that_are_kept_are_counted():
    document = document_of(replace(relayed(SENT), outputs=100))
    assert document["unlisted_outputs"] == 99
    assert as_comment(document) == "rule feed: relayed to 239.2.2.2:6001 (eth1); 99 more outputs"


@pytest.mark.parametrize(
    ("event", "reason", "explanation"),
    [
        (with_verdict(PacketVerdict.SOURCE), "source", "192.168.168.55 is not in `sources`"),
        (with_verdict(PacketVerdict.NO_RULE, destination_port=5002), "no_rule",
         "no rule matches port 5002 of 239.1.1.1 on this device"),
        (with_verdict(PacketVerdict.TAGGED, vlan=5), "no_rule",
         "the frame has VLAN tag 5: name the VLAN's device, such as eth0.5, in `interfaces`"),
        (with_verdict(PacketVerdict.FRAGMENT), "fragment", Drop.FRAGMENT.explanation),
        (with_verdict(PacketVerdict.MALFORMED), "malformed", Drop.MALFORMED.explanation),
        (with_verdict(PacketVerdict.OVERSIZE), "oversize", Drop.OVERSIZE.explanation),
        (with_verdict(PacketVerdict.OWN), "own", Drop.OWN.explanation),
    ],
)  # fmt: skip
def test_the_line_of_a_dropped_packet_says_why(event, reason, explanation):
    document = document_of(event)
    assert (document["verdict"], document["reason"], document["explanation"]) == (
        "dropped",
        reason,
        explanation,
    )
    assert as_comment(document) == f"rule feed: dropped: {reason} ({explanation})"


def test_a_device_that_is_gone_has_no_name():
    document = document_without_devices()
    assert document["device"] is document["outputs"][0]["device"] is None
    assert "  (a removed device)  " in as_text(document, "now")


def document_without_devices():
    return as_document(EVENT, "feed", {}, with_packet=False)


def test_a_document_has_the_vlan_number():
    assert document_of(with_verdict(PacketVerdict.TAGGED, vlan=5))["vlan"] == 5


def test_times_are_written_as_usual():
    assert format_timestamp(1) == "1970-01-01T00:00:00.000000001Z"
    assert format_timestamp(2**64 - 1).endswith(".709551615Z")
