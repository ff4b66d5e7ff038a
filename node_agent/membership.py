"""Being a member of the cluster: the node's spec, written once, and a session under a lease."""

import uuid
from typing import Final, NoReturn

import structlog

from shared import codec, keys
from shared.backoff import Rng, backoff_s
from shared.clock import Clock
from shared.errors import AmbiguousError, ConflictError, SettingsError, StoreError
from shared.model import NodeName, NodeSpec, Revision, Session
from shared.settings import Settings
from shared.store import Compare, Put, Store, exactly, under

_log = structlog.get_logger()

VERSION: Final = "0.1.0"


def spec_from(settings: Settings) -> NodeSpec:
    """Return the spec that this host's settings describe."""
    return NodeSpec(
        name=NodeName(settings.node),
        address=settings.address,
        subnet=settings.subnet,
        labels=settings.labels,
    )


async def register(store: Store, spec: NodeSpec) -> None:
    """Create the node's spec unless it exists; from then on the API owns it.

    Raises:
        SettingsError: the name or the subnet belongs to another host.
    """
    key = keys.node_spec(spec.name)
    snapshot = await store.list(under(keys.NODES))
    for item in snapshot.items:
        if item.key.endswith("/spec"):
            _check(spec, codec.decode(NodeSpec, item.value, item.key))
    if any(item.key == key for item in snapshot.items):
        return
    await store.txn([Compare(key, Revision(0))], [Put(key, codec.encode(spec))])
    _log.info("registered", address=spec.address, subnet=spec.subnet)


def _check(ours: NodeSpec, theirs: NodeSpec) -> None:
    if theirs.name == ours.name and theirs.address != ours.address:
        raise SettingsError(
            f"node {ours.name} is already in the cluster with address {theirs.address},"
            f" not {ours.address}: give this host another name"
        )
    if theirs.name != ours.name and theirs.subnet == ours.subnet:
        raise SettingsError(f"subnet {ours.subnet} already belongs to node {theirs.name}")


async def stay_member(
    store: Store, spec: NodeSpec, ttl_s: float, clock: Clock, rng: Rng
) -> NoReturn:
    """Register, then hold a session for ever: a lease that was lost is replaced by a new one.

    Raises:
        SettingsError: as register.
    """
    session = codec.encode(Session(node=spec.name, boot_id=uuid.uuid4().hex, version=VERSION))
    attempt = 0
    while True:
        try:
            await register(store, spec)
            async with store.lease(ttl_s) as lease:
                await store.txn([], [Put(keys.node_alive(spec.name), session, lease.id)])
                _log.info("session_begun", lease=lease.id, ttl_s=lease.ttl_s)
                attempt = 0
                await lease.lost.wait()
            _log.warning("session_lost")
        except StoreError as error:
            attempt += 1
            _log.warning("no_session", reason=str(error), attempt=attempt)
            await clock.sleep(backoff_s(attempt, rng))


class Publisher:
    """Writes this node's report: conditional on its own last write, since nobody else writes it."""

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key = store, key
        self._revision: Revision | None = None  # None: read it first

    async def read(self) -> bytes | None:
        """Return what was reported last, by an agent before us if need be."""
        snapshot = await self._store.list(exactly(self._key))
        self._revision = snapshot.items[0].mod_revision if snapshot.items else Revision(0)
        return snapshot.items[0].value if snapshot.items else None

    async def write(self, value: bytes) -> None:
        """Replace the report.

        Raises:
            ConflictError, AmbiguousError: it is read again before the next write.
            UnavailableError: nothing was written.
        """
        if self._revision is None:
            await self.read()
        assert self._revision is not None, "read() sets it"
        try:
            condition = Compare(self._key, self._revision)
            self._revision = await self._store.txn([condition], [Put(self._key, value)])
        except (ConflictError, AmbiguousError):
            self._revision = None
            raise
