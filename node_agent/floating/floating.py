"""The floating addresses that this node answers: claims in etcd, addresses in the kernel.

What is decided is in node_agent.floating.decide. Here are the store, the host, the clocks and the
order of things. No pass waits for another: one makes the host's addresses what they may be and
never waits for etcd; one writes claims; one looks whether we are in contact (contact.py); and one
asks the neighbours when etcd is lost for everybody.
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
import structlog

from node_agent.floating.contact import Contact, Neighbours
from node_agent.floating.convicted import voters_of
from node_agent.floating.decide import Around, Decision, Right, Seen, Write, decide
from node_agent.floating.host import HostAddresses, HostStatus, Wish
from node_agent.floating.look import Look
from node_agent.membership import Membership
from node_agent.peers.asking import hold_s_max
from shared import codec, keys
from shared.clock import Clock
from shared.errors import AmbiguousError, ConflictError, HostError, LeaseLostError, StoreError
from shared.loop import Dirty
from shared.model import FloatingClaim, NodeName, NodeSpec, Revision
from shared.store import Compare, Delete, Op, Put, Store, under

_log = structlog.get_logger()

# Heals what somebody removed or added by hand.
_PERIOD_S: Final = 5.0
# A claim that could not be written is tried again after this.
_AGAIN_S: Final = 0.1
# What the segment, or the kernel, did not allow.
_REFUSED_S: Final = 5.0
# The kernel ends an address up to this late: it counts in seconds, and looks once a second.
KERNEL_LATE_S: Final = 1.5


class Floating:
    """This node's part in the cluster's floating addresses.

    Args:
        store: where the claims are.
        membership: who we are, and our session.
        host: what has the addresses.
        neighbours: the other agents.
        clock: time.
        told: called when `segments` or `problems` have changed.
    """

    def __init__(
        self,
        store: Store,
        membership: Membership,
        host: HostAddresses,
        neighbours: Neighbours,
        clock: Clock,
        *,
        told: Callable[[], None],
    ) -> None:
        self._store, self._membership, self._host = store, membership, host
        self._me, self._timing = membership.node, membership.timing
        self._neighbours, self._clock, self._told = neighbours, clock, told
        self.addresses_dirty, self.claims_dirty = Dirty(), Dirty()
        self.failsafe_dirty = Dirty()
        self.look = Look(clock, self._hold_s, self.mark)
        self._voters: tuple[NodeName, ...] = ()
        self.contact = Contact(
            self._timing,
            neighbours,
            clock,
            voters=lambda: self._voters,
            matters=lambda: bool(self.look.records.items or self._up),
            holds=lambda: bool(self._up),
            ask_etcd=self._ask_etcd,
            changed=self._contact_changed,
            paused=self._paused,
        )
        self._status: HostStatus | None = None  # None: not looked at yet
        self._up: frozenset[str] = frozenset()
        self._until = 0.0  # until when we may go on, as told to the kernel last
        self._failsafe_until = 0.0
        self._held_off_until = clock.boot_s() + self._hold_s
        self._doubted: set[str] = set()
        self._is_unsure = False  # we stood still: what we have may be another's by now
        self._losses = 0
        self._unripe: set[str] = set()  # taken from one who may still have it, and not written yet
        self._ripe_at: dict[str, float] = {}
        self._refused: dict[str, tuple[float, str]] = {}
        self.problems: Mapping[str, str] = {}
        self.segments: tuple[str, ...] = ()
        membership.on_change(self._session_changed)

    def passes(self) -> tuple[tuple[Callable[[], Awaitable[float]], Dirty], ...]:
        """Return what is to be called for ever, each with what wakes it."""
        return (
            (self.addresses_pass, self.addresses_dirty),
            (self.claims_pass, self.claims_dirty),
            (self.contact.one_pass, self.contact.dirty),
            (self.failsafe_pass, self.failsafe_dirty),
        )

    def crowd(self, specs: tuple[NodeSpec, ...], present: frozenset[NodeName]) -> None:
        """Learn which nodes there are, and which have a session."""
        self.look.crowd(specs, present)
        self._voters = voters_of(self._me, self.look.names, self.look.present)
        self.mark()

    def mark(self) -> None:
        """Something may have changed: look at everything again."""
        self.addresses_dirty.mark()
        self.claims_dirty.mark()
        self.contact.dirty.mark()

    # ------------------------------------------------------------ the host's addresses

    async def addresses_pass(self) -> float:
        """Make the host's addresses what they may be; return when to look again, seconds."""
        try:
            return await self._make_so()
        except HostError as error:
            # What the kernel has ends by itself; what it has not, nobody answers.
            _log.error("addresses_unknown", reason=str(error))
            return _AGAIN_S

    async def _make_so(self) -> float:
        if self._status is None:
            self._learn(await self._host.look())
        if not self.look.is_complete:
            return _PERIOD_S  # What an agent before us left ends by itself.
        if self.look.records.items:
            self._neighbours.watch_back()
        decision = self._decide()
        wishes = self._wishes(decision)
        if wishes or self._up:
            self._learn(await self._host.apply(wishes))
        else:
            self._learn(await self._host.look())
        waits = (decision.wake_in_s, self._status.again_s if self._status is not None else None)
        return min([wait for wait in waits if wait is not None], default=_PERIOD_S)

    def _wishes(self, decision: Decision) -> tuple[Wish, ...]:
        """Return what to ask of the host, and note until when that is."""
        now, session = self._clock.boot_s(), self._membership.session
        margin_s = self._timing.fence_margin_s
        by_lease = 0.0
        if session is not None:
            by_lease = session.lease.ends_s + self._timing.address_grace_s - margin_s
        records = self.look.addresses()
        wishes = []
        for address, right in sorted(decision.rights.items()):
            until = max(by_lease if right is Right.UP else 0.0, self._failsafe_until)
            lifetime_s = math.floor(until - now - KERNEL_LATE_S)
            if right is Right.DOWN or (address not in self._up and right is Right.KEEP):
                continue
            is_longer = lifetime_s > 0
            if is_longer:
                self._until = max(self._until, until)
            elif address not in self._up:
                continue
            wish = Wish(
                address=address,
                prefix_length=records[address].prefix_length if address in records else 0,
                lifetime_s=lifetime_s if is_longer else None,
            )
            wishes.append(wish)
        return tuple(wishes)

    def _learn(self, status: HostStatus) -> None:
        before, self._status = self._status, status
        self._up = frozenset(status.up)
        if before is None and status.up:
            # What the kernel still gives was right when it was told, by an agent before us.
            self._until = self._clock.boot_s() + max(status.up.values())
        if before is None or before.up.keys() != status.up.keys():
            self.claims_dirty.mark()
            self.contact.dirty.mark()
            self.failsafe_dirty.mark()
            gone = sorted(before.up.keys() - status.up.keys()) if before is not None else []
            new = sorted(status.up.keys() - (before.up.keys() if before is not None else set()))
            _log.info("addresses", up=sorted(status.up), new=new, gone=gone)
        self._tell()

    def _tell(self) -> None:
        now, status = self._clock.boot_s(), self._status or HostStatus()
        self._refused = {a: one for a, one in self._refused.items() if one[0] > now}
        problems = {a: why for a, (_, why) in self._refused.items()} | dict(status.problems)
        if (problems, status.segments) != (self.problems, self.segments):
            self.problems, self.segments = problems, status.segments
            self._told()

    def _decide(self) -> Decision:
        records, seen = self.look.addresses(), self.look.seen()
        nodes, gone = self.look.nodes()
        self.look.remember(records, seen, nodes, gone)
        ours, now = self._ours(seen), self._clock.boot_s()
        self._doubted &= ours | self._unripe
        session = self._membership.session
        around = Around(
            now=now,
            lease=session.lease.id if session is not None else 0,
            until=max(self._until, self._failsafe_until),
            is_in_contact=self.contact.is_there,
            doubted=frozenset(self._doubted),
            up=self._up,
            free_since=self.look.free_since,
            convicted=gone,
            convicted_since=self.look.convicted_since,
            last_holder=self.look.last_holder,
            ripe_at=self._ripe_at | dict.fromkeys(self._unripe, now + self._timing.takeover_s),
            trusted_from=self.look.trusted_from,
            held_off_until=max(self._held_off_until, self._neighbours.promised_until_boot_s),
            refused_until={address: until for address, (until, _) in self._refused.items()},
            calm_since=self.look.calm_since,
            fails_since=self.look.failing_since.get(self._me),
            as_of=self.look.as_of,
            choices=self.look.choices,
            segments=self.segments,
        )
        return decide(self._me, records, seen, nodes, around, self._timing)

    # ------------------------------------------------------------ claims

    async def claims_pass(self) -> float:
        """Take and let go what is to be; return when to look again, seconds.

        Raises:
            UnavailableError: etcd cannot be reached.
        """
        if not self.look.is_complete or self._status is None:
            return _PERIOD_S
        if self._is_unsure and self._up:
            await self._ask_etcd()
        self._is_unsure = False
        decision = self._decide()
        done = [await self._do(write) for write in decision.writes]
        if any(done):
            self.addresses_dirty.mark()
        if not all(done):
            return _AGAIN_S
        return _PERIOD_S if decision.wake_in_s is None else decision.wake_in_s

    async def _do(self, write: Write) -> bool:
        """Write a claim; say whether it is written, or need not be tried at once."""
        address = write.address
        if not write.is_take and address in self._up:
            self.addresses_dirty.mark()  # First it is dropped, then it is let go.
            return False
        if write.is_asked and not await self._is_unanswered(write):
            return True
        session = self._membership.session
        if session is None:
            return False
        if write.is_fast or self._is_inherited(write, session.lease.id):
            # Until it is known when this was written, nobody knows when it is ripe.
            self._unripe.add(address)
        losses = self._losses
        claim = self._claim(write)
        conditions = [Compare(keys.node_alive(self._me), session.revision), *write.conditions]
        op = self._op(address, claim, session.lease.id if write.is_take else 0)
        try:
            revision = await self._store.txn(conditions, [op])
        except (ConflictError, LeaseLostError, AmbiguousError) as error:
            # The watch shows what became of it; until then nothing is assumed.
            _log.info("address_not_claimed", address=address, reason=str(error))
            await self._after_refusal(write, error)
            return False
        self._written(write, claim, revision, session.lease.id)
        if losses == self._losses:
            self._doubted.discard(address)
        return True

    async def _after_refusal(self, write: Write, error: StoreError) -> None:
        """Find out what a claim is that could not be written; what we answer is not dropped yet.

        While it is unknown whether it was written, it is ours all the same: nobody else wrote.
        """
        if not write.is_take:
            return
        if write.address not in self._up:
            self._doubted.add(write.address)
        elif not isinstance(error, AmbiguousError):
            await self._ask_etcd()

    def _is_inherited(self, write: Write, lease: int) -> bool:
        """Say whether an agent before us took it, perhaps just now, and never answered it."""
        seen = self.look.seen().get(write.address)
        if seen is None or seen.claim.node != self._me or seen.lease == lease:
            return False
        return write.is_take and write.address not in self._up

    def _claim(self, write: Write) -> FloatingClaim | None:
        if write.claim is None or not write.is_take or write.claim.since_s:
            return write.claim
        return msgspec.structs.replace(write.claim, since_s=self._clock.now_s())

    @staticmethod
    def _op(address: str, claim: FloatingClaim | None, lease: int) -> Op:
        key = keys.vip(address)
        return Delete(key) if claim is None else Put(key, codec.encode(claim), lease)

    def _written(
        self, write: Write, claim: FloatingClaim | None, revision: Revision, lease: int
    ) -> None:
        address = write.address
        if address in self._unripe:
            self._unripe.discard(address)
            self._ripe_at[address] = self._clock.boot_s() + self._timing.takeover_s
        if claim is not None:
            self.look.wrote(address, Seen(claim, revision, lease if write.is_take else 0))
        word = "address_claimed" if write.is_take else "address_let_go"
        _log.info(
            word,
            address=address,
            revision=revision,
            is_fast=write.is_fast,
            is_levelled=bool(write.unchanged),
        )

    async def _is_unanswered(self, write: Write) -> bool:
        """Say whether nobody on the segment answers the address that we are about to take."""
        record = self.look.addresses().get(write.address)
        if record is None:
            return False
        wish = Wish(address=write.address, prefix_length=record.prefix_length)
        try:
            problem = await self._host.answered_by(wish)
        except HostError as error:
            problem = str(error)
        if problem:
            self._refused[write.address] = (self._clock.boot_s() + _REFUSED_S, problem)
        else:
            self._refused.pop(write.address, None)
        self._tell()
        return not problem

    # ------------------------------------------------------------ contact, and etcd lost

    async def _ask_etcd(self) -> None:
        """Read the claims of what we answer; one that is another's is dropped."""
        snapshot = await self._store.list(under(keys.VIPS))
        for item in snapshot.items:
            # One that is absent has ended with a lease of ours: what was told to the kernel holds.
            address = item.key.removeprefix(keys.VIPS)
            if address in self._up and self.look.claim_of(item).node != self._me:
                self._doubted.add(address)
                self.mark()

    def _contact_changed(self) -> None:
        if not self.contact.is_there:
            self._losses += 1
            self._doubted |= {
                address for address, seen in self.look.seen().items() if seen.claim.node == self._me
            }
        self.mark()

    def _paused(self) -> None:
        self._is_unsure = True
        self.claims_dirty.mark()

    async def failsafe_pass(self) -> float:
        """Go on without a lease if all others agree; return when to look again, seconds."""
        now = self._clock.boot_s()
        if not self._up or not self.look.is_complete:
            return _PERIOD_S
        # Renewals push by themselves: this is for when they do not come.
        early_s = self._until - now - KERNEL_LATE_S - self._timing.lease_ttl_s
        if early_s > 0:
            return early_s
        hold_s = self._hold_s
        answers = await self._neighbours.ask_all(hold_s)
        if all(answer is True for answer in answers.values()):
            self._failsafe_until = now + hold_s - self._timing.fence_margin_s
            self.addresses_dirty.mark()
        return self._timing.lease_ttl_s / 4

    @property
    def _hold_s(self) -> float:
        return hold_s_max(self._timing)

    def _session_changed(self) -> None:
        session = self._membership.session
        if session is not None:
            session.lease.on_renewed(self._renewed)
        self.mark()

    def _renewed(self) -> None:
        if self._up:
            self.addresses_dirty.mark()

    def _ours(self, seen: Mapping[str, Seen]) -> set[str]:
        return {address for address, one in seen.items() if one.claim.node == self._me}
