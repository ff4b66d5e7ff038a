"""Storing and removing stacks: every write is conditional on what was checked.

A deploy compares the stack's own key and that no stack was written since all were read, so that two
deploys at the same moment cannot both take a port: the loser reads again and checks again. What a
stack replaces goes into the history first.
"""

import datetime as dt
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec
import structlog

from scheduler.api import checks
from scheduler.api.amend import Known, Rollouts, amended, is_another, uploaded
from scheduler.api.archive import Archive, Seal
from scheduler.api.network_checks import Ground
from scheduler.api.unread import unread
from shared import codec, keys
from shared.api import Accepted, ChangeRequest, Rollback, StackUpload
from shared.backoff import Rng, backoff_s
from shared.clock import Clock
from shared.errors import (
    AmbiguousError,
    ConflictError,
    NotFoundError,
    OvertakenError,
    StoreError,
    UnavailableError,
)
from shared.model import Network, Record, Revision, Stack, StackName
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
from shared.words import listed

R = TypeVar("R", bound=Record)

_log = structlog.get_logger()

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

    def readable(self) -> dict[StackName, Stack]:
        """Return every stack that can be read."""
        found = (
            (name, codec.readable(Stack, item.value, item.key)) for name, item in self.items.items()
        )
        return {name: stack for name, stack in found if stack is not None}


class Standing(msgspec.Struct, frozen=True):
    """What the cluster knows of a stack besides its own record.

    Attributes:
        generation: the newest that any node still runs, so that a stack that was removed and comes
            again does not count from 1 beside its own past.
        rollouts: how far its services' updates are.
    """

    generation: int = 0
    rollouts: Rollouts = {}


class Stacks:
    """Writes the stacks' keys, on behalf of clients of the API.

    Args:
        store: where they are.
        clock: for the time of a deploy and the pauses between attempts.
        rng: jitter of those pauses.
        standing_of: what is known of a stack.
        seal: for configs and secrets; None: there is no key, and none can be stored.
        ground_of: what else of the cluster a stack must fit in; its networks are read anew.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        rng: Rng,
        standing_of: Callable[[StackName], Standing],
        seal: Seal | None = None,
        *,
        ground_of: Callable[[], Ground] = Ground,
    ) -> None:
        self._store, self._clock, self._rng = store, clock, rng
        self._standing_of, self._archive = standing_of, Archive(store, seal)
        self._ground_of = ground_of

    async def deploy(
        self, name: StackName, upload: StackUpload, *, based_on: Revision | None = None
    ) -> Accepted:
        """Store a stack; one that is stored already, word for word, is not written again.

        Args:
            name: what it is called.
            upload: what a client sent.
            based_on: the revision of the stack that was planned with; None: whatever there is.

        Raises:
            SpecError: it cannot run as it is.
            OvertakenError: it is not what its author has seen any more.
            ConflictError: others kept winning the race.
            StoreError: nothing was written; after an AmbiguousError it may have been.
        """
        return await self._again(lambda: self._deploy(name, upload, based_on))

    async def change(self, name: StackName, request: ChangeRequest) -> Accepted:
        """Change a stack that is deployed.

        Raises:
            NotFoundError: there is no such stack, service or generation; says which there are.
            SpecError, OvertakenError, ConflictError, StoreError: as `deploy`.
        """
        return await self._again(lambda: self._change(name, request))

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

    async def _deploy(
        self, name: StackName, upload: StackUpload, based_on: Revision | None
    ) -> Accepted:
        stored = _stored(await self._store.list(under(keys.STACKS)))
        # A record that cannot be read is in nobody else's way, and this may be what mends it.
        others = stored.readable()
        ground, networks = await self._ground()
        checks.check(name, upload, others, ground)
        before = others.get(name)
        after = uploaded(name, before, upload)
        if before is not None and after == before:
            return _as_it_is(before, stored)
        _check_seen(name, before, upload.after_generation)
        seen = stored.revision_of(name) if before is not None else Revision(0)
        if based_on is not None and seen != based_on:
            raise OvertakenError(f"{_who_won(name, before)}; plan again")
        needed = await self._archive.store(name, after.services, upload.contents)
        return await self._replace(before, after, stored, [networks, *needed])

    async def _ground(self) -> tuple[Ground, Condition]:
        """Return what a stack must fit in, and under which condition that is still so."""
        snapshot = await self._store.list(under(keys.NETWORKS))
        found = {
            item.key.removeprefix(keys.NETWORKS): codec.readable(Network, item.value, item.key)
            for item in snapshot.items
        }
        ground = msgspec.structs.replace(
            self._ground_of(),
            networks={name: network for name, network in found.items() if network is not None},
            unreadable=frozenset(name for name, network in found.items() if network is None),
        )
        return ground, Unchanged(keys.NETWORKS, snapshot.revision)

    async def _change(self, name: StackName, request: ChangeRequest) -> Accepted:
        stored = _stored(await self._store.list(under(keys.STACKS)))
        others = stored.readable()
        before = others.get(name)
        if before is None and name in stored.items:
            raise NotFoundError(unread(name))
        if before is None:
            raise NotFoundError(no_stack(name, stored.items))
        _check_seen(name, before, request.after_generation)
        is_back = isinstance(request.change, Rollback)
        past = await self._archive.past(name) if is_back else ()
        known = Known(before, past, self._standing_of(name).rollouts)
        after = amended(known, request.change)
        if after == before:
            return _as_it_is(before, stored)
        ground, networks = await self._ground()
        asked = StackUpload(services=after.services, networks=after.networks)
        checks.check(name, asked, others, ground)
        needed = await self._archive.store(name, after.services, {}) if is_back else []
        return await self._replace(before, after, stored, [networks, *needed])

    async def _replace(
        self, before: Stack | None, after: Stack, stored: Stored, needed: Sequence[Condition]
    ) -> Accepted:
        """Write `after`; it is a new generation unless only what is said of it has changed."""
        is_new = before is None or is_another(before, after)
        if is_new:
            if before is not None:
                await self._archive.keep(before, stored.items[before.name])
            is_unread = before is None and after.name in stored.items
            known = await self._newest(after, is_unread=is_unread)
            after = msgspec.structs.replace(
                after, generation=known + 1, deployed_at_s=self._clock.now_s()
            )
        accepted = await self._put(after, stored, needed)
        try:
            await self._archive.sweep(after, accepted.revision)
        except StoreError as error:
            # It is only untidy, and the next deploy of the stack tries again.
            _log.warning("history_not_swept", stack=after.name, reason=str(error))
        return accepted

    async def _newest(self, after: Stack, *, is_unread: bool) -> int:
        """Return the newest generation that there was; only its history knows an unread one's."""
        past = await self._archive.past(after.name) if is_unread else ()
        known = (after.generation, self._standing_of(after.name).generation)
        return max(*known, *(one.generation for one in past))

    async def _put(self, stack: Stack, stored: Stored, needed: Sequence[Condition]) -> Accepted:
        value = codec.encode(stack)
        checks.check_size(stack, len(value))
        key = keys.stack(stack.name)
        conditions: list[Condition] = [
            Compare(key, stored.revision_of(stack.name)),
            Unchanged(keys.STACKS, stored.revision),
            *needed,
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
        needed = await self._without(name, stored)
        conditions: list[Condition] = [Compare(key, item.mod_revision), *needed]
        try:
            revision = await self._store.txn(conditions, [Delete(key)])
        except AmbiguousError as error:
            after = await self._read_back(name, error)
            if name in after.items:
                raise ConflictError(
                    key, expected=item.mod_revision, found=after.revision_of(name)
                ) from error
            revision = after.revision
        try:
            await self._archive.clear(name)
        except StoreError as error:
            # A stack of that name that comes again clears what is left.
            _log.warning("history_not_cleared", stack=name, reason=str(error))
        return Accepted(stack=name, generation=_generation(item), revision=revision)

    async def _without(self, name: StackName, stored: Stored) -> list[Condition]:
        """Return under which conditions nobody else needs a network that a stack makes.

        Raises:
            SpecError: somebody does now; says who. A stack that cannot be read is not asked.
        """
        stacks = stored.readable()
        if name not in stacks or not stacks[name].networks:
            return []
        ground, networks = await self._ground()
        checks.check_removal(name, stacks, ground)
        return [Unchanged(keys.STACKS, stored.revision), networks]

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


def _as_it_is(stack: Stack, stored: Stored) -> Accepted:
    return Accepted(
        stack=stack.name, generation=stack.generation, revision=stored.revision_of(stack.name)
    )


def _check_seen(name: StackName, before: Stack | None, seen: int | None) -> None:
    """Refuse a change by somebody who has not seen what the stack is now.

    Raises:
        OvertakenError: says who was faster.
    """
    now = before.generation if before is not None else 0
    if seen is not None and seen != now:
        raise OvertakenError(
            f"{_who_won(name, before)}, and not generation {seen} any more: somebody else was "
            "faster; look, then try again"
        )


def _who_won(name: StackName, now: Stack | None) -> str:
    if now is None:
        return f"stack {name} is not there: it was removed"
    at = dt.datetime.fromtimestamp(now.deployed_at_s, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
    by = f"made by `{now.why}` at {at} UTC" if now.why else f"made at {at} UTC"
    return f"stack {name} is at generation {now.generation}, {by}"


def _generation(item: KeyValue) -> int:
    """Return a stored stack's generation; removing must work on a record that nobody can read."""
    stack = codec.readable(Stack, item.value, item.key)
    return stack.generation if stack is not None else 0


def no_stack(name: str, known: Mapping[StackName, object]) -> str:
    """Return the sentence for a stack that does not exist, with those that do."""
    names = sorted(known)
    if not names:
        return f"there is no stack {name!r}; none is deployed"
    return f"there is no stack {name!r}; there are: {listed(names, _NAMES_SHOWN_MAX)}"
