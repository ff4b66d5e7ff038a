"""What must hold after every write and every start of a container, whatever goes wrong."""

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from node_agent.runtime import Phase
from scheduler.fit import minus
from scheduler.homes import named_volumes
from shared import codec, keys
from shared.model import (
    AllocId,
    Assignment,
    Event,
    Manifest,
    NodeName,
    Report,
    Resources,
    Revision,
    ServiceName,
    Silence,
    Stack,
    StackName,
    Suspicion,
    Volume,
    Want,
)
from shared.ports import Port, host_ports
from shared.states import TERMINAL, AllocState
from shared.store import Compare, Compared, Condition, Op, Put, exactly, under
from tests.fakes.store import FakeEtcd

# One peer's word is nothing.
_PEERS_MIN: Final = 2
# A leader may be frozen for so long between hearing and saying something.
_SAID_S: Final = 60.0

Service = tuple[StackName, ServiceName]


class SafetyError(AssertionError):
    """A promise was broken; the message says which and by whom."""


class Checkers:
    """Looks at every write that the store has accepted, and at what runs.

    Args:
        server: the store.
        capacity: of every node.

    Attributes:
        broken: the first broken promise; it stays, whoever swallowed the error.
    """

    def __init__(self, server: FakeEtcd, capacity: Resources) -> None:
        self._server, self._capacity = server, capacity
        self._homes: dict[AllocId, NodeName] = {}
        self._ended: dict[AllocId, AllocState] = {}
        self._deployed: dict[StackName, Stack] = {}
        self._alone: dict[Service, dict[AllocId, NodeName]] = {}
        self._epochs: dict[Service, int] = {}
        self._addresses: dict[tuple[NodeName, str], AllocId] = {}
        self._ports: dict[tuple[NodeName, Port], AllocId] = {}
        self._said: dict[NodeName, dict[str, None]] = {}
        self._convicted_s: dict[NodeName, float] = {}
        self._volumes: dict[str, NodeName] = {}
        self._data: set[tuple[NodeName, str]] = set()
        self.leader_writes = self.exclusive_starts = 0
        self.broken: SafetyError | None = None

    def look(self) -> None:
        """Say what was broken, if anything was.

        Raises:
            SafetyError: it was.
        """
        if self.broken is not None:
            raise self.broken

    def _break(self, what: str) -> SafetyError:
        error = SafetyError(what)
        self.broken = self.broken or error
        return error

    # ------------------------------------------------------------ containers

    def ran(self, node: NodeName, assignment: Assignment, phase: Phase) -> None:
        """Check that a container may begin to run, at the very moment it does."""
        self._is_its_own(node, assignment, phase)
        self._has_its_ports(node, assignment, phase)
        if not assignment.workload.exclusive:
            return
        service = assignment.stack, assignment.service
        running = self._alone.setdefault(service, {})
        if phase is not Phase.RUNNING:
            running.pop(assignment.id, None)
            return
        self.exclusive_starts += 1
        if running:
            raise self._break(f"{assignment.id} starts on {node} while {running} runs: exclusive")
        running[assignment.id] = node
        if assignment.epoch < self._epochs.get(service, 0):
            raise self._break(
                f"{assignment.id} starts with epoch {assignment.epoch}"
                f" after {self._epochs[service]} has run"
            )
        self._epochs[service] = assignment.epoch

    def _is_its_own(self, node: NodeName, assignment: Assignment, phase: Phase) -> None:
        """No two living containers of a node have the same address."""
        key = node, assignment.address
        if phase is not Phase.RUNNING:
            self._addresses.pop(key, None)
            return
        if not assignment.address:
            raise self._break(f"{assignment.id} starts on {node} without an address")
        other = self._addresses.setdefault(key, assignment.id)
        if other != assignment.id:
            raise self._break(f"{assignment.id} starts on {node} with {key[1]}, as {other} has")

    def _has_its_ports(self, node: NodeName, assignment: Assignment, phase: Phase) -> None:
        """No two living containers of a node have the same port of it."""
        for port in host_ports(assignment.workload):
            other = self._ports.setdefault((node, port), assignment.id)
            if phase is Phase.RUNNING and other != assignment.id:
                raise self._break(f"{assignment.id} starts on {node} with port {port} of {other}")
            if phase is not Phase.RUNNING and other == assignment.id:
                del self._ports[node, port]

    def has_data(self, node: NodeName, volume: str, *, is_there: bool) -> None:
        """Note that a volume's data came to a node, or left it."""
        change = self._data.add if is_there else self._data.discard
        change((node, volume))

    # ------------------------------------------------------------ writes

    def deployed(self, stack: Stack) -> None:
        """Note that somebody was told that this is deployed."""
        self._deployed[stack.name] = stack

    def wrote(self, writer: str, conditions: Sequence[Condition], ops: Sequence[Op]) -> None:
        """Check one accepted write; `conditions` are those that the writer asked for."""
        for op in ops:
            if op.key.startswith((keys.DESIRED, keys.ROUTES, keys.ROLLOUTS, keys.VOLUMES)):
                self._by_the_leader(writer, conditions, op.key)
            if op.key.startswith(keys.STACKS):
                raise self._break(f"{writer} wrote {op.key}: only people deploy")
            self._says(writer, op)

    def _says(self, writer: str, op: Op) -> None:
        if op.key.startswith(keys.VOLUMES):
            self._records_go_after_data(op)
        if op.key.startswith(keys.SUSPECTS):
            self._count_votes(writer, op)
        if isinstance(op, Put) and op.key.startswith(keys.DESIRED):
            self._can_be_obeyed(codec.decode(Manifest, op.value, op.key))
        if isinstance(op, Put) and op.key.startswith(keys.EVENTS):
            self._by_many(codec.decode(Event, op.value, op.key))
        if isinstance(op, Put) and op.key.startswith(keys.OBSERVED):
            self._ends_are_ends(codec.decode(Report, op.value, op.key))

    def deploys_are_kept(self) -> None:
        """Check that the store holds every acknowledged deploy."""
        for name, stack in self._deployed.items():
            items = self._server.list(exactly(keys.stack(name))).items
            if not items or codec.decode(Stack, items[0].value, items[0].key) != stack:
                raise self._break(f"{name} generation {stack.generation} was lost")

    def _can_be_obeyed(self, manifest: Manifest) -> None:
        self._no_overcommitment(manifest)
        self._homes_are_for_life(manifest)
        self._one_per_slot(manifest)
        self._what_leaves_is_unused(manifest)

    def _by_the_leader(self, writer: str, conditions: Sequence[Condition], key: str) -> None:
        self.leader_writes += 1
        token = self._token()
        fences = [
            condition.revision
            for condition in conditions
            if isinstance(condition, Compare)
            and (condition.key, condition.what) == (keys.LEADER, Compared.CREATED)
        ]
        if fences != [token]:
            raise self._break(f"{writer} wrote {key} with the fence {fences} while {token} led")

    def _token(self) -> Revision | None:
        items = self._server.list(exactly(keys.LEADER)).items
        return items[0].create_revision if items else None

    def _count_votes(self, writer: str, op: Op) -> None:
        """Count who has said himself that he misses a node's host, and still says so."""
        node, peer = op.key.split("/")[-2:]
        said = self._said.setdefault(NodeName(node), {})
        said.pop(op.key, None)
        if isinstance(op, Put) and writer.startswith(f"{peer}/"):
            suspicion = codec.decode(Suspicion, op.value, op.key)
            said |= {op.key: None} if suspicion.silence is Silence.HOST else {}
        standing = {item.key for item in self._server.list(under(f"{keys.SUSPECTS}{node}/")).items}
        if len(said.keys() & standing) >= _PEERS_MIN:
            self._convicted_s[NodeName(node)] = self._server.clock.monotonic_s()

    def _by_many(self, event: Event) -> None:
        """A node is given up while its lease lives only by the word of two of its peers."""
        if event.kind != "node_unreachable":
            return
        now_s = self._server.clock.monotonic_s()
        if now_s - self._convicted_s.get(event.node, -math.inf) > _SAID_S:
            raise self._break(f"{event.node} is given up, and never did two peers miss it")

    def _no_overcommitment(self, manifest: Manifest) -> None:
        free = self._capacity
        for assignment in manifest.assignments:
            # One that has failed runs no more and takes nothing. A standby takes its place.
            if self._ended.get(assignment.id) is not AllocState.FAILED:
                free = minus(free, assignment.workload.reservations)
        if free.cpu_millis < 0 or free.memory_bytes < 0:
            raise self._break(f"{manifest.node} is over-committed: {msgspec.to_builtins(free)}")

    def _homes_are_for_life(self, manifest: Manifest) -> None:
        for assignment in manifest.assignments:
            home = self._homes.setdefault(assignment.id, manifest.node)
            if home != manifest.node:
                raise self._break(f"{assignment.id} moved from {home} to {manifest.node}")

    def _one_per_slot(self, manifest: Manifest) -> None:
        """One slot never has two allocations of one version on one node."""
        running = [
            (a.stack, a.service, a.slot, a.workload.image, host_ports(a.workload))
            for a in manifest.assignments
            if a.want is Want.RUN
        ]
        if len(running) != len(set(running)):
            raise self._break(f"{manifest.node} runs a slot twice: {sorted(running)}")

    def _records_go_after_data(self, op: Op) -> None:
        """A volume is said to be removed only when its data is."""
        name = op.key.removeprefix(keys.VOLUMES)
        if isinstance(op, Put):
            self._volumes[name] = codec.decode(Volume, op.value, op.key).node
        elif (home := self._volumes.pop(name, None)) and (home, name) in self._data:
            raise self._break(f"{op.key} went while {home} has its data")

    def _what_leaves_is_unused(self, manifest: Manifest) -> None:
        """No node is told to remove data and to run what has it."""
        for assignment in manifest.assignments:
            used = set(named_volumes(assignment.workload)) & set(manifest.leaving_volumes)
            if used:
                raise self._break(
                    f"{assignment.id} uses {sorted(used)}, which {manifest.node} is to remove"
                )

    def _ends_are_ends(self, report: Report) -> None:
        for status in report.allocations:
            before = self._ended.get(status.id)
            # What is not asked for any more is stopped, however it ended: that is no way back.
            if before is not None and status.state not in {before, AllocState.STOPPING}:
                raise self._break(f"{status.id} was {before} and is {status.state}")
            if status.state in TERMINAL:
                self._ended[status.id] = status.state
