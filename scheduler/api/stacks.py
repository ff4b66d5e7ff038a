"""Storing and removing stacks: every write is conditional on what was checked.

A deploy compares the stack's own key and that no stack was written since all were read, so that two
deploys at the same moment cannot both take a port: the loser reads again and checks again.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from scheduler.api import checks
from shared import codec, keys
from shared.api import Accepted, StackUpload
from shared.backoff import Rng, backoff_s
from shared.clock import Clock
from shared.errors import (
    AmbiguousError,
    CodecError,
    ConflictError,
    NotFoundError,
    UnavailableError,
)
from shared.model import Revision, Stack, StackName
from shared.store import (
    Compare,
    Condition,
    Delete,
    KeyValue,
    Put,
    Snapshot,
    Store,
    Unchanged,
    under,
)

# Each lost race means that somebody else's deploy went through; ten in a row is a crowd.
ATTEMPTS_MAX: Final = 10
_RETRY_BASE_S: Final = 0.01
_NAMES_SHOWN_MAX: Final = 20


class Stored(msgspec.Struct, frozen=True):
    """All stacks as one read found them. `revision` is the read's."""

    items: Mapping[StackName, KeyValue]
    revision: Revision

    def revision_of(self, name: StackName) -> Revision:
        """Return the revision that a stack was written at; 0 if there is none."""
        item = self.items.get(name)
        return item.mod_revision if item is not None else Revision(0)

    def read(self, name: StackName) -> Stack | None:
        """Return a stack, or None.

        Raises:
            CodecError: it is there, but cannot be read.
        """
        item = self.items.get(name)
        return codec.decode(Stack, item.value, item.key) if item is not None else None


class Stacks:
    """Writes the stacks' keys, on behalf of clients of the API.

    Args:
        store: where they are.
        clock: for the time of a deploy and the pauses between attempts.
        rng: jitter of those pauses.
        generation_of: the newest generation of a stack that any node still runs, so that a stack
            that was removed and comes again does not count from 1 beside its own past.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        rng: Rng,
        generation_of: Callable[[StackName], int],
    ) -> None:
        self._store, self._clock, self._rng = store, clock, rng
        self._generation_of = generation_of

    async def deploy(self, name: StackName, upload: StackUpload) -> Accepted:
        """Store a stack; one that is stored already, word for word, is not written again.

        Raises:
            SpecError: it cannot run as it is.
            ConflictError: others kept winning the race.
            StoreError: nothing was written; after an AmbiguousError it may have been.
        """
        return await self._again(lambda: self._deploy(name, upload))

    async def remove(self, name: StackName) -> Accepted:
        """Remove a stack; what it runs is then stopped by the leader.

        Raises:
            NotFoundError: there is no such stack; says which there are.
            ConflictError, StoreError: as `deploy`.
        """
        return await self._again(lambda: self._remove(name))

    async def _again(self, write: Callable[[], Awaitable[Accepted]]) -> Accepted:
        for attempt in range(1, ATTEMPTS_MAX):
            try:
                return await write()
            except ConflictError:
                # Decided on what is no longer so: read again, check again.
                await self._clock.sleep(backoff_s(attempt, self._rng, base_s=_RETRY_BASE_S))
        return await write()

    async def _deploy(self, name: StackName, upload: StackUpload) -> Accepted:
        stored = _stored(await self._store.list(under(keys.STACKS)))
        others = {other: stack for other in stored.items if (stack := stored.read(other))}
        checks.check(name, upload, others)
        before = others.get(name)
        if before is not None and (before.services, before.source) == (
            upload.services,
            upload.source,
        ):
            return Accepted(
                stack=name, generation=before.generation, revision=stored.revision_of(name)
            )
        known = max(before.generation if before is not None else 0, self._generation_of(name))
        stack = Stack(
            name=name,
            generation=known + 1,
            services=upload.services,
            source=upload.source,
            deployed_at_s=self._clock.now_s(),
        )
        return await self._put(stack, stored)

    async def _put(self, stack: Stack, stored: Stored) -> Accepted:
        value = codec.encode(stack)
        checks.check_size(stack, len(value))
        key = keys.stack(stack.name)
        conditions: list[Condition] = [
            Compare(key, stored.revision_of(stack.name)),
            Unchanged(keys.STACKS, stored.revision),
        ]
        try:
            revision = await self._store.txn(conditions, [Put(key, value)])
        except AmbiguousError as error:
            found = (await self._read_back(stack.name, error)).items.get(stack.name)
            if found is None or found.value != value:
                raise ConflictError(
                    key,
                    expected=stored.revision_of(stack.name),
                    found=found.mod_revision if found is not None else 0,
                ) from error
            revision = found.mod_revision
        return Accepted(stack=stack.name, generation=stack.generation, revision=revision)

    async def _remove(self, name: StackName) -> Accepted:
        stored = _stored(await self._store.list(under(keys.STACKS)))
        item = stored.items.get(name)
        if item is None:
            raise NotFoundError(no_stack(name, stored.items))
        key = keys.stack(name)
        try:
            revision = await self._store.txn([Compare(key, item.mod_revision)], [Delete(key)])
        except AmbiguousError as error:
            after = await self._read_back(name, error)
            if name in after.items:
                raise ConflictError(
                    key, expected=item.mod_revision, found=after.revision_of(name)
                ) from error
            revision = after.revision
        return Accepted(stack=name, generation=_generation(item), revision=revision)

    async def _read_back(self, name: StackName, error: AmbiguousError) -> Stored:
        try:
            return _stored(await self._store.list(under(keys.STACKS)))
        except UnavailableError as again:
            raise AmbiguousError(
                f"etcd went away in the middle of the write: whether the change of stack {name} is "
                f"stored is not known; `hafen ls` says it once etcd is back ({error})"
            ) from again


def _stored(snapshot: Snapshot) -> Stored:
    return Stored(
        {StackName(item.key.removeprefix(keys.STACKS)): item for item in snapshot.items},
        snapshot.revision,
    )


def _generation(item: KeyValue) -> int:
    """Return a stored stack's generation; removing must work on a record that nobody can read."""
    try:
        return codec.decode(Stack, item.value, item.key).generation
    except CodecError:
        return 0


def no_stack(name: str, known: Mapping[StackName, object]) -> str:
    """Return the sentence for a stack that does not exist, with those that do."""
    names = sorted(known)
    shown = ", ".join(names[:_NAMES_SHOWN_MAX])
    more = len(names) - _NAMES_SHOWN_MAX
    if not names:
        return f"there is no stack {name!r}; none is deployed"
    rest = f" and {more} more" if more > 0 else ""
    return f"there is no stack {name!r}; there are: {shown}{rest}"
