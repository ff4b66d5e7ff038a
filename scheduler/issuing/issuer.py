"""Has certificates issued while it leads: by the cluster's own authority, and by ACME servers.

One at a time. Every write is fenced; what a leader that was deposed had issued is lost, and the
next one asks again. Keys are sealed before they are written, and nothing here logs one.
"""

import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NoReturn

import structlog

from scheduler.issuing.authority import Made, issue, make_authority
from scheduler.issuing.due import Due, due, failed, unwanted
from scheduler.reading import WorldReader
from scheduler.world import World
from shared import codec, keys
from shared.backoff import Rng
from shared.certificates import read_pair
from shared.clock import Clock
from shared.election import Fence, fenced_txn
from shared.errors import (
    FencedError,
    HafenError,
    HostError,
    SpecError,
    StoreError,
)
from shared.model import Authority, Certificate, Origin, Record, Revision
from shared.seal import NONCE_BYTES, read_key, seal, unseal
from shared.store import Compare, Delete, Op, Put, Store
from shared.view import View

_log = structlog.get_logger()

# A person who asked for a certificate waits for it; looking costs a walk over the world.
_LOOK_S: Final = 2.0
CLUSTER: Final = "cluster"
_WORDS_MAX: Final = 300

# Returns a certificate for hosts from elsewhere; raises an error that says why there is none.
Fetch = Callable[[tuple[str, ...], "Desk"], Awaitable[Made]]


class Desk:
    """What an issuing needs of the cluster while it goes on: records of the leader, fenced.

    Args:
        store: where they are.
        view: everything under keys.ROOT.
        fence: the leader's.
        key: the file with what secrets are sealed with.
    """

    def __init__(self, store: Store, view: View, fence: Fence, key: Path) -> None:
        self._store, self._view, self._fence, self._key = store, view, fence, key

    def revision(self, key: str) -> Revision:
        """Return when a record was written; 0 if there is none."""
        item = self._view.items.get(key)
        return item.mod_revision if item is not None else Revision(0)

    async def put(self, key: str, record: Record, lease: int = 0) -> None:
        """Write a record, if it is still what the view has."""
        await self._write(key, Put(key, codec.encode(record), lease))

    async def delete(self, key: str) -> None:
        """Delete a record, if it is still what the view has."""
        await self._write(key, Delete(key))

    async def _write(self, key: str, op: Op) -> None:
        await fenced_txn(self._store, self._fence, [Compare(key, self.revision(key))], [op])

    def sealed(self, key: str, plain: str) -> bytes:
        """Return what only the cluster's hosts can read."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return seal(read_key(self._key), key, plain.encode(), nonce)

    def authority(self, name: str) -> tuple[Authority, str] | None:
        """Return whoever issues by this name, and its key.

        Raises:
            HostError, SealError: it is there, and cannot be opened here.
        """
        item = self._view.items.get(keys.authority(name))
        if item is None:
            return None
        found = codec.decode(Authority, item.value, item.key)
        return found, unseal(read_key(self._key), item.key, found.sealed).decode()


class Issuer:
    """Sees to it that every wish for a certificate is met.

    Args:
        store: where to write.
        view: everything under keys.ROOT.
        key: the file with what keys are sealed with; read anew each time.
        clock: time.
        rng: jitter.
        fetch: how to ask elsewhere; None: nobody can.
    """

    def __init__(
        self,
        store: Store,
        view: View,
        key: Path,
        *,
        clock: Clock,
        rng: Rng,
        fetch: Fetch | None = None,
    ) -> None:
        self._store, self._view, self._key = store, view, key
        self._clock, self._rng, self._fetch = clock, rng, fetch
        self._reader = WorldReader()
        # A view that lags behind our own write must not have us issue again.
        self._tried: dict[str, Revision] = {}

    async def run(self, fence: Fence) -> NoReturn:
        """Issue until cancelled; whoever calls leads as long as the fence holds.

        Raises:
            FencedError: somebody else leads.
        """
        desk = Desk(self._store, self._view, fence, self._key)
        while True:
            world = self._reader.read(self._view)
            if world.revision >= fence.token:
                await self._one_pass(world, desk)
            await self._clock.sleep(_LOOK_S)

    async def _one_pass(self, world: World, desk: Desk) -> None:
        now_s = self._clock.now_s()
        try:
            for name in unwanted(world, now_s):
                await desk.delete(keys.issued(name))
            for one in due(world, now_s):
                key = keys.issued(one.wish.name)
                if self._tried.get(key) != desk.revision(key):
                    await self._issue(one, key, desk)
        except FencedError:
            raise
        except StoreError as error:
            self._tried.clear()
            _log.warning("issuing_waits", reason=str(error))

    async def _issue(self, one: Due, key: str, desk: Desk) -> None:
        name = one.wish.name
        try:
            record = self._record(one, key, await self._made(one, desk), desk)
        except StoreError:
            raise
        except HafenError as error:
            _log.warning("certificate_not_issued", certificate=name, reason=str(error))
            record = failed(one, str(error), self._clock.now_s(), self._rng.random())
        except Exception as error:  # noqa: BLE001 - see below
            # Of what others' servers and libraries may do there is no list, and whoever leads must
            # not end by a certificate that cannot be had.
            _log.exception("certificate_not_issued", certificate=name)
            record = failed(one, _words(error), self._clock.now_s(), self._rng.random())
        else:
            _log.info("certificate_issued", certificate=name, hosts=list(record.hosts))
        self._tried[key] = desk.revision(key)
        await desk.put(key, record)

    def _record(self, one: Due, key: str, made: Made, desk: Desk) -> Certificate:
        pair = read_pair(made.chain.encode(), made.key.encode())
        missing = sorted(set(one.wish.hosts) - set(pair.hosts))
        if missing:
            raise SpecError(f"what was issued is not for {', '.join(missing)}")
        return Certificate(
            name=one.wish.name,
            origin=one.wish.origin,
            hosts=one.wish.hosts,
            chain=pair.chain,
            sealed=desk.sealed(key, pair.key),
            not_before_s=pair.not_before_s,
            not_after_s=pair.not_after_s,
        )

    async def _made(self, one: Due, desk: Desk) -> Made:
        if one.wish.origin is Origin.CLUSTER:
            return issue(await self._own(desk), one.wish.hosts, self._clock.now_s())
        if self._fetch is None:
            raise HostError("this host's settings have no [acme]: name a directory there")
        return await self._fetch(one.wish.hosts, desk)

    async def _own(self, desk: Desk) -> Made:
        """Return the cluster's own authority, made when it is needed first."""
        found = desk.authority(CLUSTER)
        if found is not None:
            return Made(found[0].chain, found[1])
        made = make_authority("hafen cluster", self._clock.now_s())
        key = keys.authority(CLUSTER)
        record = Authority(name=CLUSTER, chain=made.chain, sealed=desk.sealed(key, made.key))
        await desk.put(key, record)
        return made


def _words(error: Exception) -> str:
    """Return an error that nobody has foreseen in one line."""
    said = " ".join(str(error).split())[:_WORDS_MAX]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
