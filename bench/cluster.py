"""What a lab's cluster is like at the moment, by all that was written to its etcd.

Pure. Whole means: as if nothing had ever happened to it.
"""

from collections.abc import Iterable

from bench.seen import Seen
from shared import codec, keys
from shared.model import (
    Assignment,
    EndpointState,
    Event,
    Health,
    Leader,
    Manifest,
    NodeName,
    Report,
    Routes,
    ServiceSpec,
    StackName,
    Want,
)
from shared.states import AllocState


class State:
    """The newest value of every key, and everything that was seen."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self._now: dict[str, bytes] = {}

    def add(self, seen: Seen) -> None:
        """Take a change."""
        self.seen.append(seen)
        if seen.value is None:
            self._now.pop(seen.key, None)
        else:
            self._now[seen.key] = seen.value.encode()

    @property
    def led(self) -> int:
        """Return how many times somebody began to lead."""
        return sum(1 for each in self.seen if each.key == keys.LEADER and each.value)

    @property
    def leader(self) -> NodeName | None:
        """Return the node whose scheduler leads."""
        value = self._now.get(keys.LEADER)
        return None if value is None else codec.decode(Leader, value, keys.LEADER).node

    def manifest(self, node: str) -> Manifest:
        """Return what a node should run."""
        key = keys.desired(NodeName(node))
        value = self._now.get(key)
        return (
            codec.decode(Manifest, value, key)
            if value
            else Manifest(node=NodeName(node), generation=0)
        )

    def assignments(self, stack: StackName, want: Want) -> list[tuple[NodeName, Assignment]]:
        """Return what of a stack should run, or stand by, and where."""
        nodes = [
            NodeName(key.rpartition("/")[2]) for key in self._now if key.startswith(keys.DESIRED)
        ]
        return [
            (node, each)
            for node in sorted(nodes)
            for each in self.manifest(node).assignments
            if each.stack == stack and each.want is want
        ]

    def lacking(self, nodes: Iterable[str], stack: StackName, specs: Iterable[ServiceSpec]) -> str:
        """Return what the cluster lacks to be whole, one sentence; empty: nothing."""
        for node in nodes:
            if f"{keys.NODES}{node}/alive" not in self._now:
                return f"{node} has no session"
        if suspects := [key for key in self._now if key.startswith(keys.SUSPECTS)]:
            return f"{suspects[0].removeprefix(keys.SUSPECTS)}: suspected"
        if self.leader is None:
            return "nobody leads"
        for spec in specs:
            if lacking := self._service(stack, spec):
                return f"{spec.name}: {lacking}"
        return self._surplus(stack)

    def _service(self, stack: StackName, spec: ServiceSpec) -> str:
        asked = [
            (node, each)
            for node, each in self.assignments(stack, Want.RUN)
            if each.service == spec.name
        ]
        if len(asked) != spec.replicas:
            return f"{len(asked)} of {spec.replicas} are asked to run"
        routed = self.routed(stack)
        for node, each in asked:
            if each.workload != spec.workload:
                return f"{each.id} is of another version"
            if not self._is_ready(node, each):
                return f"{each.id} on {node} is not ready"
            if spec.workload.ports and each.id not in routed:
                return f"{each.id} is not routed"
        standing = [
            each for _, each in self.assignments(stack, Want.STANDBY) if each.service == spec.name
        ]
        if len(standing) != spec.standby:
            return f"{len(standing)} of {spec.standby} stand by"
        return ""

    def _surplus(self, stack: StackName) -> str:
        """Return what a node still has, or what is still routed, though nobody asks for it."""
        kept = {
            each.id
            for want in (Want.RUN, Want.STANDBY)
            for _, each in self.assignments(stack, want)
        }
        for key, value in self._now.items():
            if key.startswith(keys.OBSERVED):
                for status in codec.decode(Report, value, key).allocations:
                    if status.id not in kept:
                        return f"{status.id} is left over"
        extra = self.routed(stack) - kept
        return f"{min(extra)} is still routed" if extra else ""

    def routed(self, stack: StackName) -> set[str]:
        """Return the allocations that gateways send requests to."""
        key = keys.routes(stack)
        value = self._now.get(key)
        if value is None:
            return set()
        return {
            end.allocation
            for each in codec.decode(Routes, value, key).services
            for end in each.endpoints
            if end.state is EndpointState.READY
        }

    def reported(self, node: str) -> set[str]:
        """Return the allocations that a node says it has."""
        key = keys.observed(NodeName(node))
        value = self._now.get(key)
        return (
            {each.id for each in codec.decode(Report, value, key).allocations} if value else set()
        )

    def _is_ready(self, node: NodeName, asked: Assignment) -> bool:
        key = keys.observed(node)
        value = self._now.get(key)
        return value is not None and any(
            each.id == asked.id
            and each.state is AllocState.RUNNING
            and each.health is Health.HEALTHY
            for each in codec.decode(Report, value, key).allocations
        )

    def events(self, since_s: float = 0.0) -> list[Event]:
        """Return the cluster's own story, in order."""
        found = [
            codec.decode(Event, each.value.encode(), each.key)
            for each in self.seen
            if each.value and each.key.startswith(keys.EVENTS)
        ]
        return [each for each in found if each.at_s >= since_s]
