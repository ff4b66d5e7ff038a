"""Being a member of the cluster: the node's spec, and a session under a lease."""

import uuid
from collections.abc import Callable
from typing import Final, NoReturn

import msgspec
import structlog

from node_agent.views import Complaints
from shared import codec, keys
from shared.backoff import Rng, backoff_s
from shared.clock import Clock
from shared.errors import AmbiguousError, CodecError, ConflictError, SettingsError, StoreError
from shared.model import NodeName, NodeSpec, Revision, Session
from shared.settings import Settings
from shared.store import Compare, KeyValue, Lease, Put, Store, exactly, under

_log = structlog.get_logger()

VERSION: Final = "0.1.0"
# Of the lease, what is left when two keep-alives have gone unanswered.
_CONTACT_SHARE: Final = 0.6


def spec_from(settings: Settings) -> NodeSpec:
    """Return the spec that this host's settings describe."""
    return NodeSpec(
        name=NodeName(settings.node),
        address=settings.address,
        subnet=settings.subnet,
        labels=settings.labels,
    )


class Registered(msgspec.Struct, frozen=True):
    """A node that is in the cluster: the revisions of its spec, and of its session before, or 0."""

    spec: Revision
    session: Revision
    is_new: bool = False  # nothing of it was there: what it said before was removed with it


async def register(store: Store, spec: NodeSpec, complaints: Complaints) -> Registered:
    """Create the node's spec unless it exists; from then on the API owns all of it but the address.

    That is the host's own: it is written while no session of the name lives.

    Args:
        store: where the specs are.
        spec: ours.
        complaints: of records that cannot be read.

    Raises:
        SettingsError: the name, the address or the subnet belongs to another host, or our record is
            damaged.
        StoreError: as of Store; a ConflictError is no more than somebody's change at that moment.
    """
    key = keys.node_spec(spec.name)
    snapshot = await store.list(under(keys.NODES))
    revisions = {item.key: item.mod_revision for item in snapshot.items}
    session = revisions.get(keys.node_alive(spec.name), Revision(0))
    known: NodeSpec | None = None
    for item in snapshot.items:
        if item.key.endswith("/spec"):
            theirs = _theirs(item, spec, complaints)
            if theirs is not None:
                _check(spec, theirs, lives=bool(session))
                known = theirs if item.key == key else known
    if known is not None and known.address == spec.address:
        return Registered(revisions[key], session)
    # What people have said of a node is not undone by its moving.
    written = msgspec.structs.replace(known, address=spec.address) if known is not None else spec
    conditions = [
        Compare(key, revisions.get(key, Revision(0))),
        Compare(keys.node_alive(spec.name), session),
    ]
    revision = await store.txn(conditions, [Put(key, codec.encode(written))])
    before = known.address if known is not None else ""
    _log.info("registered", address=spec.address, subnet=spec.subnet, address_before=before)
    return Registered(revision, session, is_new=known is None)


def _theirs(item: KeyValue, ours: NodeSpec, complaints: Complaints) -> NodeSpec | None:
    try:
        return codec.decode(NodeSpec, item.value, item.key)
    except CodecError as error:
        if item.key == keys.node_spec(ours.name):
            raise SettingsError(f"{error}: restore the record of this host") from error
        # What it has, nobody knows: it is left alone, and so are we.
        complaints.say(item, error)
        return None


def _check(ours: NodeSpec, theirs: NodeSpec, *, lives: bool) -> None:
    """Refuse a host that would be taken for another.

    Raises:
        SettingsError: says for which, and what to do.
    """
    if theirs.name == ours.name:
        if theirs.subnet != ours.subnet:
            raise SettingsError(
                f"node {ours.name} is already in the cluster with subnet {theirs.subnet}, not"
                f" {ours.subnet}: write that one, or `hafen node rm {ours.name}` while it is off"
            )
        if theirs.address != ours.address and lives:
            raise SettingsError(
                f"node {ours.name} is already in the cluster with address {theirs.address}, not"
                f" {ours.address}, and has a session: give this host another name, or, if it is"
                " the same host, wait until its session has ended"
            )
        return
    for what, mine, its in (
        ("subnet", ours.subnet, theirs.subnet),
        ("address", ours.address, theirs.address),
    ):
        if mine == its:
            raise SettingsError(
                f"{what} {mine} already belongs to node {theirs.name}: give this host another, or"
                f" `hafen node rm {theirs.name}` if that host is gone"
            )


class HeldSession(msgspec.Struct, frozen=True):
    """A session that is being kept: its lease, and the revision of the key that hangs on it."""

    lease: Lease
    revision: Revision


class Membership:
    """This node's registration and its session under a lease.

    The lease is never revoked: a session that is absent was not renewed for its whole time, and
    that is what makes it the truth about what may still run here.
    """

    def __init__(
        self, store: Store, spec: NodeSpec, settings: Settings, clock: Clock, rng: Rng
    ) -> None:
        self._store, self._spec, self._clock, self._rng = store, spec, clock, rng
        self.node, self.timing = spec.name, settings.timing
        self._ttl_s = settings.timing.lease_ttl_s
        self._profile, self._common = settings.profile, settings.common
        self._callbacks: list[Callable[[], None]] = []
        self._complaints = Complaints()
        self._is_new = False
        self._joined: list[Callable[[], None]] = []
        self.session: HeldSession | None = None

    @property
    def lease_id(self) -> int | None:
        """Return the session's lease, None while there is no session."""
        return self.session.lease.id if self.session is not None else None

    @property
    def is_in_contact(self) -> bool:
        """Say whether etcd has acknowledged a keep-alive lately: two of them may be missing."""
        if self.session is None:
            return False
        left_s = self.session.lease.ends_s - self._clock.boot_s()
        return left_s > self._ttl_s * _CONTACT_SHARE

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` when a session begins or is lost."""
        self._callbacks.append(callback)

    def on_join(self, callback: Callable[[], None]) -> None:
        """Call `callback` when a session begins of a node that was not in the cluster."""
        self._joined.append(callback)

    async def run(self) -> NoReturn:
        """Register, then hold a session for ever: a lease that was lost is replaced by a new one.

        Raises:
            SettingsError: as register.
        """
        session = Session(
            node=self._spec.name,
            boot_id=uuid.uuid4().hex,
            version=VERSION,
            profile=self._profile,
            common=self._common,
        )
        attempt = 0
        while True:
            try:
                before = await register(self._store, self._spec, self._complaints)
                self._is_new |= before.is_new
                async with self._store.lease(self._ttl_s, revoke=False) as lease:
                    key = keys.node_alive(self._spec.name)
                    # An earlier attempt whose fate is unknown may still arrive: on condition that
                    # nothing came since, it cannot take the place of this one. Nor may a node live
                    # that was removed since.
                    conditions = [
                        Compare(key, before.session),
                        Compare(keys.node_spec(self._spec.name), before.spec),
                    ]
                    revision = await self._store.txn(
                        conditions, [Put(key, codec.encode(session), lease.id)]
                    )
                    self._become(HeldSession(lease, revision))
                    _log.info("session_begun", lease=lease.id, ttl_s=lease.ttl_s)
                    attempt = 0
                    await lease.lost.wait()
                _log.warning("session_lost")
            except StoreError as error:
                attempt += 1
                _log.warning("no_session", reason=str(error), attempt=attempt)
                await self._clock.sleep(backoff_s(attempt, self._rng))
            finally:
                self._become(None)

    def _become(self, session: HeldSession | None) -> None:
        if session is self.session:
            return
        self.session = session
        for callback in self._callbacks:
            callback()
        if session is not None and self._is_new:
            self._is_new = False
            for callback in self._joined:
                callback()


class Publisher:
    """Writes this node's report: conditional on its own last write, since nobody else writes it."""

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key = store, key
        self._revision: Revision | None = None  # None: read it first
        # A write may still arrive, and only one after it prevents that; or ours was removed.
        self.is_doubtful = False

    async def read(self) -> bytes | None:
        """Return what was reported last, by an agent before us if need be."""
        snapshot = await self._store.list(exactly(self._key))
        self._revision = snapshot.items[0].mod_revision if snapshot.items else Revision(0)
        return snapshot.items[0].value if snapshot.items else None

    def doubt(self) -> None:
        """What was written may be gone: write it again."""
        self._revision, self.is_doubtful = None, True

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
            self.is_doubtful = False
        except (ConflictError, AmbiguousError) as error:
            self._revision = None
            self.is_doubtful |= isinstance(error, AmbiguousError)
            raise
