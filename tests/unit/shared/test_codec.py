"""Records to bytes and back: the same record, the same bytes, and a clear word when it is none."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import codec
from shared.errors import CodecError
from shared.model import (
    AllocationStatus,
    AllocId,
    Endpoint,
    Health,
    Leader,
    NodeName,
    Record,
    Report,
    Resources,
    Revision,
    StackName,
)
from shared.states import AllocState

numbers = st.integers(min_value=0, max_value=2**53)
words = st.text(max_size=8)
statuses = st.builds(
    AllocationStatus,
    id=words.map(AllocId),
    state=st.sampled_from(AllocState),
    health=st.sampled_from(Health),
    reason=words,
    exit_code=st.none() | st.integers(0, 255),
)
reports = st.builds(
    Report,
    node=words.map(NodeName),
    capacity=st.builds(Resources, cpu_millis=numbers, memory_bytes=numbers),
    allocations=st.lists(statuses, max_size=3).map(tuple),
    acked=st.dictionaries(words.map(StackName), numbers.map(Revision), max_size=3),
)


class Newer(Record, frozen=True, kw_only=True):
    """A Leader as a later version may write it."""

    node: NodeName
    since_s: float = 0.0
    motto: str = ""


@given(reports)
def test_a_record_survives_the_way_there_and_back(report: Report) -> None:
    assert codec.decode(Report, codec.encode(report), "key") == report


@given(st.permutations([8080, 90, 443]))
def test_a_mapping_of_numbers_is_a_record_like_any_other(order: list[int]) -> None:
    ends = [
        Endpoint(
            allocation=AllocId("shop.web.1.a"),
            node=NodeName("node-1"),
            address="198.19.1.2",
            targets={number: number + 1 for number in numbers_},
        )
        for numbers_ in (order, sorted(order))
    ]
    one, other = map(codec.encode, ends)
    assert one == other
    assert codec.decode(Endpoint, one, "key") == ends[0]


@given(st.permutations(["a", "b", "c"]))
def test_equal_records_are_equal_bytes(order: list[str]) -> None:
    report = Report(
        node=NodeName("n"),
        capacity=Resources(),
        acked={StackName(name): Revision(1) for name in order},
    )
    same = Report(
        node=NodeName("n"),
        capacity=Resources(),
        acked={StackName(name): Revision(1) for name in sorted(order)},
    )

    assert codec.encode(report) == codec.encode(same)


def test_a_field_that_a_later_version_added_is_ignored() -> None:
    value = codec.encode(Newer(node=NodeName("n"), motto="onwards"))

    assert codec.decode(Leader, value, "key") == Leader(node=NodeName("n"))


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b'{"node": 7}', r"\$\.node"),
        (b'{"since_s": 1.0}', "node"),
        (b'{"node": "n", "since_s": "x"}', r"\$\.since_s"),
        (b"\xff\xfe", "malformed"),
    ],
)
def test_bytes_that_are_no_record_are_refused_with_key_and_path(value: bytes, why: str) -> None:
    with pytest.raises(CodecError, match=why) as caught:
        codec.decode(Leader, value, "/some/key")

    assert caught.value.where == "/some/key"
    assert str(caught.value).startswith("/some/key: ")


@given(st.binary(max_size=40))
def test_any_bytes_are_a_record_or_a_codec_error(value: bytes) -> None:
    try:
        found = codec.decode(Leader, value, "key")
    except CodecError:
        return
    assert isinstance(found, msgspec.Struct)
