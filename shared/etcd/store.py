"""shared.store.Store over a real etcd cluster."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self

import msgspec

from shared.errors import CompactedError, UnavailableError
from shared.etcd.away import Away
from shared.etcd.calls import RANGE, STATUS, TXN, Calls, Login
from shared.etcd.convert import conflict, from_pair, span, to_txn
from shared.etcd.endpoints import Endpoints, Member
from shared.etcd.leases import KeptLease, Leases
from shared.etcd.proto import etcd_pb2 as pb
from shared.etcd.verdict import CallFailedError
from shared.etcd.watch import Watch
from shared.model import Revision
from shared.settings import EtcdSettings, Settings, TlsSettings
from shared.store import (
    TXN_OPS_MAX,
    Batch,
    Condition,
    KeyRange,
    KeyValue,
    Op,
    Snapshot,
)
from shared.timing import PATIENT, Timing

# One answer should not be so large that it cannot arrive within an attempt's deadline.
_PAGE_KEYS: Final = 250
# How often history may be compacted away under a list of several pages before it is given up.
_LISTS_MAX: Final = 3


class MemberStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One etcd member as it describes itself.

    Attributes:
        problem: why it cannot be asked, or what it complains of; empty when all is well.
        id: 0 when it did not answer; so is everything that follows.
        leader_id: the member it takes for the leader; 0 when it knows of none.
    """

    endpoint: str
    problem: str = ""
    id: int = 0
    leader_id: int = 0
    version: str = ""
    db_size_bytes: int = 0
    revision: Revision = Revision(0)
    raft_term: int = 0

    @property
    def is_leader(self) -> bool:
        """Say whether it leads the cluster."""
        return self.id != 0 and self.id == self.leader_id


class EtcdStore:
    """The store, inside `async with`; what it keeps going in the background ends with it.

    Entering sends nothing, so that an agent starts while etcd is away. Do not use it outside, and
    enter and leave it in the same task.
    """

    def __init__(
        self,
        settings: EtcdSettings,
        tls: TlsSettings | None = None,
        *,
        timing: Timing = PATIENT,
        near: str = "",
    ) -> None:
        """Read password and certificates.

        Args:
            settings: the members.
            tls: None: no encryption.
            timing: of the cluster's profile.
            near: our own host's address; a member there is preferred.

        Raises:
            SettingsError: one of those files is missing or wrong.
        """
        self._endpoints = Endpoints(settings.endpoints, tls, timing, near=near)
        self._calls = Calls(self._endpoints, Login(settings), timing.etcd_answer_s)
        self._leases = Leases(self._calls)
        self._away = Away(self._calls, timing.probe_s)
        self._background = asyncio.TaskGroup()
        self._running: set[asyncio.Task[None]] = set()

    @classmethod
    def of_host(cls, settings: Settings) -> Self:
        """Return the store as a host's settings describe it.

        Raises:
            SettingsError: as the constructor.
        """
        return cls(settings.etcd, settings.tls, timing=settings.timing, near=settings.address)

    def avoid(self, hosts: AbstractSet[str]) -> None:
        """Use no member on these hosts while there is another."""
        self._endpoints.avoid(hosts)

    async def __aenter__(self) -> Self:
        await self._background.__aenter__()
        self._adopt(self._background.create_task(self._leases.run()))
        self._adopt(self._background.create_task(self._away.run()))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._running:
            task.cancel()
        try:
            # The group must see a cancellation, which may be its own. Any other error is the
            # caller's, and would only come out wrapped in an ExceptionGroup.
            if isinstance(error, asyncio.CancelledError):
                await self._background.__aexit__(kind, error, trace)
            else:
                await self._background.__aexit__(None, None, None)
        finally:
            await self._endpoints.close()

    @property
    def endpoint(self) -> str:
        """Return host:port of the member in use."""
        return self._endpoints.current.address

    async def list(self, keys: KeyRange) -> Snapshot:
        """Return every key of the range at one revision."""
        for _ in range(_LISTS_MAX):
            try:
                return await self._list_once(keys)
            except CompactedError:
                # Between two pages; the next list begins at a newer revision.
                continue
        raise UnavailableError(f"{keys.key}: etcd compacts faster than it can be listed")

    async def watch(self, keys: KeyRange, *, after: Revision) -> AsyncGenerator[Batch, None]:
        """Yield every change after revision `after`, in order, none twice."""
        watch = Watch(self._calls, keys, after)
        task = self._background.create_task(watch.run())
        self._adopt(task)
        try:
            while True:
                found = await watch.feed.get()
                if not isinstance(found, Batch):
                    raise found
                yield found
        finally:
            task.cancel()

    async def txn(self, conditions: Sequence[Condition], ops: Sequence[Op]) -> Revision:
        """Do all of `ops` if all `conditions` hold; return the revision of the write."""
        assert len(ops) <= TXN_OPS_MAX, f"{len(ops)} operations; etcd takes {TXN_OPS_MAX}"
        assert len({op.key for op in ops}) == len(ops), "a transaction names no key twice"
        answer = await self._calls.write(TXN, to_txn(conditions, ops))
        if not answer.succeeded:
            raise conflict(conditions, answer)
        return Revision(answer.header.revision)

    @asynccontextmanager
    async def lease(self, ttl_s: float, *, revoke: bool = True) -> AsyncGenerator[KeptLease, None]:
        """Grant a lease, keep it alive inside the `async with`, revoke it on leaving."""
        lease = await self._leases.grant(ttl_s)
        try:
            yield lease
        finally:
            if revoke:
                await self._leases.end(lease)
            else:
                self._leases.drop(lease)

    async def revoke(self, lease_id: int) -> None:
        """End a lease, whoever holds it; fine if it has ended."""
        await self._leases.revoke(lease_id)

    async def grant_for(self, ttl_s: float) -> int:
        """Grant a lease that nobody keeps alive and return its id."""
        return await self._leases.grant_for(ttl_s)

    async def status(self) -> tuple[MemberStatus, ...]:
        """Return how every member is, in the order of the settings; takes two seconds at most."""
        async with asyncio.TaskGroup() as asking:
            tasks = [
                asking.create_task(self._status_of(member)) for member in self._endpoints.members
            ]
        return tuple(task.result() for task in tasks)

    async def _list_once(self, keys: KeyRange) -> Snapshot:
        first, end = span(keys)
        items: list[KeyValue] = []
        revision = 0
        while True:
            page = await self._calls.read(
                RANGE,
                pb.RangeRequest(key=first, range_end=end, limit=_PAGE_KEYS, revision=revision),
            )
            revision = revision or page.header.revision
            items += [from_pair(pair) for pair in page.kvs]
            if not page.more:
                return Snapshot(tuple(items), Revision(revision))
            first = page.kvs[-1].key + b"\0"

    async def _status_of(self, member: Member) -> MemberStatus:
        try:
            answer = await self._calls.ask(member, STATUS, pb.StatusRequest())
        except CallFailedError as error:
            return MemberStatus(endpoint=member.address, problem=error.why)
        return MemberStatus(
            endpoint=member.address,
            problem="; ".join(answer.errors) or ("" if answer.leader else "knows of no leader"),
            id=answer.header.member_id,
            leader_id=answer.leader,
            version=answer.version,
            db_size_bytes=answer.dbSize,
            revision=Revision(answer.header.revision),
            raft_term=answer.raftTerm,
        )

    def _adopt(self, task: asyncio.Task[None]) -> None:
        """Remember a background task, so that leaving ends it."""
        self._running.add(task)
        task.add_done_callback(self._running.discard)
