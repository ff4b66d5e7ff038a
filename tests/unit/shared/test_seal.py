"""Sealing: what was sealed comes back only with the same key, under the same name, unchanged."""

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.errors import HostError, SealError
from shared.seal import KEY_BYTES, NONCE_BYTES, read_key, seal, unseal

KEYS = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)
NONCES = st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES)
NAMES = st.from_regex(r"[a-z]{1,8}/[a-z]{1,8}/[0-9a-f]{8}", fullmatch=True)
PLAIN = st.binary(max_size=200)


@given(KEYS, NAMES, PLAIN, NONCES)
def test_what_was_sealed_comes_back(key: bytes, name: str, plain: bytes, nonce: bytes) -> None:
    sealed = seal(key, name, plain, nonce)
    assert unseal(key, name, sealed) == plain
    assert len(plain) < 8 or plain not in sealed[NONCE_BYTES:]


@given(KEYS, KEYS, NAMES, PLAIN, NONCES)
def test_another_key_opens_nothing(
    key: bytes, other: bytes, name: str, plain: bytes, nonce: bytes
) -> None:
    assume(key != other)
    with pytest.raises(SealError, match="same \\[secrets\\] key"):
        unseal(other, name, seal(key, name, plain, nonce))


@given(KEYS, NAMES, NAMES, PLAIN, NONCES)
def test_what_is_sealed_under_one_name_does_not_open_under_another(
    key: bytes, name: str, other: str, plain: bytes, nonce: bytes
) -> None:
    assume(name != other)
    with pytest.raises(SealError, match=other):
        unseal(key, other, seal(key, name, plain, nonce))


@given(KEYS, NAMES, PLAIN, NONCES, st.data())
def test_one_changed_bit_is_noticed(
    key: bytes, name: str, plain: bytes, nonce: bytes, data: st.DataObject
) -> None:
    sealed = bytearray(seal(key, name, plain, nonce))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(SealError):
        unseal(key, name, bytes(sealed))


@given(KEYS, NAMES, st.binary(max_size=40))
def test_any_bytes_are_refused_without_a_traceback(key: bytes, name: str, junk: bytes) -> None:
    with pytest.raises(SealError):
        unseal(key, name, junk)


def test_a_key_is_read_whole_and_only_from_a_file_of_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "secrets.key"
    with pytest.raises(HostError, match=r"No such file.* key of 32 bytes there, the same on every"):
        read_key(path)
    for size in (0, KEY_BYTES - 1, KEY_BYTES + 1):
        path.write_bytes(b"k" * size)
        path.chmod(0o600)
        with pytest.raises(HostError, match="bytes; the cluster's key has 32"):
            read_key(path)
    path.write_bytes(b"k" * KEY_BYTES)
    assert read_key(path) == b"k" * KEY_BYTES
    path.chmod(0o640)
    with pytest.raises(HostError, match=f"chmod 600 {path}"):
        read_key(path)
