"""Ranges and keys as etcd has them."""

from hypothesis import example, given
from hypothesis import strategies as st

from shared.etcd.convert import prefix_end, span, to_bytes, to_text
from shared.store import exactly, under


@given(st.binary(max_size=4), st.binary(max_size=4))
@example(b"a\xff", b"b")
@example(b"\xff\xff", b"\xff\xff\xff")
def test_exactly_what_starts_with_a_prefix_lies_before_its_end(prefix: bytes, key: bytes) -> None:
    end = prefix_end(prefix)
    is_inside = key >= prefix and (end == b"\0" or key < end)

    assert is_inside == key.startswith(prefix)


def test_a_single_key_has_no_end_and_the_empty_prefix_is_everything() -> None:
    assert span(exactly("/a")) == (b"/a", b"")
    assert span(under("/a/")) == (b"/a/", b"/a0")
    assert span(under("")) == (b"\0", b"\0")


@given(st.binary(max_size=8))
def test_any_key_of_etcd_survives_the_way_there_and_back(key: bytes) -> None:
    assert to_bytes(to_text(key)) == key
