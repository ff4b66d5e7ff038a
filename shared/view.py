"""What a range of keys holds, as far as it is known: whoever reads etcd reads it here.

Pure. `shared.mirror` keeps one equal to etcd.
"""

from collections.abc import Callable, Mapping

from shared.keys import range_of
from shared.model import Revision
from shared.store import Batch, KeyValue, Snapshot


class View:
    """What a range held at `revision`; `revision` is 0 until it was listed once.

    It does not know whether the store can be reached now: a watch is silent while it cannot.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.revision = Revision(0)
        self._items: dict[str, KeyValue] = {}
        self._ranges: dict[str, dict[str, KeyValue]] = {}
        self._stamps: dict[str, int] = {}
        self._on_change = on_change

    @property
    def items(self) -> Mapping[str, KeyValue]:
        """Return the keys now; do not keep it across an await."""
        return self._items

    def range(self, name: str) -> Mapping[str, KeyValue]:
        """Return the keys of one of the ranges in shared.keys, without a look at all the others."""
        return self._ranges.get(name, {})

    def stamp(self, name: str) -> int:
        """Return a number that is another one once something in a range has changed."""
        return self._stamps.get(name, 0)

    @property
    def stamps(self) -> Mapping[str, int]:
        """Return the stamps of all ranges in which there ever was something."""
        return self._stamps

    def replace(self, snapshot: Snapshot) -> None:
        """Become the snapshot."""
        for name in self._ranges:
            self._touch(name)
        self._items, self._ranges = {}, {}
        for item in snapshot.items:
            self._put(item)
        self.revision = snapshot.revision
        self._on_change()

    def apply(self, batch: Batch) -> None:
        """Apply one batch; a change at or below what is known already is dropped."""
        for change in batch.changes:
            if change.now is not None:
                self._put(change.now)
            elif self._items.pop(change.key, None) is not None:
                name = range_of(change.key)
                del self._ranges[name][change.key]
                self._touch(name)
        self.revision = max(self.revision, batch.revision)
        if batch.changes:
            self._on_change()

    def _put(self, item: KeyValue) -> None:
        self._items[item.key] = item
        name = range_of(item.key)
        self._ranges.setdefault(name, {})[item.key] = item
        self._touch(name)

    def _touch(self, name: str) -> None:
        self._stamps[name] = self._stamps.get(name, 0) + 1
