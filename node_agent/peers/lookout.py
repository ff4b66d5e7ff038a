"""All the nodes that one node watches: whom to probe when, and which suspicions we stand by.

Pure. Everybody is probed in the same moment, so that nodes that fall silent together are found
together. That is how we notice that it is us who are cut off: nobody is heard at all. Then nothing
new is suspected, and when somebody is heard again all counting begins anew.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from node_agent.peers.net import Way
from node_agent.peers.watch import Watch, is_worse
from shared.model import NodeName, NodeSpec, Silence
from shared.timing import Timing

# Two moments closer than this are one: a timer may fire a little early by another clock.
_TOGETHER_S: Final = 0.001


class Lookout:
    """Watches some nodes; `nonce` makes the number of a probe."""

    def __init__(self, timing: Timing, nonce: Callable[[], int]) -> None:
        self._timing, self._nonce = timing, nonce
        self._watches: dict[str, Watch] = {}
        self._round_s: float | None = None
        self._planned_s: float | None = None
        self._heard_s: float | None = None

    def follow(self, nodes: Iterable[NodeSpec]) -> bool:
        """Watch these nodes and no others; return whether a suspicion ended with that."""
        before = self.suspicions
        self._watches = {spec.address: self._watch(spec) for spec in nodes}
        return self.suspicions != before

    def _watch(self, spec: NodeSpec) -> Watch:
        known = self._watches.get(spec.address)
        if known is not None and known.node == spec.name:
            return known
        return Watch(spec.name, spec.address, self._timing)

    @property
    def suspicions(self) -> Mapping[NodeName, Silence]:
        """Return what we stand by."""
        return {
            watch.node: watch.silence
            for watch in self._watches.values()
            if watch.silence is not None
        }

    @property
    def deaf(self) -> tuple[NodeName, ...]:
        """Return the nodes that answer as agents but not to ICMP, sorted."""
        return tuple(sorted([watch.node for watch in self._watches.values() if watch.is_deaf]))

    def answered_s(
        self, nodes: Iterable[NodeName], unanswered_min: int
    ) -> Mapping[NodeName, float]:
        """Return when the newest probe that each of `nodes` answered was sent.

        It is left out if it never answered, or is not watched. One that was asked fewer than
        `unanswered_min` times since has had no chance to answer yet: its time is infinite.
        """
        wanted = frozenset(nodes)
        return {
            watch.node: watch.answered_s if watch.unanswered >= unanswered_min else math.inf
            for watch in self._watches.values()
            if watch.node in wanted and watch.answered_s is not None
        }

    # ------------------------------------------------------------ what arrives

    def heard(self, now: float) -> None:
        """Note that something arrived from a peer.

        After as long a silence as would be held against a peer, it was us who heard nothing.
        """
        if self._heard_s is not None and self._is_cut_off(now):
            self._begin_anew()
        self._heard_s = now

    def answered(self, way: Way, address: str, nonce: int, now: float) -> bool:
        """Note an answer; return whether a suspicion changed."""
        watch = self._watches.get(address)
        if watch is None or not watch.answered(way, nonce):
            return False
        self.heard(now)
        if not watch.is_open and self._is_all_answered():
            self._planned_s = self._round_s
        # Without a suspicion an answer changes nothing: this is the path of almost all.
        return watch.silence is not None and self._conclude(watch, now)

    def _is_all_answered(self) -> bool:
        for watch in self._watches.values():  # noqa: SIM110 - of every answer, at half the cost
            if watch.is_open:
                return False
        return True

    def name_of(self, address: str) -> NodeName | None:
        """Return which watched node has this address."""
        watch = self._watches.get(address)
        return watch.node if watch is not None else None

    # ------------------------------------------------------------ what is due

    def tick(self, now: float) -> tuple[list[tuple[str, int]], bool]:
        """Return (address, nonce) of every probe that is due, and whether a suspicion changed."""
        if self._planned_s is not None and now - self._planned_s > self._timing.probe_s / 2:
            self._begin_anew()
        # First what the probes so far say: one that goes out now has had no time to be answered.
        changed = [self._conclude(watch, now) for watch in self._watches.values()]
        is_round = self._round_s is None or now >= self._round_s - _TOGETHER_S
        if is_round:
            self._round_s = now + self._timing.probe_s
        hurries = not self._is_cut_off(now)
        probes = []
        for watch in self._watches.values():
            if is_round or (hurries and watch.wants_probe(now)):
                nonce = self._nonce()
                watch.sent(nonce, now)
                probes.append((watch.address, nonce))
        self._planned_s = self._next_s(now, hurries=hurries)
        return probes, any(changed)

    @property
    def planned_s(self) -> float:
        """Return when the next tick is due, later once every answer is in; at once at first."""
        return self._planned_s if self._planned_s is not None else 0.0

    def _next_s(self, now: float, *, hurries: bool) -> float:
        moments = [self._round_s]
        for watch in self._watches.values() if hurries else ():
            again_s = watch.again_s()
            if again_s is not None:
                moments += [again_s, watch.concludes_s(now)]
        return min([moment for moment in moments if moment is not None])

    def _conclude(self, watch: Watch, now: float) -> bool:
        found = watch.verdict(now)
        if found is watch.silence or (is_worse(found, watch.silence) and self._is_cut_off(now)):
            return False
        watch.silence = found
        return True

    def _is_cut_off(self, now: float) -> bool:
        return self._heard_s is None or now - self._heard_s >= self._timing.silent_s

    def _begin_anew(self) -> None:
        for watch in self._watches.values():
            watch.begin_anew()
