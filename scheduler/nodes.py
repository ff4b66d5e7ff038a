"""Which nodes can be relied on.

A lease that ended makes a node suspect, then lost. A majority of its watchers makes it unreachable
at once, even while its lease still lives.

Pure. The lease's end and the peers' words are the facts. What was seen before is handed in and
handed back as `History`: a node that comes and goes is believed less each time.
"""

import enum
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from scheduler.votes import Word, word
from scheduler.world import NodeState, World
from shared.model import Availability, NodeName, Silence
from shared.timing import Timing
from shared.votes import is_mass

# At most this share of the nodes, and one at least, is given up on the peers' word within a lease:
# if the words are wrong, most of the cluster still waits for the leases to say the same.
_FAST_SHARE: Final = 10
# A loss this many leases ago is no part of what happens now.
_NEWS_LEASES: Final = 2
# The gateway of a node whose agent is down serves on, and what it was told last. An agent that was
# killed or upgraded is back within seconds; one that is not by then may be gone for days, and each
# slot of an update would wait its whole drain limit for it.
GATEWAY_WAIT_S: Final = 30.0
# 2.0 ** this is longer than any limit.
_EXPONENT_MAX: Final = 30


class Verdict(enum.StrEnum):
    """What the leader holds a node for."""

    READY = "ready"
    CORDONED = "cordoned"
    DRAINING = "draining"
    PROBATION = "probation"  # it came back once too often: it keeps what it has, gets nothing new
    SUSPECT = "suspect"  # its lease ended less than the grace period ago, or a peer misses its host
    UNREACHABLE = "unreachable"  # by a majority of its watchers: replaced at once, may yet live
    LOST = "lost"  # what it should run is placed elsewhere

    @property
    def is_sound(self) -> bool:
        """Say whether the node works as far as anybody knows."""
        return self in _SOUND

    @property
    def is_given_up(self) -> bool:
        """Say whether what it runs is replaced."""
        return self in {Verdict.UNREACHABLE, Verdict.LOST}

    @property
    def is_by_order(self) -> bool:
        """Say whether the node is well, and an operator lets it take nothing new."""
        return self in _BY_ORDER.values()


_SOUND: Final = frozenset({Verdict.READY, Verdict.CORDONED, Verdict.DRAINING, Verdict.PROBATION})
# What an operator's word makes of a node that is well.
_BY_ORDER: Final = {
    Availability.CORDONED: Verdict.CORDONED,
    Availability.DRAINING: Verdict.DRAINING,
}
Verdicts = Mapping[NodeName, Verdict]
Grounds = tuple[tuple[NodeName, bool, Availability, Mapping[NodeName, Silence]], ...]


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of the nodes, by our monotonic clock.

    Attributes:
        missing_since: when a node's lease was first seen ended.
        confirmed_since: when a majority of its watchers was first seen to miss it.
        given_up: the verdict of those that are given up now.
        losses: when each was given up, within the window that counts as flapping.
        back_since: when each was first seen again after its last loss.
        fast_at: when nodes were given up on their peers' word, within the last lease.
    """

    missing_since: Mapping[NodeName, float] = {}
    confirmed_since: Mapping[NodeName, float] = {}
    given_up: Verdicts = {}
    losses: Mapping[NodeName, tuple[float, ...]] = {}
    back_since: Mapping[NodeName, float] = {}
    fast_at: tuple[float, ...] = ()


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict for every node.

    Attributes:
        reasons: one sentence for each node that is not simply well.
        doubted: those whose host at least one peer misses.
        headless: those whose session has ended, less than GATEWAY_WAIT_S ago, and whose host
            answers: their gateways may still send requests.
        history: to be handed in the next time.
        changes_in_s: when time alone will change a verdict; None: never.
    """

    verdicts: Verdicts
    reasons: Mapping[NodeName, str] = {}
    doubted: frozenset[NodeName] = frozenset()
    headless: frozenset[NodeName] = frozenset()
    history: History = History()
    changes_in_s: float | None = None


def grounds_of(world: World) -> Grounds:
    """Return all of a world that `judge` goes by."""
    return tuple(
        (name, node.alive, node.spec.availability, node.suspected_by)
        for name, node in world.nodes.items()
    )


def judge(world: World, before: History, now: float, timing: Timing) -> Judged:
    """Return a verdict for every node, and what to remember.

    Args:
        world: what is known.
        before: what the call before returned; nothing is a good beginning.
        now: our monotonic clock.
        timing: how fast a silent node is given up, and how long a flapping one is mistrusted.
    """
    said = word(world)
    seen = _seen(world, before, said, now, timing)
    is_braked = _is_braked(world, seen, said, now, timing)
    grace_s = timing.grace_s + (timing.lease_ttl_s if is_braked else 0.0)
    fast_left = 0 if is_braked else max(1, len(world.nodes) // _FAST_SHARE) - len(seen.fast_at)
    given_up = _Case(world, seen, said, now, timing, grace_s).given_up(fast_left)
    history = _remembered(seen, given_up, now)
    case = _Case(world, history, said, now, timing, grace_s)
    verdicts = case.verdicts()
    return Judged(
        verdicts=verdicts,
        reasons={name: why for name in world.nodes if (why := case.reason(name, verdicts[name]))},
        doubted=frozenset(said.host),
        headless=frozenset(case.headless()),
        history=history,
        changes_in_s=case.changes_in_s(verdicts),
    )


def flap_s(losses: int, timing: Timing) -> float:
    """Return how long a node is mistrusted that was given up so many times within the window."""
    if losses < 2:  # noqa: PLR2004 - one loss is an accident, two are a habit
        return 0.0
    return min(timing.flap_base_s * 2.0 ** min(losses - 2, _EXPONENT_MAX), timing.flap_limit_s)


def _seen(world: World, before: History, said: Word, now: float, timing: Timing) -> History:
    """Return the history after looking: what is no longer so is forgotten.

    Who is back is so before the brake is decided: else it would count as old news now, and as one
    that is well for whoever asks again.
    """
    nodes = world.nodes
    missing = {name: before.missing_since.get(name, now) for name in nodes if not nodes[name].alive}
    confirmed = {
        name: before.confirmed_since.get(name, now) for name in nodes if said.is_confirmed(name)
    }
    away = missing.keys() | confirmed.keys()
    known = {name: verdict for name, verdict in before.given_up.items() if name in nodes}
    back = [name for name in known if name not in away]
    return History(
        missing_since=missing,
        confirmed_since=confirmed,
        given_up={name: verdict for name, verdict in known.items() if name in away},
        losses={
            name: recent
            for name, times in before.losses.items()
            if name in nodes
            and (recent := tuple(at for at in times if at + timing.flap_window_s > now))
        },
        back_since={
            **{name: at for name, at in before.back_since.items() if name in nodes},
            **dict.fromkeys(back, now),
        },
        fast_at=tuple(at for at in before.fast_at if at + timing.lease_ttl_s > now),
    )


def _is_braked(world: World, seen: History, said: Word, now: float, timing: Timing) -> bool:
    """Say whether a mass of nodes is in trouble; those that were lost long ago are no news."""
    news_s = _NEWS_LEASES * timing.lease_ttl_s
    old = {
        name
        for name in seen.given_up
        if not any(at + news_s > now for at in seen.losses.get(name, ()))
    }
    troubled = (seen.missing_since.keys() | said.host.keys()) - old
    return is_mass(len(troubled), len(world.nodes) - len(old))


def _remembered(seen: History, given_up: Verdicts, now: float) -> History:
    lost = [name for name in given_up if name not in seen.given_up]
    fast = tuple(now for name in lost if given_up[name] is Verdict.UNREACHABLE)
    return msgspec.structs.replace(
        seen,
        given_up=given_up,
        losses={**seen.losses, **{name: (*seen.losses.get(name, ()), now) for name in lost}},
        back_since={name: at for name, at in seen.back_since.items() if name not in given_up},
        fast_at=(*seen.fast_at, *fast),
    )


class _Case:
    """Everything that a verdict depends on; local to one call of `judge`."""

    def __init__(
        self,
        world: World,
        history: History,
        said: Word,
        now: float,
        timing: Timing,
        grace_s: float,
    ) -> None:
        self._world, self._history, self._said = world, history, said
        self._now, self._timing, self._grace_s = now, timing, grace_s

    def given_up(self, fast_left: int) -> Verdicts:
        """Return the nodes that are given up now; on their peers' word, at most `fast_left` new."""
        found: dict[NodeName, Verdict] = {}
        for name in self._world.nodes:
            before = self._history.given_up.get(name)
            if self._is_lost(name):
                found[name] = Verdict.LOST
            elif before is not None:
                found[name] = Verdict.UNREACHABLE
            elif fast_left > 0 and self._is_convicted(name):
                found[name] = Verdict.UNREACHABLE
                fast_left -= 1
        return found

    def _is_lost(self, name: NodeName) -> bool:
        since = self._history.missing_since.get(name)
        if since is None:
            return False
        # Once lost is lost until it is back: others that fall silent later change nothing.
        was_lost = self._history.given_up.get(name) is Verdict.LOST
        return was_lost or self._now >= since + self._grace_s

    def _is_convicted(self, name: NodeName) -> bool:
        since = self._history.confirmed_since.get(name)
        return since is not None and self._now >= since + self._patience_s(name)

    def _patience_s(self, name: NodeName) -> float:
        """Return how long its peers' word is doubted: this loss counts with those before it."""
        return flap_s(len(self._history.losses.get(name, ())) + 1, self._timing)

    def _probation_left_s(self, name: NodeName) -> float:
        since = self._history.back_since.get(name)
        if since is None:
            return 0.0
        mistrust_s = flap_s(len(self._history.losses.get(name, ())), self._timing)
        return max(since + mistrust_s - self._now, 0.0)

    def verdicts(self) -> Verdicts:
        """Return the verdicts, given who is given up."""
        mistrusted = {name for name in self._world.nodes if self._probation_left_s(name) > 0}
        # Where half of the nodes came back at once, it was not they who flapped.
        if len(mistrusted) * 2 >= len(self._world.nodes):
            mistrusted = set()
        return {
            name: self._verdict(name, node, is_mistrusted=name in mistrusted)
            for name, node in self._world.nodes.items()
        }

    def _verdict(self, name: NodeName, node: NodeState, *, is_mistrusted: bool) -> Verdict:
        given_up = self._history.given_up.get(name)
        if given_up is not None:
            return given_up
        if not node.alive or name in self._said.host:
            return Verdict.SUSPECT
        mistrusted = Verdict.PROBATION if is_mistrusted else Verdict.READY
        return _BY_ORDER.get(node.spec.availability, mistrusted)

    def headless(self) -> Mapping[NodeName, float]:
        """Return whose gateways are waited for though nothing is heard of them, and until when."""
        ends = {
            name: since + GATEWAY_WAIT_S
            for name, since in self._history.missing_since.items()
            if name in self._said.agent
        }
        return {name: end for name, end in ends.items() if end > self._now}

    def reason(self, name: NodeName, verdict: Verdict) -> str:
        """Return why, in one sentence with numbers; empty if there is nothing to say."""
        parts = []
        since = self._history.missing_since.get(name)
        if since is not None:
            parts.append(f"its lease ended {self._now - since:.1f} s ago")
        if name in self._said.host:
            parts.append(f"its host does not answer {_and(self._said.host[name])}")
        elif name in self._said.agent:
            parts.append(f"its agent does not answer {_and(self._said.agent[name])}, its host does")
            if since is not None:
                parts.append(f"its gateway serves what was true {self._now - since:.0f} s ago")
        if verdict is Verdict.SUSPECT and name in self._history.confirmed_since:
            parts += self._why_not_yet(name)
        if verdict is Verdict.PROBATION:
            ago_s = self._now - self._history.back_since[name]
            parts.append(
                f"came back {ago_s:.0f} s ago after {self._lost_times(name)},"
                f" takes new work in {self._probation_left_s(name):.0f} s"
            )
        return ", ".join(parts)

    def _why_not_yet(self, name: NodeName) -> Iterable[str]:
        left_s = self._history.confirmed_since[name] + self._patience_s(name) - self._now
        if left_s > 0:
            yield f"after {self._lost_times(name)} that is believed in {left_s:.1f} s"
        else:
            yield "too many nodes fell silent at once: its lease decides"

    def _lost_times(self, name: NodeName) -> str:
        times = len(self._history.losses.get(name, ()))
        losses = "1 loss" if times == 1 else f"{times} losses"
        return f"{losses} in {self._timing.flap_window_s / 60:.0f} min"

    def changes_in_s(self, verdicts: Verdicts) -> float | None:
        """Return when time alone will change a verdict."""
        history, timing = self._history, self._timing
        ends = [since + self._grace_s for since in history.missing_since.values()]
        ends += self.headless().values()
        for name, since in history.confirmed_since.items():
            if not verdicts[name].is_given_up:
                ends.append(since + self._patience_s(name))
                ends += [at + timing.lease_ttl_s for at in history.fast_at]
        if any(verdict is Verdict.SUSPECT for verdict in verdicts.values()):
            news_s = _NEWS_LEASES * timing.lease_ttl_s
            ends += [at + news_s for times in history.losses.values() for at in times]
        ends += [self._now + self._probation_left_s(name) for name in history.back_since]
        return min((end - self._now for end in ends if end > self._now), default=None)


def _and(names: tuple[NodeName, ...]) -> str:
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last
