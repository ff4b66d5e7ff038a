"""Which floating addresses this node answers, and which claims it takes or lets go.

Pure. A claim is a key under its holder's session lease. There are three ways to one that another
had: it was let go, by a holder that had dropped the address before; its lease has ended, and the
holder's kernel has dropped it since (Timing.address_grace_s); or the holder's host is unreachable
by its watchers' word, and it has dropped it because it has no answer from them either
(Timing.contact_s, takeover_s). docs/adr/0026 says what of that is proved.
"""

import enum
import ipaddress
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from node_agent.floating.convicted import Convicted
from node_agent.floating.homes import NodeNow, candidates, homes
from node_agent.floating.level import Declined, Move, level
from shared import keys
from shared.labels import meets
from shared.model import FloatingAddress, FloatingClaim, NodeName, Revision
from shared.store import Compare, Condition, Unchanged
from shared.timing import Timing

# The first choice may be unable to for reasons that only it knows: the next waits so much longer.
NEXT_S: Final = 1.0
# What breaks gateways everywhere is said everywhere within this: each is looked at once a second.
# Who was the first to say it would hand its addresses to the last.
SAID_EVERYWHERE_S: Final = 1.5
NOBODY: Final = NodeName("")


class Right(enum.Enum):
    """What this node may do with an address."""

    UP = "up"  # answer it, and go on for a while should this agent be gone
    KEEP = "keep"  # go on, but for no longer than was told before
    DOWN = "down"  # not answer it


class Seen(msgspec.Struct, frozen=True):
    """A claim as it is in the store."""

    claim: FloatingClaim
    revision: Revision
    lease: int = 0


class Choices(msgspec.Struct, frozen=True):
    """Who should have what; no time has a part in it.

    Attributes:
        homes: see there.
        move: the one that levels the addresses next, once all is calm.
    """

    homes: Mapping[str, tuple[NodeName, ...]]
    move: Move | None


def choices_of(
    records: Mapping[str, FloatingAddress],
    claims: Mapping[str, Seen],
    nodes: Iterable[NodeNow],
    gone: Convicted,
    declined: Declined = frozenset(),
) -> Choices:
    """Return who should have each address.

    Args:
        records: every floating address.
        claims: every claim that there is.
        nodes: all nodes of the cluster.
        gone: those whose hosts are unreachable.
        declined: what nodes did not take when it was their turn.
    """
    known, said = tuple(nodes), {address: seen.claim for address, seen in claims.items()}
    return Choices(homes(records, said, known, gone.keys()), level(records, said, known, declined))


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What else matters, all times by the boot clock.

    Attributes:
        now: the time.
        lease: this node's session's; 0: it has none that can be relied on.
        until: until when this node may go on with what it answers without a lease, as it was told
            to the kernel last.
        is_in_contact: those who could convict us answer, or etcd does.
        doubted: addresses whose claims may have been overtaken while we had no contact: each is
            written anew before it is relied on.
        up: addresses that this node answers now.
        free_since: by address, since when nobody has its claim as far as we see.
        convicted: nodes whose hosts are unreachable.
        convicted_since: since when we see that.
        last_holder: by address, of the claims that have ended.
        ripe_at: by address, from when on one that was taken may be answered.
        trusted_from: when an absent claim says that its lease ran out; None: not while half of the
            nodes or more have no session.
        held_off_until: what we have promised to others, or may have before we were started.
        refused_until: by address, when to try again what this node could not.
        calm_since: since when nodes and claims are as they are and nobody who has a session is
            suspected; None: somebody is.
        fails_since: since when the word is seen that our gateway does not serve; None: it is not.
        as_of: up to which revision everything under a prefix was read for that.
        choices: what follows from records, claims and nodes, where it is known from before; None:
            it is found anew.
        segments: the networks of this node's interfaces.
    """

    now: float
    lease: int = 0
    until: float = 0.0
    is_in_contact: bool = True
    doubted: AbstractSet[str] = frozenset()
    up: AbstractSet[str] = frozenset()
    free_since: Mapping[str, float] = {}
    convicted: Convicted = {}
    convicted_since: Mapping[NodeName, float] = {}
    last_holder: Mapping[str, NodeName] = {}
    ripe_at: Mapping[str, float] = {}
    trusted_from: float | None = None
    held_off_until: float = 0.0
    refused_until: Mapping[str, float] = {}
    calm_since: float | None = None
    fails_since: float | None = None
    as_of: Mapping[str, Revision] = {}
    choices: Choices | None = None
    segments: tuple[str, ...] = ()


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """A claim to write, or to delete, on condition of the key's revision.

    Attributes:
        claim: None: delete it.
        words: keys of the watchers' words that it relies on, with their revisions.
        is_fast: another may still have it for `takeover_s`.
        is_asked: ask the segment first whether somebody answers the address.
        unchanged: prefixes under which nothing may have been written after a revision.
    """

    address: str
    claim: FloatingClaim | None
    expected: Revision
    words: Mapping[str, Revision] = {}
    is_fast: bool = False
    is_asked: bool = False
    unchanged: Mapping[str, Revision] = {}

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Return what must still be so when it is written."""
        return (
            Compare(keys.vip(self.address), self.expected),
            *(Compare(key, revision) for key, revision in self.words.items()),
            *(Unchanged(prefix, revision) for prefix, revision in self.unchanged.items()),
        )

    @property
    def is_take(self) -> bool:
        """Say whether it goes under our lease."""
        return self.claim is not None and self.claim.node != NOBODY


class Decision(msgspec.Struct, frozen=True):
    """What this node may do with each address, what to write, when time alone changes that."""

    rights: Mapping[str, Right]
    writes: tuple[Write, ...]
    wake_in_s: float | None = None


class _One(msgspec.Struct, frozen=True):
    """What is decided for one address; `wake_s`: when that changes by itself."""

    right: Right = Right.DOWN
    write: Write | None = None
    wake_s: float | None = None


class _Case(msgspec.Struct, frozen=True):
    """One address.

    Attributes:
        rank: which choice for it this node is; None: none, or it has a holder.
        level_to: who should have it instead, so that nodes have equally many.
    """

    me: NodeName
    record: FloatingAddress
    seen: Seen | None
    nodes: tuple[NodeNow, ...]
    rank: int | None
    around: Around
    timing: Timing
    level_to: NodeName | None = None

    @property
    def address(self) -> str:
        return self.record.address


def decide(
    me: NodeName,
    records: Mapping[str, FloatingAddress],
    claims: Mapping[str, Seen],
    nodes: Iterable[NodeNow],
    around: Around,
    timing: Timing,
) -> Decision:
    """Return what this node does about every floating address.

    Args:
        me: this node.
        records: every floating address.
        claims: every claim that there is.
        nodes: all nodes of the cluster.
        around: everything else.
        timing: the margins.
    """
    known = tuple(nodes)
    choices = around.choices or choices_of(records, claims, known, around.convicted)
    move = choices.move if around.calm_since is not None else None
    found: dict[str, _One] = {}
    for address in sorted(records.keys() | claims.keys() | around.up):
        record, seen = records.get(address), claims.get(address)
        if record is None:
            found[address] = _unwanted(me, address, seen)
            continue
        ranking = choices.homes.get(address, ())
        rank = ranking.index(me) if me in ranking else None
        to = move.to if move is not None and move.address == address else None
        case = _Case(me, record, seen, known, rank, around, timing, to)
        is_ours = seen is not None and seen.claim.node == me
        found[address] = _ours(case, seen) if is_ours and seen is not None else _others(case)
    wakes = [one.wake_s - around.now for one in found.values() if one.wake_s is not None]
    return Decision(
        {address: one.right for address, one in found.items()},
        tuple(one.write for one in found.values() if one.write is not None),
        min(wakes, default=None),
    )


def _unwanted(me: NodeName, address: str, seen: Seen | None) -> _One:
    """Drop an address that nobody asks for any more; who had it takes its claim away."""
    if seen is None or seen.claim.node != me:
        return _One()
    return _One(write=Write(address=address, claim=None, expected=seen.revision))


# ------------------------------------------------------------ a claim of ours


def _ours(case: _Case, seen: Seen) -> _One:
    around, address = case.around, case.address
    heir = _heir(case, seen.claim) if around.lease else None
    if heir is not None:
        left = FloatingClaim(heir=heir, moves=case.record.moves, since_s=seen.claim.since_s)
        return _One(write=Write(address=address, claim=left, expected=seen.revision))
    level_s = _level_s(case)
    if level_s is not None and around.lease and level_s <= around.now:
        left = FloatingClaim(heir=case.level_to or NOBODY, moves=seen.claim.moves)
        left = msgspec.structs.replace(left, since_s=seen.claim.since_s)
        levelled = Write(address=address, claim=left, expected=seen.revision)
        return _One(write=msgspec.structs.replace(levelled, unchanged=around.as_of))
    is_cut_off = not around.is_in_contact or address in around.doubted
    is_over = is_cut_off or around.now >= around.until
    kept = _One() if is_over else _One(Right.KEEP, wake_s=around.until)
    if not around.lease or not around.is_in_contact:
        return kept
    if around.lease != seen.lease or address in around.doubted:
        again = Write(address=address, claim=seen.claim, expected=seen.revision)
        return msgspec.structs.replace(kept, write=again)
    ripe_s = around.ripe_at.get(address, 0.0)
    if around.now < ripe_s:
        return _One(wake_s=ripe_s)
    wakes = [at for at in (level_s, _fails_from_s(around)) if at is not None and at > around.now]
    return _One(Right.UP, wake_s=min(wakes, default=None))


def _fails_from_s(around: Around) -> float | None:
    """Return from when on our gateway's trouble counts; None: it has none."""
    return None if around.fails_since is None else around.fails_since + SAID_EVERYWHERE_S


def _level_s(case: _Case) -> float | None:
    """Return when this address is to be let go, so that nodes have equally many; None: never."""
    since_s = case.around.calm_since
    return None if case.level_to is None or since_s is None else since_s + case.timing.level_s


def _heir(case: _Case, claim: FloatingClaim) -> NodeName | None:
    """Return who should have it instead of us, NOBODY for nobody in particular; None: stay."""
    ours = next((node for node in case.nodes if node.spec.name == case.me), None)
    if case.record.moves > claim.moves and case.record.move_to in _others_of(case):
        return case.record.move_to
    if ours is None:
        return None
    if not meets(ours.spec, case.record.constraints):
        return NOBODY
    fails_s = _fails_from_s(case.around)
    if ours.serves is False and (fails_s is None or case.around.now < fails_s):
        ours = msgspec.structs.replace(ours, serves=None)
    better = {node.spec.name for node in case.nodes if _is_better(node, ours)}
    return NOBODY if better and not better.isdisjoint(_others_of(case)) else None


def _others_of(case: _Case) -> AbstractSet[NodeName]:
    return candidates(case.record, case.nodes) - {case.me}


def _is_better(node: NodeNow, ours: NodeNow) -> bool:
    """Say whether clients are better off there; of a gateway that says nothing nobody knows."""
    serves_instead = ours.serves is False and node.serves is not False
    return node.standing > ours.standing and (bool(node.serves) or not serves_instead)


# ------------------------------------------------------------ a claim of another's, or nobody's


def _others(case: _Case) -> _One:
    around, address = case.around, case.address
    is_kept = case.seen is None and address in around.up and _may_go_on(around, address)
    kept = _One(Right.KEEP, wake_s=around.until) if is_kept else _One()
    if not around.lease or not around.is_in_contact:
        return kept
    if is_kept:
        # The claim has ended with its lease, the right has not: nobody else can have it yet.
        return msgspec.structs.replace(kept, write=_take(case))
    way = _way(case) if case.rank is not None else None
    if way is None:
        return _One()
    free_s, write = way
    free_s = max(free_s + (case.rank or 0) * NEXT_S, around.refused_until.get(address, 0.0))
    return _One(write=write) if free_s <= around.now else _One(wake_s=free_s)


def _may_go_on(around: Around, address: str) -> bool:
    return around.is_in_contact and address not in around.doubted and around.now < around.until


def _way(case: _Case) -> tuple[float, Write] | None:
    """Return when and how this node may take the address; None: it may not."""
    around, timing, seen = case.around, case.timing, case.seen
    free_s = around.free_since.get(case.address, around.now)
    if seen is not None and not seen.claim.node:
        # Handed over by its holder, nobody else answers it; where it cannot be had, that is said.
        is_ours = seen.claim.heir == case.me and _fits(case.record, around.segments)
        return free_s, msgspec.structs.replace(_take(case), is_asked=not is_ours)
    holder = seen.claim.node if seen is not None else around.last_holder.get(case.address, NOBODY)
    if holder in around.convicted:
        words = {
            keys.suspect(holder, peer): revision
            for peer, revision in around.convicted[holder].items()
        }
        since_s = around.convicted_since.get(holder, around.now)
        return since_s, msgspec.structs.replace(_take(case), words=words, is_fast=True)
    if seen is not None or around.trusted_from is None:
        return None
    after_s = free_s + timing.address_grace_s + timing.claim_margin_s
    free_s = max(after_s, around.trusted_from, around.held_off_until)
    return free_s, msgspec.structs.replace(_take(case), is_asked=True)


def _fits(record: FloatingAddress, segments: Iterable[str]) -> bool:
    address = ipaddress.ip_address(record.address)
    return bool(record.prefix_length) or any(
        address in ipaddress.ip_network(segment) for segment in segments
    )


def _take(case: _Case) -> Write:
    claim = FloatingClaim(node=case.me, moves=case.record.moves)
    expected = case.seen.revision if case.seen is not None else Revision(0)
    return Write(address=case.address, claim=claim, expected=expected)
