"""What agents answered, laid beside what they were asked: which probe passed, failed, or arrived.

Pure.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Self

import msgspec

from scheduler.net.plan import Asked, Leg, NetPlan
from shared.api import KernelFacts, NetCell, ProbeAnswer, ProbeKind, ProbeResult, ProbeState
from shared.model import NodeName

Pair = tuple[NodeName, NodeName]

CONTAINER_LEGS = frozenset(
    {Leg.CONTAINERS, Leg.CONTAINERS_MTU, Leg.CONTAINERS_TCP, Leg.CONTAINERS_UDP}
)


class Seen(msgspec.Struct, frozen=True, dict=True):
    """One run of probes.

    Attributes:
        answers: of the agents that answered.
        silent: of the others: why.
        explained: probes whose failure is accounted for.
        here: the node whose scheduler asked; empty: none of them.
    """

    plan: NetPlan
    answers: Mapping[NodeName, ProbeAnswer]
    silent: Mapping[NodeName, str] = {}
    explained: frozenset[int] = frozenset()
    here: NodeName = NodeName("")

    def without(self, explained: frozenset[int]) -> Self:
        """Return the same with more failures accounted for."""
        return msgspec.structs.replace(self, explained=self.explained | explained)

    @property
    def nodes(self) -> tuple[NodeName, ...]:
        """Return all nodes by name."""
        return tuple(spec.name for spec in self.plan.scene.nodes)

    def facts(self, node: NodeName) -> KernelFacts | None:
        """Return what a node's kernel is set to; None: it did not answer."""
        answer = self.answers.get(node)
        return answer.facts if answer is not None else None

    @cached_property
    def results(self) -> Mapping[int, ProbeResult]:
        """Return what became of each probe that was sent."""
        return {
            result.id: result
            for answer in self.answers.values()
            for result in answer.results
            if result.state is not ProbeState.UNABLE
        }

    @cached_property
    def _heard(self) -> Mapping[NodeName, frozenset[int]]:
        return {node: frozenset(answer.heard) for node, answer in self.answers.items()}

    def arrived(self, one: Asked) -> bool | None:
        """Say whether a probe reached its target; None: nobody knows."""
        if self.passed(one):
            return True
        heard = self._heard.get(one.target)
        if heard is None or one.id not in self.results:
            return None
        return one.id in heard

    def passed(self, one: Asked) -> bool:
        """Say whether a probe went well; of a datagram it is enough that it arrived."""
        result = self.results.get(one.id)
        if result is None:
            return False
        is_heard = one.id in self._heard.get(one.target, ())
        return result.state is ProbeState.OK or (one.probe.kind is ProbeKind.UDP and is_heard)

    def failed(self, one: Asked) -> bool:
        """Say whether a probe went wrong, explained or not."""
        if one.id not in self.results or self.passed(one):
            return False
        # Only the far agent's ear tells of a datagram to its own port: no agent, no word.
        return one.leg is not Leg.HOSTS_UDP or one.target in self.answers

    def is_open(self, one: Asked) -> bool:
        """Say whether a probe went wrong and nothing explains it yet."""
        return one.id not in self.explained and self.failed(one)

    def asked(self, *legs: Leg) -> tuple[Asked, ...]:
        """Return the probes of some legs that were sent."""
        return tuple(one for one in self.plan.asked if one.leg in legs and one.id in self.results)

    def unexplained(self, *legs: Leg) -> tuple[Asked, ...]:
        """Return those of them whose failure nothing explains yet."""
        return tuple(one for one in self.asked(*legs) if self.is_open(one))

    def counted(self, *legs: Leg) -> tuple[Asked, ...]:
        """Return those of them that passed, or whose failure nothing explains yet."""
        return tuple(
            one for one in self.asked(*legs) if self.passed(one) or one.id not in self.explained
        )

    def one(self, leg: Leg, node: NodeName, target: NodeName) -> Asked | None:
        """Return the probe of a leg from a node to another, if it was sent."""
        found = (one for one in self.asked(leg) if (one.node, one.target) == (node, target))
        return next(found, None)

    def way(self, leg: Leg, node: NodeName, target: NodeName) -> bool | None:
        """Say whether packets get from one end to the other, one way; None: nobody knows.

        An echo that came back has gone both ways.
        """
        there, back = self.one(leg, node, target), self.one(leg, target, node)
        if there is not None and (arrived := self.arrived(there)) is not None:
            return arrived
        if back is None or back.id not in self.results:
            return None
        if self.passed(back):
            return True
        return False if self.arrived(back) else None

    def ids(self, matches: Callable[[Asked], bool]) -> frozenset[int]:
        """Return which probes match."""
        return frozenset(one.id for one in self.plan.asked if matches(one))

    def cells(self) -> tuple[NetCell, ...]:
        """Return a summary for each pair of nodes, and for each node."""
        by_pair: dict[Pair, list[Asked]] = {}
        for one in self.plan.asked:
            by_pair.setdefault((one.node, one.target), []).append(one)
        return tuple(self._cell(pair, by_pair[pair]) for pair in sorted(by_pair))

    def _cell(self, pair: Pair, asked: Iterable[Asked]) -> NetCell:
        asked = tuple(asked)
        lost = tuple(dict.fromkeys(str(one.leg) for one in asked if self.failed(one)))
        passed = sum(self.passed(one) for one in asked)
        failed = sum(self.failed(one) for one in asked)
        return NetCell(
            source=pair[0],
            target=pair[1],
            passed=passed,
            lost=lost,
            unknown=len(asked) - passed - failed,
        )
