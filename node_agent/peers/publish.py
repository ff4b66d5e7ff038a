"""What this node suspects, written where the leader reads it.

The keys hang on this node's session: a watcher that is gone accuses nobody. They are written when
something changed and read when a session began, and left alone otherwise.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import structlog

from shared import codec, keys
from shared.clock import Clock
from shared.errors import LeaseLostError, StoreError
from shared.model import NodeName, Revision, Silence, Suspicion
from shared.store import Compare, Delete, Op, Put, Store, under

_log = structlog.get_logger()

# Nothing is missed without it; it bounds how long a mistake of ours could last.
_PERIOD_S: Final = 60.0
# A write whose answer was lost may arrive later than it was looked for. No member of etcd that
# stood still for longer than this has not lost its leader.
_LATE_S: Final = 15.0
# Each takes a comparison too, and etcd counts both; a node has a dozen peers to watch at most.
_WRITES_MAX: Final = 60


class _Written(msgspec.Struct, frozen=True):
    """A key as it stands in the store."""

    revision: Revision
    lease: int
    suspicion: Suspicion | None


class SuspicionPublisher:
    """Keeps suspects/<node>/<me> equal to `suspicions`."""

    def __init__(
        self,
        store: Store,
        me: NodeName,
        clock: Clock,
        *,
        lease: Callable[[], int | None],
        suspicions: Callable[[], Mapping[NodeName, Silence]],
    ) -> None:
        """Prepare.

        Args:
            store: where to write.
            me: the peer that suspects.
            clock: dates what is written.
            lease: the id of the session's lease, None while there is no session.
            suspicions: what is stood by now.
        """
        self._store, self._me, self._clock = store, me, clock
        self._lease, self._suspicions = lease, suspicions
        self._written: dict[str, _Written] | None = None
        self._listed_for: int | None = None
        self._look_again_at: float | None = None
        self._since_s: dict[tuple[NodeName, Silence], float] = {}

    async def one_pass(self) -> float:
        """Make it so; return in how many seconds to look again.

        Raises:
            ConflictError, AmbiguousError, UnavailableError: as Store.txn; the next pass reads anew.
        """
        lease = self._lease()
        if lease is None:
            self._written = None  # With the lease the keys go too.
            return _PERIOD_S
        if self._look_again_at is not None and self._clock.monotonic_s() >= self._look_again_at:
            self._written, self._look_again_at = None, None
        try:
            await self._make_equal(lease)
        except LeaseLostError as error:
            _log.info("suspicions_not_written", reason=str(error))
            self._written = None
        except StoreError:
            self._written = None
            self._look_again_at = self._clock.monotonic_s() + _LATE_S
            raise
        if self._look_again_at is None:
            return _PERIOD_S
        return max(self._look_again_at - self._clock.monotonic_s(), 0.0)

    async def _make_equal(self, lease: int) -> None:
        if self._written is None or self._listed_for != lease:
            self._written, self._listed_for = await self._read(), lease
        written, wanted = self._written, self._wanted()
        gone = [key for key in written if key not in wanted]
        new = [key for key, one in wanted.items() if not _stands(written.get(key), one, lease)]
        changed = (gone + new)[:_WRITES_MAX]
        if not changed:
            return
        ops: list[Op] = [
            Put(key, codec.encode(wanted[key]), lease) if key in wanted else Delete(key)
            for key in changed
        ]
        known = [written[key].revision if key in written else Revision(0) for key in changed]
        conditions = [Compare(key, at) for key, at in zip(changed, known, strict=True)]
        revision = await self._store.txn(conditions, ops)
        _log.info("suspicions_written", keys=changed, revision=revision)
        puts = {key: _Written(revision, lease, wanted[key]) for key in changed if key in wanted}
        kept = {key: one for key, one in written.items() if key not in changed}
        self._written = {**kept, **puts}

    async def _read(self) -> dict[str, _Written]:
        """Return our own keys: those of an earlier life of this agent are ours to remove."""
        snapshot = await self._store.list(under(keys.SUSPECTS))
        own = [item for item in snapshot.items if item.key.rpartition("/")[2] == self._me]
        # One that cannot be read is ours to write: it is replaced or removed.
        return {
            item.key: _Written(
                item.mod_revision, item.lease, codec.readable(Suspicion, item.value, item.key)
            )
            for item in own
        }

    def _wanted(self) -> dict[str, Suspicion]:
        """Return key -> record; a suspicion keeps the date at which it was first seen here."""
        now_s, before = self._clock.now_s(), self._since_s
        held = self._suspicions()
        self._since_s = {pair: before.get(pair, now_s) for pair in held.items()}
        return {
            keys.suspect(node, self._me): Suspicion(
                node=node, peer=self._me, silence=silence, since_s=since_s
            )
            for (node, silence), since_s in sorted(self._since_s.items())
        }


def _stands(written: _Written | None, wanted: Suspicion, lease: int) -> bool:
    if written is None or written.suspicion is None or written.lease != lease:
        return False
    return written.suspicion.silence is wanted.silence
