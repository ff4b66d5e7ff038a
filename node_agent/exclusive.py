"""Exclusive work on this node: claims are taken and let go, its fuse is pushed on or left to burn.

What is decided is in node_agent.claims. Here are the store, the clocks and the order of things:

- the fuse (Runtime.keep_until) is pushed on by nothing but an acknowledged keep-alive of the
  session under whose lease everything that runs is claimed, counted from when it was sent;
- or, when etcd is lost for everybody, by the word of all other nodes that they are there, have no
  session either, and take nothing for a while (failsafe);
- nobody else ends anything in time: if this process is frozen, killed or wrong, the fuse burns.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

import structlog

from node_agent import claims
from node_agent.claims import Around, Decision, Newest, Right, Seen, SessionNow, Verdict, Write
from node_agent.crowd import Crowd
from node_agent.membership import Membership
from node_agent.runtime import Container, Phase, Runtime
from node_agent.views import Complaints, not_shown
from shared import codec, keys
from shared.clock import Clock
from shared.errors import AmbiguousError, CodecError, ConflictError, LeaseLostError
from shared.loop import Dirty
from shared.model import AllocId, Assignment, Claim, Epoch, NodeName, Revision
from shared.store import Compare, Put, Store
from shared.view import View

_log = structlog.get_logger()

# Heals what an event missed; nothing is read or written by a pass that finds nothing to do.
_PERIOD_S: Final = 10.0
# A claim that could not be written is tried again after this.
_AGAIN_S: Final = 0.1


class Neighbours(Protocol):
    """The other nodes' agents, asked without etcd."""

    @property
    def promised_until_boot_s(self) -> float:
        """Return until when we have promised to take no claim."""
        ...

    async def ask_all(self, hold_s: float) -> Mapping[NodeName, bool | None]:
        """Ask every other node whether it has no session and takes no claim for `hold_s`.

        True: it promises. False: it has a session. None: it is silent.
        """
        ...


class Exclusive:
    """This node's exclusive work.

    Args:
        store: where the claims are.
        membership: who we are, and our session.
        runtime: what has the fuse.
        neighbours: for failsafe.
        clock: time.
        changed: called when a right may have changed.
    """

    def __init__(
        self,
        store: Store,
        membership: Membership,
        runtime: Runtime,
        neighbours: Neighbours,
        clock: Clock,
        *,
        changed: Callable[[], None],
    ) -> None:
        self._store, self._membership = store, membership
        self._me, self._timing = membership.node, membership.timing
        self._runtime, self._neighbours = runtime, neighbours
        self._clock, self._changed = clock, changed
        self.claims_dirty, self.fuse_dirty = Dirty(), Dirty()
        self.view = View(self._view_changed)
        self._wanted: tuple[Assignment, ...] = ()
        self._manifest_revision = Revision(0)
        self._running: Mapping[AllocId, str] = {}  # seen to run, or a step is under way
        self._exposed: Mapping[AllocId, str] | None = None  # those, and what may be started
        self._ours: dict[str, Seen] = {}  # what we wrote and the view does not show yet
        self._our_epochs: dict[str, Newest] = {}
        self._complaints = Complaints()
        self._absent_since: Mapping[str, float] = {}
        # An agent before us may have promised something, and clocks of ours may have stood still.
        self._held_off_until = clock.boot_s() + self._hold_s
        self._crowd = Crowd(self._hold_s)
        self._neighbours_known = False
        self._failsafe_until = self._told_until = self._not_before = 0.0
        membership.on_change(self._session_changed)

    # ------------------------------------------------------------ what the agent asks

    def judge(
        self,
        wanted: Iterable[Assignment],
        manifest_revision: Revision,
        containers: Iterable[Container],
        in_flight: Iterable[AllocId],
    ) -> Mapping[AllocId, Verdict]:
        """Return what each exclusive allocation may do now, and remember what is asked and runs."""
        self._wanted = tuple(each for each in wanted if claims.is_subject(each))
        self._manifest_revision = manifest_revision
        subjects = {
            container.id: container
            for container in containers
            if container.assignment.workload.exclusive
        }
        busy = frozenset(in_flight)
        # What was allowed to run may have been started since the containers were listed.
        running = {
            id_: key
            for id_, key in (self._exposed or {}).items()
            if id_ in busy or (id_ in subjects and subjects[id_].phase is Phase.RUNNING)
        }
        slots = {each.id: claims.key_of(each) for each in self._wanted}
        # One that was made as a standby knows no slot: its claim does.
        known = self._claimed_here() | running | slots
        for id_, container in subjects.items():
            if container.phase is Phase.RUNNING:
                running[id_] = known.get(id_) or claims.key_of(container.assignment)
        self._running = running
        decision = self._decide()
        self._exposed = {
            **running,
            **{
                id_: slots[id_]
                for id_, verdict in decision.verdicts.items()
                if verdict.right is Right.HELD and id_ in slots
            },
        }
        if decision.writes and self._clock.boot_s() >= self._not_before:
            self.claims_dirty.mark()
        self.fuse_dirty.mark()
        return decision.verdicts

    @property
    def is_kept(self) -> bool:
        """Say whether something exclusive can be made here now: the fuse is not about to burn."""
        return self._until() > self._clock.boot_s()

    @property
    def until_s(self) -> float:
        """Return until when exclusive work may run here, as last told to the kernel."""
        return self._told_until

    @property
    def runs(self) -> bool:
        """Say whether anything exclusive may be running here; not known yet counts as yes."""
        return self._exposed is None or bool(self._exposed)

    def crowd(self, *, present: int, nodes: int) -> None:
        """Learn how many of the cluster's nodes have a session."""
        self._neighbours_known = True
        if self._crowd.learn(self._clock.boot_s(), present=present, nodes=nodes):
            self.claims_dirty.mark()

    # ------------------------------------------------------------ claims

    async def claims_pass(self) -> float:
        """Take and let go what is to be; return when to look again, seconds.

        Raises:
            UnavailableError: etcd cannot be reached.
        """
        decision = self._decide()
        written = [await self._write(write) for write in decision.writes]
        self._push()
        if any(written) or decision.wake_in_s is not None:
            self._changed()
        if not all(written):
            # What stood in the way shows in a view before long; asking at once would ask for ever.
            self._not_before = self._clock.boot_s() + _AGAIN_S
            return _AGAIN_S
        return _PERIOD_S if decision.wake_in_s is None else decision.wake_in_s

    def _decide(self) -> Decision:
        now = self._clock.boot_s()
        seen = self._claims()
        self._absent_since = claims.absent(self._absent_since, self._wanted, seen.keys(), now)
        session = self._membership.session
        around = Around(
            now=now,
            session=SessionNow(session.lease.id, session.revision) if session is not None else None,
            absent_since=self._absent_since,
            trusted_from=self._crowd.trusted_from,
            held_off_until=max(self._held_off_until, self._neighbours.promised_until_boot_s),
            is_failsafe=self._failsafe_until > now,
            newest=self._newest(),
        )
        return claims.decide(
            self._me,
            self._wanted,
            self._running,
            seen,
            around,
            self._timing,
        )

    async def _write(self, write: Write) -> bool:
        """Write a claim; say whether it is written."""
        session = self._membership.session
        if session is None or not self._manifest_revision:
            return False
        lease = 0 if write.is_release else session.lease.id
        conditions = [
            Compare(write.key, write.expected),
            Compare(keys.node_alive(self._me), session.revision),
            Compare(keys.desired(self._me), self._manifest_revision),
        ]
        puts = [Put(write.key, codec.encode(write.claim), lease)]
        epoch_key, epoch = keys.epoch_of(write.key), write.claim.epoch
        if write.newest is not None:
            conditions.append(Compare(epoch_key, write.newest.revision))
            if epoch > write.newest.epoch:
                puts.append(Put(epoch_key, codec.encode(Epoch(epoch=epoch))))
        try:
            revision = await self._store.txn(conditions, puts)
        except (ConflictError, LeaseLostError, AmbiguousError) as error:
            # The watch shows what became of it; until then nothing is assumed.
            _log.info("claim_not_written", key=write.key, reason=str(error))
            return False
        self._ours[write.key] = Seen(write.claim, revision, lease)
        if len(puts) > 1:
            self._our_epochs[write.key] = Newest(epoch, revision)
        word = "claim_released" if write.is_release else "claim_taken"
        _log.info(word, key=write.key, epoch=write.claim.epoch, revision=revision)
        return True

    def _claims(self) -> Mapping[str, Seen]:
        """Return the store's claims, with those we have just written in place of older ones."""
        found: dict[str, Seen] = {}
        for key, item in self.view.items.items():
            if keys.is_epoch(key):
                continue
            try:
                claim = codec.decode(Claim, item.value, key)
            except CodecError as error:
                # Somebody's, that is all we know: not to be taken.
                self._complaints.say(item, error)
                claim = Claim(node=NodeName("?"), allocation=AllocId("?"), epoch=0)
            found[key] = Seen(claim, item.mod_revision, item.lease)
        self._ours = not_shown(self._ours, self.view)
        return found | self._ours

    def _newest(self) -> Mapping[str, Newest]:
        """Return the newest epoch by the claim's key, with what we have just written."""
        found = {}
        for key, item in self.view.items.items():
            if not keys.is_epoch(key):
                continue
            try:
                epoch = codec.decode(Epoch, item.value, key).epoch
            except CodecError as error:
                # Whoever knows not what has run starts nothing that is older than anything.
                self._complaints.say(item, error)
                epoch = sys.maxsize
            found[keys.claim_of(key)] = Newest(epoch, item.mod_revision)
        self._our_epochs = not_shown(self._our_epochs, self.view)
        return found | self._our_epochs

    def _claimed_here(self) -> dict[AllocId, str]:
        return {
            seen.claim.allocation: key
            for key, seen in self._claims().items()
            if seen.claim.node == self._me
        }

    # ------------------------------------------------------------ the fuse

    async def fuse_pass(self) -> float:
        """Push the fuse on, by the neighbours' word if need be; return when to look again."""
        self._push()
        if not self._exposed:
            return _PERIOD_S
        spare_s = self._until() - self._clock.boot_s()
        # Renewals push by themselves: this is for when they do not come.
        early_s = spare_s - self._timing.lease_ttl_s / 2
        if early_s > 0:
            return early_s
        await self._ask_neighbours()
        return self._timing.lease_ttl_s / 40

    def _push(self) -> None:
        """Push the fuse on as far as is safe; it never goes back.

        Not before it is known what runs: an agent before us may have left something.
        """
        if self._exposed is None:
            return
        until = self._until()
        if until > self._clock.boot_s():
            self._told_until = max(self._told_until, until)
            self._runtime.keep_until(until)

    def _until(self) -> float:
        session = self._membership.session
        by_lease = 0.0
        if session is not None and self._is_all_claimed(session.lease.id):
            by_lease = session.lease.ends_s - self._timing.fence_margin_s
        return max(by_lease, self._failsafe_until)

    def _is_all_claimed(self, lease: int) -> bool:
        """Say whether all that runs, or may, is claimed under this lease."""
        seen = self._claims()
        for id_, key in (self._exposed or {}).items():
            claim = seen.get(key)
            if claim is None or claim.lease != lease or claim.claim.allocation != id_:
                return False
        return True

    async def _ask_neighbours(self) -> None:
        """Let the fuse burn unless all others agree that it need not."""
        if not self._neighbours_known:
            return  # This agent began when etcd was lost: it knows nobody to ask.
        asked_at = self._clock.boot_s()
        answers = await self._neighbours.ask_all(self._hold_s)
        if any(answer is not True for answer in answers.values()):
            return
        until = asked_at + self._timing.lease_ttl_s - self._timing.fence_margin_s
        if until > self._failsafe_until:
            self._failsafe_until = until
            self._push()
            _log.warning("failsafe", reason="etcd is lost for every node: exclusive work goes on")

    @property
    def _hold_s(self) -> float:
        return self._timing.lease_ttl_s + self._timing.claim_margin_s

    # ------------------------------------------------------------ what wakes us

    def _session_changed(self) -> None:
        session = self._membership.session
        if session is not None:
            session.lease.on_renewed(self._push)
        self.claims_dirty.mark()
        self.fuse_dirty.mark()
        self._changed()

    def _view_changed(self) -> None:
        self.claims_dirty.mark()
        self._changed()
