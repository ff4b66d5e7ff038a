"""Packets of probes: what is built is read again, and garbage is nothing."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.network.probe_packets import (
    MARK_AT,
    SMALLEST_BYTES,
    Arrival,
    Heard,
    arrival,
    dns_answer,
    dns_query,
    echo_request,
    payload,
)

RUNS = st.integers(0, 2**64 - 1)
IDS = st.integers(0, 2**32 - 1)


def ip(body: bytes, protocol: int = 1, source: bytes = b"\xc6\x12\x00\x02") -> bytes:
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0)
    return head + source + b"\xc6\x12\x00\x01" + body


def error(code: int, quoted: bytes, mtu: int = 0) -> bytes:
    return ip(struct.pack(">BBHHH", 3, code, 0, 0, mtu) + quoted)


@given(RUNS, IDS, st.integers(0, 9000))
def test_an_echo_that_arrives_is_known_again(run: int, id_: int, size: int) -> None:
    packet = ip(echo_request(run, id_, 1, size))
    assert arrival(packet) == Arrival(Heard.PROBE, run, id_, max(size, SMALLEST_BYTES))
    back = packet[:20] + b"\0" + packet[21:]
    assert arrival(back) == Arrival(Heard.REPLY, run, id_, max(size, SMALLEST_BYTES))


@given(RUNS, IDS)
def test_a_datagram_and_what_routers_say_of_it(run: int, id_: int) -> None:
    packet = ip(b"\0" * 8 + payload(run, id_), 17)
    size = len(packet)
    assert arrival(packet) == Arrival(Heard.PROBE, run, id_, size)
    assert arrival(error(4, packet, 1400)) == Arrival(Heard.TOO_LARGE, run, id_, size, mtu=1400)
    for code, kind, words in (
        (3, Heard.CLOSED, "the port is closed"),
        (1, Heard.UNREACHABLE, "the host is unreachable"),
        (13, Heard.UNREACHABLE, "a filter prohibits it"),
        (14, Heard.UNREACHABLE, "unreachable, code 14"),
    ):
        said = Arrival(kind, run, id_, size, why=f"198.18.0.2 says: {words}")
        assert arrival(error(code, packet)) == said


@given(st.binary(max_size=200))
def test_what_others_send_is_nothing(data: bytes) -> None:
    assert arrival(data) is None
    assert arrival(ip(data)) is None
    assert arrival(error(3, data)) is None
    assert dns_answer(7, data[:2] + b"\x01\x00" + data[4:]) is None


def test_a_packet_that_is_cut_short_is_nothing() -> None:
    packet = ip(echo_request(1, 2, 3))
    assert arrival(packet[: MARK_AT + 4]) is None
    assert arrival(error(3, packet)[:-1]) is None


def test_names() -> None:
    query = dns_query(0x1234, "web.shop.")
    assert query == b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0\x03web\x04shop\0\0\x01\0\x01"
    assert dns_answer(0x1234, query[:2] + b"\x81\x80" + query[4:]) == "NOERROR"
    assert dns_answer(0x1234, query[:2] + b"\x81\x82" + query[4:]) == "SERVFAIL"
    assert dns_answer(0x1235, query[:2] + b"\x81\x80" + query[4:]) is None
    for bad in ("a" * 64, "web..shop", ""):
        with pytest.raises(ValueError, match="more than 63 bytes, or none"):
            dns_query(1, bad)
