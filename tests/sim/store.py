"""A part's client of the store: its accepted writes are checked; and the bugs it can be given."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from shared import codec, keys
from shared.errors import ConflictError
from shared.model import NodeName, Revision, Suspicion
from shared.store import Compare, Compared, Condition, Delete, Op, Put, under
from tests.fakes.etcd import Feed
from tests.fakes.store import FakeStore
from tests.sim.bugs import Bug
from tests.sim.loop import VirtualClock

if TYPE_CHECKING:
    from tests.sim.cluster import SimCluster

# No run writes as often.
_NEVER: Final = 1_000_000_000


class SimStore(FakeStore):
    """A client whose writes are checked, and which may be wrong on purpose."""

    def __init__(self, cluster: "SimCluster", name: str, clock: VirtualClock) -> None:
        super().__init__(cluster.server, name, clock)
        self._checkers, self._bug = cluster.checkers, cluster.made.bug
        self._opened: dict[Feed, None] = {}

    def _write(
        self, conditions: Sequence[Condition], ops: Sequence[Op]
    ) -> Revision | ConflictError:
        if self._bug is Bug.NO_CLAIM and any(op.key.startswith(keys.CLAIMS) for op in ops):
            return Revision(_NEVER)
        answer = super()._write(*self._spoilt(conditions, ops))
        if not isinstance(answer, ConflictError):
            self._checkers.wrote(self.name, conditions, ops)
        return answer

    def _spoilt(
        self, conditions: Sequence[Condition], ops: Sequence[Op]
    ) -> tuple[Sequence[Condition], Sequence[Op]]:
        """Return what a client with the planted bug sends instead."""
        if self._bug is Bug.NO_FENCE:
            conditions = [each for each in conditions if not _is_fence(each)]
        if self._bug is Bug.ONE_WATCHER:
            ops = [*ops, *self._echoes(ops)]
        return conditions, ops

    def _echoes(self, ops: Sequence[Op]) -> list[Op]:
        """Return what makes one watcher's suspicion, or its end, look like everybody's."""
        specs = self.server.list(under(keys.NODES)).items
        names = [NodeName(item.key.split("/")[-2]) for item in specs if item.key.endswith("/spec")]
        echoes: list[Op] = []
        for op in ops:
            if op.key.startswith(keys.SUSPECTS):
                node, peer = map(NodeName, op.key.split("/")[-2:])
                others = [name for name in names if name not in {node, peer}]
                echoes += [_echo(op, node, other) for other in others]
        return echoes

    def _open(self, feed: Feed, after: Revision) -> None:
        if self._bug is Bug.LATE_WATCH and feed in self._opened:
            after = Revision(after + 1)
        self._opened[feed] = None
        super()._open(feed, after)


def _is_fence(condition: Condition) -> bool:
    return isinstance(condition, Compare) and condition.what is Compared.CREATED


def _echo(op: Op, node: NodeName, peer: NodeName) -> Op:
    key = keys.suspect(node, peer)
    if isinstance(op, Delete):
        return Delete(key)
    said = codec.decode(Suspicion, op.value, op.key)
    return Put(key, codec.encode(msgspec.structs.replace(said, peer=peer)), op.lease)
