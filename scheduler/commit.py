"""A plan becomes etcd transactions.

Fenced, each write conditional on the revision it was decided at.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import structlog

from scheduler.plan import Write
from shared import codec, keys
from shared.backoff import Rng
from shared.clock import Clock
from shared.election import Fence, fenced_txn
from shared.errors import AmbiguousError, LeaseLostError, UnavailableError
from shared.model import DOCUMENT_BYTES_MAX, Event, Revision
from shared.store import TXN_OPS_MAX, Compare, Delete, Op, Put, Store

_log = structlog.get_logger()

# Two below etcd's limit, and small enough that one request stays under etcd's 1.5 MiB for usual
# documents.
_WRITES_MAX: Final = 100
_REQUEST_BYTES_MAX: Final = DOCUMENT_BYTES_MAX
# The story of the last hour; renewed by a new lease every tenth of it.
EVENT_TTL_S: Final = 3600.0
_EVENT_LEASE_USED_S: Final = EVENT_TTL_S / 10
_EVENTS_MAX: Final = 100


async def commit(store: Store, fence: Fence, writes: Sequence[Write]) -> Revision:
    """Write `writes`, in as few transactions as fit; return the last revision.

    Raises:
        FencedError: we no longer lead; stop.
        ConflictError, AmbiguousError: read and decide again; earlier transactions may be in.
        UnavailableError: nothing of the transaction in hand was written.
    """
    revision = Revision(0)
    for chunk in _chunks(writes):
        conditions = [Compare(write.key, write.decided_at) for write, _ in chunk]
        revision = await fenced_txn(store, fence, conditions, [op for _, op in chunk])
        for write, _ in chunk:
            _log.info("written", key=write.key, revision=revision, reasons=list(write.reasons))
    return revision


def _chunks(writes: Iterable[Write]) -> Iterable[list[tuple[Write, Op]]]:
    chunk: list[tuple[Write, Op]] = []
    size = 0
    for write in writes:
        op = _op(write)
        if op is None:
            continue
        cost = len(op.value) if isinstance(op, Put) else 0
        if chunk and (len(chunk) == _WRITES_MAX or size + cost > _REQUEST_BYTES_MAX):
            yield chunk
            chunk, size = [], 0
        chunk.append((write, op))
        size += cost
    if chunk:
        yield chunk


def _op(write: Write) -> Op | None:
    """Return the write as an operation; None if the document is too large to be stored.

    Placement and the API keep documents small enough. Should one grow past the limit all the same,
    the leader goes on with the others: failing over the rest matters more.
    """
    if write.record is None:
        return Delete(write.key)
    value = codec.encode(write.record)
    if len(value) > DOCUMENT_BYTES_MAX:
        _log.error(
            "document_too_large", key=write.key, bytes=len(value), bytes_max=DOCUMENT_BYTES_MAX
        )
        return None
    return Put(write.key, value)


class Storyteller:
    """Writes events under leases that end by themselves.

    A lost event is lost: nothing depends on it.
    """

    def __init__(self, store: Store, clock: Clock, rng: Rng) -> None:
        self._store, self._clock, self._rng = store, clock, rng
        self._lease = 0
        self._granted_at = 0.0
        self._count = 0

    async def tell(self, events: Sequence[Event]) -> None:
        """Append `events` to the story."""
        if not events:
            return
        try:
            lease = await self._current_lease()
            ops = [self._put(event, lease) for event in events[:_EVENTS_MAX]]
            await self._store.txn([], ops)
        except (UnavailableError, AmbiguousError, LeaseLostError) as error:
            # Whatever became of the lease, the next event gets a new one.
            self._lease = 0
            _log.warning("events_lost", count=len(events), reason=str(error))

    def _put(self, event: Event, lease: int) -> Put:
        self._count += 1
        salt = int(self._rng.random() * 0xFFFFFF)
        id_ = f"{int(event.at_s * 1000):014d}-{self._count:06d}-{salt:06x}"
        return Put(keys.event(id_), codec.encode(event), lease)

    async def _current_lease(self) -> int:
        now = self._clock.monotonic_s()
        if not self._lease or now - self._granted_at > _EVENT_LEASE_USED_S:
            self._lease = await self._store.grant_for(EVENT_TTL_S)
            self._granted_at = now
        return self._lease


assert _WRITES_MAX < TXN_OPS_MAX, "the fence is compared beside the writes"
