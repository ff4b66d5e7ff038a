"""Who may run an exclusive slot: what this node's claims allow, and which to take or to let go.

Pure. A claim is a key under the session lease of the node that has it. It can be taken only while
nobody has it, in one transaction with this node's session and manifest unchanged; so of all nodes
at most one has it, whatever the leader believes. That nothing runs on after its claim has ended is
the fuse's work (see node_agent.exclusive), not this module's.
"""

import enum
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

import msgspec

from shared import keys
from shared.model import AllocId, Assignment, Claim, NodeName, Revision, Want
from shared.timing import Timing


class Right(enum.Enum):
    """What an allocation may do now; all others than exclusive ones may, unless they wait."""

    HELD = "held"  # it may be started and run
    WAIT = "wait"  # it may be made; not started; one that runs goes on as long as its fuse
    DENIED = "denied"  # another has the claim: one that runs is stopped at once


class Verdict(msgspec.Struct, frozen=True):
    """An allocation's right, and why it waits: a sentence for people, empty when it does not."""

    right: Right
    reason: str = ""


class Seen(msgspec.Struct, frozen=True):
    """A claim as it is in the store."""

    claim: Claim
    revision: Revision
    lease: int


class Newest(msgspec.Struct, frozen=True):
    """The newest epoch that has had a slot's claim, and its key's revision; 0: none has."""

    epoch: int = 0
    revision: Revision = Revision(0)


class SessionNow(msgspec.Struct, frozen=True):
    """This node's session: its lease, and the revision of the key that hangs on it."""

    lease: int
    revision: Revision


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What else matters, all times by the boot clock.

    Attributes:
        now: the time.
        session: None: we have none that can be relied on.
        absent_since: by key, since when we see that nobody has the claim.
        trusted_from: when an absent claim says that its lease ran out; None: not while half of the
            nodes or more have no session.
        held_off_until: what we have promised to others, or may have before we were started.
        is_failsafe: etcd is lost for all nodes, and each has promised to take nothing.
        newest: by the claim's key, which epoch nothing may come after.
    """

    now: float
    session: SessionNow | None = None
    absent_since: Mapping[str, float] = {}
    trusted_from: float | None = None
    held_off_until: float = 0.0
    is_failsafe: bool = False
    newest: Mapping[str, Newest] = {}


class Write(msgspec.Struct, frozen=True):
    """A claim to write on condition of the key's revision; under our lease unless it lets go.

    Attributes:
        newest: of the slot's epochs, while it is written, nothing else may be known; None: it lets
            go, and what has run does not matter.
    """

    key: str
    claim: Claim
    expected: Revision
    newest: Newest | None

    @property
    def is_release(self) -> bool:
        """Say whether it lets go."""
        return not self.claim.node


class Decision(msgspec.Struct, frozen=True):
    """What to write, what each allocation may do, and when time alone may change that."""

    writes: tuple[Write, ...]
    verdicts: Mapping[AllocId, Verdict]
    wake_in_s: float | None = None


class _Slot(msgspec.Struct):
    """One exclusive slot on this node; local to one call of `decide`."""

    wanted: list[Assignment]
    running: set[AllocId]


class _Outcome(msgspec.Struct, frozen=True):
    """What is decided for one slot: who holds it, what to write, why the others wait."""

    holder: AllocId | None = None
    write: Write | None = None
    reason: str = ""
    is_denied: bool = False
    wake_in_s: float | None = None


def key_of(assignment: Assignment) -> str:
    """Return the key of the claim that an exclusive assignment needs."""
    return keys.claim(assignment.stack, assignment.service, assignment.slot)


def is_subject(assignment: Assignment) -> bool:
    """Say whether an assignment needs a claim to run."""
    return assignment.workload.exclusive and assignment.want is not Want.STANDBY


def decide(
    me: NodeName,
    wanted: Iterable[Assignment],
    running: Mapping[AllocId, str],
    claims: Mapping[str, Seen],
    around: Around,
    timing: Timing,
) -> Decision:
    """Return which claims to take or let go, and what each exclusive allocation may do.

    Args:
        me: this node.
        wanted: all assignments of the manifest.
        running: the exclusive allocations that run here or may, each with the key of its claim.
        claims: every claim that there is.
        around: everything else.
        timing: the margins.
    """
    slots = _slots(me, wanted, running, claims)
    writes: list[Write] = []
    verdicts: dict[AllocId, Verdict] = {}
    wakes: list[float] = []
    for key, slot in sorted(slots.items()):
        outcome = _decide_one(me, key, slot, claims.get(key), around, timing)
        if outcome.write is not None:
            writes.append(outcome.write)
        if outcome.wake_in_s is not None:
            wakes.append(outcome.wake_in_s)
        verdicts |= _verdicts(slot, outcome)
    return Decision(tuple(writes), verdicts, min(wakes, default=None))


def _slots(
    me: NodeName,
    wanted: Iterable[Assignment],
    running: Mapping[AllocId, str],
    claims: Mapping[str, Seen],
) -> Mapping[str, _Slot]:
    """Return every slot that is wanted here, runs here, or is ours."""
    slots: dict[str, _Slot] = {}
    for assignment in wanted:
        if is_subject(assignment):
            slots.setdefault(key_of(assignment), _Slot([], set())).wanted.append(assignment)
    for id_, key in running.items():
        slots.setdefault(key, _Slot([], set())).running.add(id_)
    for key, seen in claims.items():
        if seen.claim.node == me:
            slots.setdefault(key, _Slot([], set()))
    return slots


def _verdicts(slot: _Slot, outcome: _Outcome) -> Mapping[AllocId, Verdict]:
    waits = Verdict(Right.DENIED if outcome.is_denied else Right.WAIT, outcome.reason)
    ids = {assignment.id for assignment in slot.wanted} | slot.running
    return {id_: Verdict(Right.HELD) if id_ == outcome.holder else waits for id_ in ids}


def _decide_one(
    me: NodeName,
    key: str,
    slot: _Slot,
    seen: Seen | None,
    around: Around,
    timing: Timing,
) -> _Outcome:
    if seen is not None and seen.claim.node == me:
        return _ours(key, slot, seen, around)
    if seen is not None and seen.claim.node:
        return _Outcome(reason=f"waits until {seen.claim.node} lets go of it", is_denied=True)
    best = _best(slot)
    if best is None:
        return _Outcome(reason="it is not asked for here any more")
    if around.session is None:
        return _Outcome(reason="waits for a session: etcd cannot be reached")
    hindrance = _hindrance(key, best, slot, seen, around, timing)
    if hindrance is not None:
        return hindrance
    expected = seen.revision if seen is not None else Revision(0)
    return _Outcome(write=_take(me, key, best, expected, around), reason="takes its claim")


def _best(slot: _Slot) -> Assignment | None:
    """Return whom the claim is for: what runs, else the newest that should."""
    for assignment in slot.wanted:
        if assignment.id in slot.running:
            return assignment
    if slot.running:
        return None  # Something runs that is not wanted: it goes first.
    waiting = [assignment for assignment in slot.wanted if assignment.want is Want.RUN]
    return max(waiting, key=lambda assignment: (assignment.epoch, assignment.id), default=None)


def _ours(key: str, slot: _Slot, seen: Seen, around: Around) -> _Outcome:
    """Return what follows from a claim that we have, perhaps by a session before this one."""
    claim, session = seen.claim, around.session
    named = next((each for each in slot.wanted if each.id == claim.allocation), None)
    if named is not None or slot.running:
        if session is not None and session.lease == seen.lease:
            return _Outcome(holder=claim.allocation, reason="another of its slot goes first")
        if session is None:
            holder = claim.allocation if around.is_failsafe else None
            return _Outcome(holder=holder, reason="waits for a session: etcd cannot be reached")
        renewal = Write(key, claim, seen.revision, around.newest.get(key, Newest()))
        return _Outcome(write=renewal, reason="renews its claim")
    if session is None:
        return _Outcome(reason="waits for a session: etcd cannot be reached")
    heir = _best(slot)
    if heir is None or heir.epoch < _newest(key, seen, around):
        released = msgspec.structs.replace(claim, node=NodeName(""))
        return _Outcome(write=Write(key, released, seen.revision, None))
    write = _take(claim.node, key, heir, seen.revision, around)
    return _Outcome(write=write, reason="takes its claim")


def _take(
    me: NodeName, key: str, assignment: Assignment, expected: Revision, around: Around
) -> Write:
    claim = Claim(node=me, allocation=assignment.id, epoch=assignment.epoch)
    return Write(key, claim, expected, around.newest.get(key, Newest()))


def _newest(key: str, seen: Seen | None, around: Around) -> int:
    """Return the newest epoch that has had the claim: what it wrote to may refuse an older one."""
    known = around.newest.get(key, Newest()).epoch
    return max(known, seen.claim.epoch) if seen is not None else known


def _hindrance(
    key: str,
    best: Assignment,
    slot: _Slot,
    seen: Seen | None,
    around: Around,
    timing: Timing,
) -> _Outcome | None:
    """Return why a claim that nobody has is not taken yet, or None.

    One that was let go is free. One that is absent was under a lease that has ended: its holder has
    ended its work before, unless the lease was ended early, which would show as many at once.
    """
    newest = _newest(key, seen, around)
    if best.epoch < newest:
        why = f"epoch {best.epoch} is past: {newest} has run"
        return _Outcome(reason=why, is_denied=True)
    if seen is not None or best.id in slot.running:
        return None
    if around.trusted_from is None:
        return _Outcome(reason="waits: half of the nodes or more have no session")
    absent_since = around.absent_since.get(key, around.now)
    free_at = max(
        absent_since + timing.claim_margin_s,
        around.held_off_until,
        around.trusted_from,
    )
    if free_at > around.now:
        return _Outcome(
            reason="waits until nobody can run it any more", wake_in_s=free_at - around.now
        )
    return None


def absent(
    before: Mapping[str, float], wanted: Iterable[Assignment], claims: AbstractSet[str], now: float
) -> Mapping[str, float]:
    """Return since when each claim that we want has been seen to be nobody's."""
    ours = {key_of(assignment) for assignment in wanted if is_subject(assignment)}
    return {key: before.get(key, now) for key in sorted(ours - claims)}
