"""Bytes to record and back. JSON, so that `etcdctl get` shows a person what is there.

Pure. Unknown fields are ignored (rolling upgrades); a wrong type is a CodecError that names the
path.
"""

from typing import TypeVar

import msgspec

from shared.errors import CodecError
from shared.model import Record

R = TypeVar("R", bound=Record)

_ENCODER = msgspec.json.Encoder(order="deterministic")


def encode(record: Record) -> bytes:
    """Return the record as JSON with keys in a fixed order: equal records give equal bytes."""
    try:
        return _ENCODER.encode(record)
    except TypeError:
        # A mapping has numbers as keys: the encoder orders none but texts.
        plain = msgspec.to_builtins(record, str_keys=True, order="deterministic")
        return msgspec.json.encode(plain)


def decode(kind: type[R], value: bytes, where: str) -> R:
    """Return `value` as a `kind`.

    Args:
        kind: the record type that is expected.
        value: JSON.
        where: key or peer, for the error message.

    Raises:
        CodecError: not JSON, or a field has the wrong type.
    """
    try:
        return msgspec.json.decode(value, type=kind)
    except msgspec.DecodeError as error:
        raise CodecError(where, str(error)) from error


def readable(kind: type[R], value: bytes, where: str) -> R | None:
    """Return `value` as a `kind`, as `decode` does; None: it cannot be read.

    For records that are somebody else's to complain of, or are written anew anyway.
    """
    try:
        return decode(kind, value, where)
    except CodecError:
        return None
