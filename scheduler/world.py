"""The cluster as the leader and the API see it: every record of etcd, decoded, at one revision.

Pure. A record that cannot be read is never guessed at: it is named in `unreadable`, and what
depends on it is left as it is until a person has mended it.
"""

from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

import msgspec

from shared import codec, keys
from shared.errors import CodecError
from shared.model import (
    Assignment,
    Certificate,
    Claim,
    Closed,
    Event,
    FloatingAddress,
    FloatingClaim,
    Leader,
    Manifest,
    Network,
    NodeName,
    NodeSpec,
    Record,
    Removal,
    Report,
    Revision,
    Rollout,
    Routes,
    ServiceName,
    Session,
    Silence,
    Stack,
    StackName,
    Suspicion,
    Volume,
)
from shared.store import KeyValue

R = TypeVar("R", bound=Record)

_CLAIM_PARTS: Final = 3  # <stack>.<service>.<slot>


class NodeState(msgspec.Struct, frozen=True, kw_only=True):
    """One node: what it is, whether its agent's lease lives, what it should and does run.

    Attributes:
        session: what its agent says of itself; None: it has no session, or an unreadable one.
        manifest_revision: 0 while it has no manifest.
        suspected_by: which peers do not reach it, and what of it is silent.
    """

    spec: NodeSpec
    alive: bool = False
    session: Session | None = None
    report: Report | None = None
    manifest: Manifest | None = None
    manifest_revision: Revision = Revision(0)
    suspected_by: Mapping[NodeName, Silence] = {}

    @property
    def assignments(self) -> tuple[Assignment, ...]:
        """Return what the node should run."""
        return self.manifest.assignments if self.manifest is not None else ()


class StackState(msgspec.Struct, frozen=True):
    """A stack and the revision it was read at."""

    stack: Stack
    revision: Revision


class RoutesState(msgspec.Struct, frozen=True):
    """A stack's routes and the revision they were read at."""

    routes: Routes
    revision: Revision


class RolloutState(msgspec.Struct, frozen=True):
    """How far a service's update is, and the revision that was read at."""

    rollout: Rollout
    revision: Revision


class VolumeState(msgspec.Struct, frozen=True):
    """Where a volume's data is, and the revision that was read at."""

    volume: Volume
    revision: Revision


class NetworkState(msgspec.Struct, frozen=True):
    """A network that no stack makes, and the revision it was read at."""

    network: Network
    revision: Revision


class RemovalState(msgspec.Struct, frozen=True):
    """That a volume is to go, and the revision that was read at."""

    removal: Removal
    revision: Revision


class FloatingState(msgspec.Struct, frozen=True):
    """A floating address, and the revision that was read at."""

    record: FloatingAddress
    revision: Revision


class VipState(msgspec.Struct, frozen=True):
    """Who has a floating address, and the revision that was read at."""

    claim: FloatingClaim
    revision: Revision


ServiceId = tuple[StackName, ServiceName]
SlotId = tuple[StackName, ServiceName, int]


class World(msgspec.Struct, frozen=True, kw_only=True):
    """Everything under keys.ROOT at `revision`. Mappings are in key order.

    Attributes:
        claims: who may run an exclusive slot; one that was let go names no node.
        networks: those that no stack makes.
        certificates: by their key in etcd, those that were brought or wanted and those issued.
        closed: stacks and services that answer with a page of excuses.
        unreadable: keys whose value is not the record it should be, with the reason.
    """

    revision: Revision = Revision(0)
    nodes: Mapping[NodeName, NodeState] = {}
    stacks: Mapping[StackName, StackState] = {}
    routes: Mapping[StackName, RoutesState] = {}
    claims: Mapping[SlotId, Claim] = {}
    rollouts: Mapping[ServiceId, RolloutState] = {}
    volumes: Mapping[str, VolumeState] = {}
    removals: Mapping[str, RemovalState] = {}
    networks: Mapping[str, NetworkState] = {}
    floating: Mapping[str, FloatingState] = {}
    vips: Mapping[str, VipState] = {}
    certificates: Mapping[str, Certificate] = {}
    closed: frozenset[str] = frozenset()
    leader: Leader | None = None
    leader_revision: Revision = Revision(0)
    unreadable: Mapping[str, str] = {}

    @property
    def frozen_stacks(self) -> frozenset[StackName]:
        """Return the stacks whose own record is unreadable: nothing of theirs may be changed."""
        prefixes = (keys.STACKS, keys.ROUTES, keys.ROLLOUTS)
        return frozenset(
            StackName(key.removeprefix(prefix).partition("/")[0])
            for key in self.unreadable
            for prefix in prefixes
            if key.startswith(prefix)
        )

    @property
    def is_frozen(self) -> bool:
        """Say whether a manifest is unreadable: then nobody knows what already runs."""
        return any(key.startswith(keys.DESIRED) for key in self.unreadable)


class WorldReader:
    """Decodes keys into a World and remembers what it decoded: a pass costs what changed."""

    def __init__(self) -> None:
        self._decoded: dict[str, tuple[Revision, Record | CodecError]] = {}

    def read(self, items: Mapping[str, KeyValue], revision: Revision) -> World:
        """Return the world that `items` (everything under keys.ROOT) describe."""
        for gone in self._decoded.keys() - items.keys():
            del self._decoded[gone]
        unreadable: dict[str, str] = {}
        found: dict[str, Record] = {}
        for key in sorted(items):
            record = self._decode(items[key])
            if isinstance(record, CodecError):
                unreadable[key] = record.why
            elif record is not None:
                found[key] = record
        return _assemble(items, found, unreadable, revision)

    def _decode(self, item: KeyValue) -> Record | CodecError | None:
        known = self._decoded.get(item.key)
        if known is not None and known[0] == item.mod_revision:
            return known[1]
        kind = kind_of(item.key)
        if kind is None:
            return None
        try:
            record: Record | CodecError = codec.decode(kind, item.value, item.key)
        except CodecError as error:
            record = error
        self._decoded[item.key] = (item.mod_revision, record)
        return record


_KINDS: Mapping[str, type[Record]] = {
    keys.CERTIFICATES: Certificate,
    keys.CLAIMS: Claim,
    keys.CLOSED: Closed,
    keys.DESIRED: Manifest,
    keys.FLOATING: FloatingAddress,
    keys.ISSUED: Certificate,
    keys.NETWORKS: Network,
    keys.OBSERVED: Report,
    keys.REMOVALS: Removal,
    keys.ROLLOUTS: Rollout,
    keys.ROUTES: Routes,
    keys.STACKS: Stack,
    keys.SUSPECTS: Suspicion,
    keys.VIPS: FloatingClaim,
    keys.VOLUMES: Volume,
}


def kind_of(key: str) -> type[Record] | None:
    """Return the record type that belongs at `key`; None: nothing that the world is made of."""
    if key == keys.LEADER:
        return Leader
    if key.startswith(keys.NODES):
        return Session if key.endswith("/alive") else NodeSpec
    return _KINDS.get(key[: key.find("/", len(keys.ROOT)) + 1])


def _assemble(
    items: Mapping[str, KeyValue],
    found: Mapping[str, Record],
    unreadable: Mapping[str, str],
    revision: Revision,
) -> World:
    suspicions = _suspicions(found)
    nodes = {
        spec.name: _node(spec, items, found, suspicions.get(spec.name, {}))
        for key, spec in _under(found, keys.NODES, NodeSpec)
        if key == keys.node_spec(spec.name)
    }
    leader = found.get(keys.LEADER)
    return World(
        revision=revision,
        nodes=nodes,
        stacks={
            stack.name: StackState(stack, items[key].mod_revision)
            for key, stack in _under(found, keys.STACKS, Stack)
        },
        routes={
            routes.stack: RoutesState(routes, items[key].mod_revision)
            for key, routes in _under(found, keys.ROUTES, Routes)
        },
        claims=dict(_claims(found)),
        rollouts={
            (one.stack, one.service): RolloutState(one, items[key].mod_revision)
            for key, one in _under(found, keys.ROLLOUTS, Rollout)
            if key == keys.rollout(one.stack, one.service)
        },
        volumes={
            one.name: VolumeState(one, items[key].mod_revision)
            for key, one in _under(found, keys.VOLUMES, Volume)
            if key == keys.volume(one.name)
        },
        removals={
            one.name: RemovalState(one, items[key].mod_revision)
            for key, one in _under(found, keys.REMOVALS, Removal)
            if key == keys.removal(one.name)
        },
        networks=_networks(items, found),
        floating=_floating(items, found),
        vips=_vips(items, found),
        certificates=dict(_certificates(found)),
        closed=frozenset(one.name for _, one in _under(found, keys.CLOSED, Closed)),
        leader=leader if isinstance(leader, Leader) else None,
        leader_revision=items[keys.LEADER].create_revision if leader else Revision(0),
        unreadable=unreadable,
    )


def _networks(
    items: Mapping[str, KeyValue], found: Mapping[str, Record]
) -> Mapping[str, NetworkState]:
    return {
        one.name: NetworkState(one, items[key].mod_revision)
        for key, one in _under(found, keys.NETWORKS, Network)
        if key == keys.network(one.name)
    }


def _floating(
    items: Mapping[str, KeyValue], found: Mapping[str, Record]
) -> Mapping[str, FloatingState]:
    return {
        one.address: FloatingState(one, items[key].mod_revision)
        for key, one in _under(found, keys.FLOATING, FloatingAddress)
        if key == keys.floating(one.address)
    }


def _vips(items: Mapping[str, KeyValue], found: Mapping[str, Record]) -> Mapping[str, VipState]:
    return {
        key.removeprefix(keys.VIPS): VipState(one, items[key].mod_revision)
        for key, one in _under(found, keys.VIPS, FloatingClaim)
    }


def _suspicions(found: Mapping[str, Record]) -> Mapping[NodeName, Mapping[NodeName, Silence]]:
    """Return who suspects each node; a record under another's key is nobody's word."""
    by_node: dict[NodeName, dict[NodeName, Silence]] = {}
    for key, said in _under(found, keys.SUSPECTS, Suspicion):
        if key == keys.suspect(said.node, said.peer):
            by_node.setdefault(said.node, {})[said.peer] = said.silence
    return by_node


def _certificates(found: Mapping[str, Record]) -> Iterable[tuple[str, Certificate]]:
    for prefix in (keys.CERTIFICATES, keys.ISSUED):
        for key, one in _under(found, prefix, Certificate):
            if key == prefix + one.name:
                yield key, one


def _claims(found: Mapping[str, Record]) -> Iterable[tuple[SlotId, Claim]]:
    for key, claim in _under(found, keys.CLAIMS, Claim):
        parts = key.removeprefix(keys.CLAIMS).split(".")
        if len(parts) == _CLAIM_PARTS and parts[2].isdecimal():
            yield (StackName(parts[0]), ServiceName(parts[1]), int(parts[2])), claim


def _node(
    spec: NodeSpec,
    items: Mapping[str, KeyValue],
    found: Mapping[str, Record],
    suspected_by: Mapping[NodeName, Silence],
) -> NodeState:
    manifest, report = found.get(keys.desired(spec.name)), found.get(keys.observed(spec.name))
    manifest_item = items.get(keys.desired(spec.name))
    session = found.get(keys.node_alive(spec.name))
    return NodeState(
        spec=spec,
        # An unreadable session still is one: its presence is the truth, not its content.
        alive=keys.node_alive(spec.name) in items,
        session=session if isinstance(session, Session) else None,
        report=report if isinstance(report, Report) else None,
        manifest=manifest if isinstance(manifest, Manifest) else None,
        manifest_revision=manifest_item.mod_revision if manifest_item else Revision(0),
        suspected_by=suspected_by,
    )


def _under(found: Mapping[str, Record], prefix: str, kind: type[R]) -> Iterable[tuple[str, R]]:
    for key, record in found.items():
        if isinstance(record, kind) and key.startswith(prefix):
            yield key, record


def read_event(item: KeyValue) -> Event | None:
    """Return the event at a key under keys.EVENTS; None if it cannot be read."""
    try:
        return codec.decode(Event, item.value, item.key)
    except CodecError:
        return None
