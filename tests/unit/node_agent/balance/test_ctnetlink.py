"""The kernel's messages about connections: read as another library writes them."""

import socket
import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple, nfct_msg

from node_agent.balance.ctnetlink import MalformedError, ask, forget, is_found, read
from node_agent.balance.flows import TCP, UDP, Entrance, Flow

DONE = struct.pack("=IHHIIi", 20, 3, 0, 0, 0, 0)
_ends = st.one_of(
    st.tuples(*[st.ip_addresses(v=4).map(str)] * 3),
    st.tuples(*[st.ip_addresses(v=6).map(str)] * 3),
)
_ports = st.integers(0, 65535)


def message(family: int, type_: int = 0x0100, **attributes: Any) -> bytes:
    """Return a message as pyroute2 writes it."""
    one = nfct_msg.create_from(**attributes)
    one["nfgen_family"] = family
    one["header"]["type"] = type_
    one.encode()
    return bytes(one.data)


def parsed(data: bytes) -> Any:
    """Return a message as pyroute2 reads it."""
    one = nfct_msg(data)
    one.decode()
    return one


def connection(protocol: int, ports: tuple[int, int], addresses: tuple[str, str, str]) -> bytes:
    source, to, reply = addresses
    state = {"attrs": [["CTA_PROTOINFO_TCP", {"attrs": [["CTA_PROTOINFO_TCP_STATE", 3]]}]]}
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    return message(
        family,
        tuple_orig=NFCTAttrTuple(
            family, saddr=source, daddr=to, proto=protocol, sport=ports[0], dport=ports[1]
        ),
        tuple_reply=NFCTAttrTuple(
            family, saddr=reply, daddr=source, proto=protocol, sport=ports[1], dport=ports[0]
        ),
        protoinfo=state if protocol == TCP else None,
        mark=7,
        id=99,
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from((TCP, UDP)),
            st.tuples(_ports, _ports),
            _ends,
        ),
        max_size=3,
    )
)
def test_connections_are_read_as_they_were_written(
    given_flows: list[tuple[int, tuple[int, int], tuple[str, str, str]]],
) -> None:
    flows, is_last = read(b"".join(connection(*one) for one in given_flows) + DONE)
    assert is_last
    assert [
        (
            one.protocol,
            (one.source_port, one.to_port),
            (one.source, one.to, one.reply_source),
        )
        for one in flows
    ] == given_flows
    assert all(one.state == (3 if one.protocol == TCP else 0) for one in flows)


@pytest.mark.parametrize(
    ("family", "ends"),
    [
        (socket.AF_INET, ("198.19.1.2", "198.18.200.1", "198.19.2.2")),
        (socket.AF_INET6, ("fd00:68::c613:102", "fd00:68::c612:c801", "fd00:68::c613:202")),
    ],
)
def test_what_is_to_be_forgotten_is_named_as_the_kernel_named_it(
    family: socket.AddressFamily, ends: tuple[str, str, str]
) -> None:
    (flow,), _ = read(connection(UDP, (4000, 53), ends))
    asked = parsed(forget(flow))
    assert (asked["header"]["type"], asked["nfgen_family"]) == (0x0102, family)
    assert asked.get_attr("CTA_ID") == 99
    there = NFCTAttrTuple.from_netlink(family, asked.get_attr("CTA_TUPLE_ORIG"))
    found = (there.saddr, there.daddr, there.proto, there.sport, there.dport)
    assert found == (*ends[:2], UDP, 4000, 53)


def test_the_kernel_is_asked_for_one_entrance() -> None:
    asked = parsed(ask(Entrance(address="198.18.200.1"), socket.AF_INET))
    there = asked.get_attr("CTA_TUPLE_ORIG").get_attr("CTA_TUPLE_IP")
    assert there.get_attr("CTA_IP_V4_DST") == "198.18.200.1"
    for family in (socket.AF_INET, socket.AF_INET6):
        asked = parsed(ask(Entrance(protocol="udp", port=53), family))
        assert asked["nfgen_family"] == family
        there = asked.get_attr("CTA_TUPLE_ORIG").get_attr("CTA_TUPLE_PROTO")
        assert (there.get_attr("CTA_PROTO_NUM"), there.get_attr("CTA_PROTO_DST_PORT")) == (UDP, 53)


def test_the_kernel_cannot_be_asked_for_an_address_of_ipv6() -> None:
    entrances = (
        Entrance(address="198.18.200.1"),
        Entrance(address="fd00:68::c612:c801"),
        Entrance(protocol="udp", port=53),
    )
    assert [is_found(one) for one in entrances] == [True, False, True]


@given(st.binary(max_size=200))
@example(connection(UDP, (1, 2), ("198.19.1.2", "198.18.200.1", "198.19.2.2"))[:-3])
@example(struct.pack("=IHHII", 16, 2, 0, 0, 0))
def test_garbage_is_refused_or_ignored(data: bytes) -> None:
    try:
        flows, _ = read(data)
    except (MalformedError, OSError):
        return
    assert all(isinstance(flow, Flow) for flow in flows)


def test_the_kernels_refusal_is_an_error() -> None:
    with pytest.raises(OSError, match="conntrack") as refused:
        read(struct.pack("=IHHIIi", 20, 2, 0, 0, 0, -1))
    assert refused.value.errno == 1
