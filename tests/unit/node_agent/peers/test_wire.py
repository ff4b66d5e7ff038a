"""Datagrams: what is said arrives, and nothing else is ever taken for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.peers.wire import DATAGRAM_BYTES, Datagram, Kind, decode, encode
from shared.model import NodeName

senders = (
    st.text(min_size=1, max_size=64)
    .filter(lambda name: "\0" not in name and all(not "\ud800" <= c <= "\udfff" for c in name))
    .filter(lambda name: len(name.encode()) <= 64)
    .map(NodeName)
)
datagrams = st.builds(
    Datagram,
    kind=st.sampled_from(Kind),
    nonce=st.integers(0, 2**64 - 1),
    sender=senders,
    has_session=st.booleans(),
    hold_s=st.integers(0, 10**6).map(lambda ms: ms / 1000),
)


@given(datagrams)
def test_what_is_said_arrives(said: Datagram) -> None:
    assert decode(encode(said)) == said


@given(datagrams)
def test_no_datagram_is_longer_than_another(said: Datagram) -> None:
    assert len(encode(said)) == DATAGRAM_BYTES


@given(st.binary(max_size=200) | st.binary(min_size=DATAGRAM_BYTES, max_size=DATAGRAM_BYTES))
def test_garbage_is_nothing(data: bytes) -> None:
    assert decode(data) is None


@given(datagrams, st.integers(0, DATAGRAM_BYTES - 1), st.integers(0, 255))
def test_one_changed_byte_gives_nothing_or_another_sound_datagram(
    said: Datagram, at: int, value: int
) -> None:
    data = bytearray(encode(said))
    data[at] = value
    found = decode(bytes(data))
    assert found is None or encode(found) == bytes(data)


@given(datagrams)
def test_another_version_is_nothing(said: Datagram) -> None:
    data = bytearray(encode(said))
    data[3] += 1
    assert decode(bytes(data)) is None


@pytest.mark.parametrize("name", ["", "a" * 65, "a\0b"])
def test_a_name_that_has_no_place_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="must have 1 to 64 bytes"):
        encode(Datagram(Kind.PING, 1, NodeName(name)))


@given(datagrams, st.sampled_from([4, 5]), st.integers(6, 255))
def test_a_kind_or_a_flag_that_this_version_does_not_know_is_nothing(
    said: Datagram, at: int, value: int
) -> None:
    data = bytearray(encode(said))
    data[at] = value
    assert decode(bytes(data)) is None
