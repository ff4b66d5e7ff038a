"""Websocket frames: what one end encodes the other takes, however the bytes arrive."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.lab.frames import (
    PAYLOAD_BYTES_MAX,
    Frame,
    FrameError,
    Opcode,
    accept_of,
    close_code,
    closing,
    encode,
    take,
)

SIZES = st.one_of(st.integers(0, 300), st.sampled_from([65535, PAYLOAD_BYTES_MAX]))
MASKS = st.one_of(st.just(b""), st.binary(min_size=4, max_size=4))
MESSAGES = st.lists(st.tuples(st.sampled_from(Opcode), SIZES, MASKS), max_size=4)


@given(MESSAGES, st.integers(1, 300))
def test_what_is_encoded_is_taken_whole_however_it_is_cut(
    messages: list[tuple[Opcode, int, bytes]], piece: int
) -> None:
    sent = [
        (opcode, bytes(range(251)) * (size // 251) + bytes(size % 251), mask)
        for opcode, size, mask in messages
    ]
    stream = b"".join(encode(*message) for message in sent)
    buffer, found = bytearray(), []
    step = max(piece, len(stream) // 100)
    for begin in range(0, len(stream), step):
        buffer += stream[begin : begin + step]
        while frame := take(buffer):
            found.append(frame)

    assert found == [Frame(opcode, payload, bool(mask)) for opcode, payload, mask in sent]
    assert not buffer


@given(st.binary(max_size=40))
def test_any_bytes_are_a_frame_the_beginning_of_one_or_an_error(data: bytes) -> None:
    buffer = bytearray(data)
    try:
        frame = take(buffer)
    except FrameError:
        return
    assert frame is not None or buffer == data


def test_the_answer_to_a_key_is_the_one_of_the_rfc() -> None:
    assert accept_of("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_a_masked_text_is_the_one_of_the_rfc() -> None:
    mask = bytes.fromhex("37fa213d")
    assert encode(Opcode.TEXT, b"Hello", mask).hex() == "818537fa213d7f9f4d5158"


@pytest.mark.parametrize("data", ["0100", "c100", "8300", "81ff0000000000010001"])
def test_parts_extensions_strange_kinds_and_great_sizes_are_refused(data: str) -> None:
    with pytest.raises(FrameError):
        take(bytearray.fromhex(data))


def test_a_goodbye_says_why_or_that_it_does_not_say() -> None:
    buffer = bytearray(closing(1001))
    frame = take(buffer)
    assert frame is not None
    assert close_code(frame.payload) == 1001
    assert close_code(b"") == 1005
