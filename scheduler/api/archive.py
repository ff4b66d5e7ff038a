"""What is kept beside a stack: the generations before it, and its configs' and secrets' contents.

Both are written before the stack that needs them and deleted after the one that no longer does, on
condition that nobody has written the stack since: what a stored stack names is always there.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import structlog

from shared import codec, keys
from shared.errors import AmbiguousError, CodecError, ConflictError, SpecError
from shared.model import (
    DOCUMENT_BYTES_MAX,
    Content,
    Revision,
    ServiceSpec,
    Stack,
    StackName,
)
from shared.store import Compare, Delete, KeyValue, Put, Store, under

_log = structlog.get_logger()

# A rollback further back than this is a deploy of an old file.
HISTORY_MAX: Final = 25
# Below etcd's limit of operations, with room for conditions.
_OPS_MAX: Final = 100

# Seals bytes for a key of etcd, with the cluster's key.
Seal = Callable[[str, bytes], bytes]


class Archive:
    """The generations and contents of stacks. `seal` None: this host has no key to seal with."""

    def __init__(self, store: Store, seal: Seal | None) -> None:
        self._store, self._seal = store, seal

    async def past(self, name: StackName) -> tuple[Stack, ...]:
        """Return the generations that are kept of a stack, the oldest first."""
        return past((await self._store.list(under(history_prefix(name)))).items)

    async def keep(self, stack: Stack, item: KeyValue) -> None:
        """Put a stack into the history, as it is stored, before another takes its place.

        Raises:
            ConflictError: it is not stored any more.
        """
        key = keys.history(stack.name, stack.generation)
        try:
            await self._store.txn([Compare(item.key, item.mod_revision)], [Put(key, item.value)])
        except AmbiguousError as error:
            # Whoever begins anew writes the same again.
            raise ConflictError(item.key, expected=item.mod_revision, found=0) from error

    async def store(
        self, name: StackName, services: Sequence[ServiceSpec], contents: Mapping[str, bytes]
    ) -> list[Compare]:
        """Make sure that every content that services name is stored.

        Returns:
            The conditions under which a stack with these services may be written.

        Raises:
            SpecError: one is neither there nor sent, or cannot be sealed here.
            ConflictError: whether they were written is not known; begin anew.
        """
        named = contents_of(services)
        if not named:
            return []
        there = await self._contents({one.partition("/")[0] for one in named})
        missing = sorted(one for one in named if keys.content(one) not in there)
        for one in missing:
            if one not in contents:
                raise SpecError(f"config or secret {one}: it is neither stored nor sent along")
        for chunk in _chunks([self._put(one, contents[one]) for one in missing]):
            try:
                revision = await self._store.txn([], chunk)
            except AmbiguousError as error:
                raise ConflictError(keys.stack(name), expected=0, found=0) from error
            there |= {op.key: revision for op in chunk}
        return [Compare(key, there[key]) for key in sorted(map(keys.content, named))]

    async def _contents(self, stacks: Iterable[str]) -> dict[str, Revision]:
        """Return the stacks' contents by key, with the revisions they were written at."""
        lists = [await self._store.list(under(f"{keys.CONTENTS}{one}/")) for one in sorted(stacks)]
        return {item.key: item.mod_revision for found in lists for item in found.items}

    def _put(self, name: str, plain: bytes) -> Put:
        if self._seal is None:
            raise SpecError(
                f"config or secret {name}: this scheduler has no key to seal it with; "
                "name the cluster's key in its host's settings"
            )
        where = keys.content(name)
        return Put(where, codec.encode(Content(sealed=self._seal(where, plain))))

    async def sweep(self, stack: Stack, revision: Revision) -> None:
        """Delete what neither the stack, written at `revision`, nor its history needs any more.

        What cannot be deleted now is deleted after the next deploy.
        """
        kept = await self._store.list(under(history_prefix(stack.name)))
        new = [item for item in kept.items if item.key < keys.history(stack.name, stack.generation)]
        stale = {item.key for item in kept.items} - {item.key for item in new[-HISTORY_MAX:]}
        needed = contents_of(stack.services)
        for item in new[-HISTORY_MAX:]:
            try:
                needed |= contents_of(codec.decode(Stack, item.value, item.key).services)
            except CodecError as error:
                _log.warning("history_unreadable", key=item.key, reason=str(error))
                return  # Nobody knows what it needs.
        stored = await self._store.list(under(f"{keys.CONTENTS}{stack.name}/"))
        unused = {item.key for item in stored.items} - set(map(keys.content, needed))
        await self._delete(stack.name, [*sorted(stale), *sorted(unused)], revision)

    async def clear(self, name: StackName) -> None:
        """Delete all that was kept of a stack that is removed."""
        for prefix in (history_prefix(name), f"{keys.CONTENTS}{name}/"):
            found = await self._store.list(under(prefix))
            await self._delete(name, [item.key for item in found.items], Revision(0))

    async def _delete(self, name: StackName, found: Iterable[str], revision: Revision) -> None:
        left = list(found)
        while left:
            chunk, left = left[:_OPS_MAX], left[_OPS_MAX:]
            condition = Compare(keys.stack(name), revision)
            await self._store.txn([condition], [Delete(key) for key in chunk])


def history_prefix(name: StackName) -> str:
    """Return the prefix of a stack's history."""
    return f"{keys.HISTORY}{name}/"


def past(items: Iterable[KeyValue]) -> tuple[Stack, ...]:
    """Return the stacks at keys of a history, in order; what cannot be read is left out."""
    found: list[Stack] = []
    for item in items:
        try:
            found.append(codec.decode(Stack, item.value, item.key))
        except CodecError as error:
            _log.warning("history_unreadable", key=item.key, reason=str(error))
    return tuple(sorted(found, key=lambda stack: stack.generation))


def contents_of(services: Iterable[ServiceSpec]) -> set[str]:
    """Return the names of the contents that services mount."""
    return {file.content for spec in services for file in spec.workload.files}


def _chunks(puts: Iterable[Put]) -> Iterable[list[Put]]:
    """Cut writes into transactions that etcd takes."""
    chunk: list[Put] = []
    size = 0
    for put in puts:
        if chunk and (len(chunk) == _OPS_MAX or size + len(put.value) > DOCUMENT_BYTES_MAX):
            yield chunk
            chunk, size = [], 0
        chunk.append(put)
        size += len(put.value)
    if chunk:
        yield chunk
