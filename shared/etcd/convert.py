"""The store's records as etcd's messages and back.

etcd has no prefixes: a range is a key and an end, and everything under a prefix ends at the prefix
with its last byte raised by one.
"""

from collections.abc import Sequence

from shared.errors import ConflictError
from shared.etcd.proto import etcd_pb2 as pb
from shared.model import Revision
from shared.store import (
    Change,
    Compare,
    Compared,
    Condition,
    Delete,
    KeyRange,
    KeyValue,
    Op,
    Unchanged,
)

# In a range_end, a zero byte means: up to the last key there is.
_NO_END = b"\0"


def to_bytes(key: str) -> bytes:
    """Return a key as etcd has it; keys that are not UTF-8 survive the way there and back."""
    return key.encode("utf-8", "surrogateescape")


def to_text(key: bytes) -> str:
    """Return etcd's key as text."""
    return key.decode("utf-8", "surrogateescape")


def span(keys: KeyRange) -> tuple[bytes, bytes]:
    """Return key and range_end of a range; an empty end means the one key."""
    first = to_bytes(keys.key)
    if not keys.is_prefix:
        return first, b""
    return first or _NO_END, prefix_end(first)


def prefix_end(prefix: bytes) -> bytes:
    """Return the first key after all those that start with `prefix`."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else _NO_END


def from_pair(pair: pb.KeyValue) -> KeyValue:
    """Return etcd's key and value as a record."""
    return KeyValue(
        to_text(pair.key),
        pair.value,
        Revision(pair.create_revision),
        Revision(pair.mod_revision),
        pair.lease,
    )


def from_event(event: pb.Event) -> Change:
    """Return one event of a watch as a change."""
    gone = event.type == pb.Event.DELETE
    return Change(to_text(event.kv.key), None if gone else from_pair(event.kv))


def to_txn(conditions: Sequence[Condition], ops: Sequence[Op]) -> pb.TxnRequest:
    """Return the transaction; when a condition fails it answers what `conflict` needs to know."""
    return pb.TxnRequest(
        compare=[_to_compare(condition) for condition in conditions],
        success=[_to_op(op) for op in ops],
        failure=[pb.RequestOp(request_range=_to_question(condition)) for condition in conditions],
    )


def conflict(conditions: Sequence[Condition], answer: pb.TxnResponse) -> ConflictError:
    """Return the error for the first condition that did not hold."""
    for condition, response in zip(conditions, answer.responses, strict=True):
        pairs = response.response_range.kvs
        error = _broken(condition, pairs[0] if pairs else None)
        if error is not None:
            return error
    raise AssertionError("etcd refused a transaction although every condition holds")


def _to_compare(condition: Condition) -> pb.Compare:
    if isinstance(condition, Unchanged):
        # Over a range, a comparison holds when it holds for every key; an empty range has 0.
        first, end = span(KeyRange(condition.prefix, is_prefix=True))
        return pb.Compare(
            key=first,
            range_end=end,
            target=pb.Compare.MOD,
            result=pb.Compare.LESS,
            mod_revision=condition.revision + 1,
        )
    compare = pb.Compare(key=to_bytes(condition.key), result=pb.Compare.EQUAL)
    match condition.what:
        case Compared.MODIFIED:
            compare.target = pb.Compare.MOD
            compare.mod_revision = condition.revision
        case Compared.CREATED:
            compare.target = pb.Compare.CREATE
            compare.create_revision = condition.revision
    return compare


def _to_question(condition: Condition) -> pb.RangeRequest:
    if isinstance(condition, Compare):
        return pb.RangeRequest(key=to_bytes(condition.key), keys_only=True)
    first, end = span(KeyRange(condition.prefix, is_prefix=True))
    return pb.RangeRequest(
        key=first,
        range_end=end,
        keys_only=True,
        limit=1,
        sort_target=pb.RangeRequest.MOD,
        sort_order=pb.RangeRequest.DESCEND,
    )


def _broken(condition: Condition, pair: pb.KeyValue | None) -> ConflictError | None:
    if isinstance(condition, Unchanged):
        if pair is None or pair.mod_revision <= condition.revision:
            return None
        return ConflictError(
            to_text(pair.key), expected=condition.revision, found=pair.mod_revision
        )
    is_created = condition.what is Compared.CREATED
    found = 0
    if pair is not None:
        found = pair.create_revision if is_created else pair.mod_revision
    if found == condition.revision:
        return None
    return ConflictError(condition.key, expected=condition.revision, found=found)


def _to_op(op: Op) -> pb.RequestOp:
    if isinstance(op, Delete):
        return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=to_bytes(op.key)))
    return pb.RequestOp(
        request_put=pb.PutRequest(key=to_bytes(op.key), value=op.value, lease=op.lease)
    )
