"""Key-values of etcd -> the world that they describe.

Pure. A record that cannot be read is never guessed at: it is named in `World.unreadable`.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from scheduler.world import (
    FloatingState,
    NetworkState,
    NodeState,
    RemovalState,
    RolloutState,
    RoutesState,
    ServiceId,
    SlotId,
    StackState,
    VipState,
    VolumeState,
    World,
)
from shared import codec, keys
from shared.errors import CodecError
from shared.model import (
    Certificate,
    Claim,
    Closed,
    Epoch,
    Event,
    FloatingAddress,
    FloatingClaim,
    GatewayWord,
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
from shared.view import View

R = TypeVar("R", bound=Record)
S = TypeVar("S")

_CLAIM_PARTS: Final = 3  # <stack>.<service>.<slot>


class WorldReader:
    """Decodes keys into a World and remembers what it made: a pass costs what changed."""

    def __init__(self) -> None:
        self._stamps: dict[str, int] = {}
        self._found = Found()
        self._world = World()

    def read(self, view: View) -> World:
        """Return the world that a view of everything under keys.ROOT describes."""
        changed = self._take(view)
        if changed or view.revision != self._world.revision:
            parts = {
                part: make(self._found)
                for part, (ranges, make) in _PARTS.items()
                if not changed.isdisjoint(ranges)
            }
            self._world = msgspec.structs.replace(self._world, revision=view.revision, **parts)
        return self._world

    def _take(self, view: View) -> set[str]:
        """Decode what changed; return the ranges that it lies in."""
        changed = set()
        for range_, stamp in view.stamps.items():
            if stamp != self._stamps.get(range_, 0) and range_ in _RANGES:
                self._stamps[range_] = stamp
                if self._found.become(range_, view.range(range_)):
                    changed.add(range_)
        return changed


_KINDS: Mapping[str, type[Record]] = {
    keys.CERTIFICATES: Certificate,
    keys.CLAIMS: Claim,
    keys.CLOSED: Closed,
    keys.DESIRED: Manifest,
    keys.FLOATING: FloatingAddress,
    keys.GATEWAYS: GatewayWord,
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


# All that a world is made of; events, history and sealed contents are none of it.
_RANGES: Final = frozenset({keys.LEADER, keys.NODES, *_KINDS})


def kind_of(key: str) -> type[Record] | None:
    """Return the record type that belongs at `key`; None: nothing that the world is made of."""
    if key == keys.LEADER:
        return Leader
    if key.startswith(keys.NODES):
        return Session if key.endswith("/alive") else NodeSpec
    return Epoch if keys.is_epoch(key) else _KINDS.get(keys.range_of(key))


# A key-value with what it says: a record, or why it cannot be read.
_Entry = tuple[KeyValue, Record | CodecError | None]


class _Made(msgspec.Struct, frozen=True):
    """A node, and all that it was made of."""

    of: tuple[object, ...]
    node: NodeState


class Found:
    """What is there, by range and key: records, and those that cannot be read.

    Attributes:
        nodes: as they were made last.
    """

    def __init__(self) -> None:
        self._ranges: dict[str, dict[str, _Entry]] = {}
        self._errors: dict[str, CodecError] = {}
        self.nodes: dict[NodeName, _Made] = {}

    def become(self, range_: str, items: Mapping[str, KeyValue]) -> bool:
        """Decode what is new in a range or has changed, forget what is gone; say if any was."""
        have = self._ranges.setdefault(range_, {})
        gone = have.keys() - items.keys()
        # Compared whole: a store that was lost and filled anew may show another record at the
        # revision of the one before.
        new = [item for key, item in items.items() if not _is_same(have.get(key), item)]
        for key in gone:
            del have[key]
            self._errors.pop(key, None)
        size = len(have)
        for item in new:
            record = _decoded(item)
            have[item.key] = item, record
            if isinstance(record, CodecError):
                self._errors[item.key] = record
            else:
                self._errors.pop(item.key, None)
        if len(have) > size:
            self._ranges[range_] = dict(sorted(have.items()))
        return bool(gone or new)

    def range(self, range_: str) -> Mapping[str, _Entry]:
        """Return what is at each key of a range; as long as it says the same, the same entry."""
        return self._ranges.get(range_, {})

    def get(self, key: str, kind: type[R]) -> R | None:
        """Return the record at a key."""
        return _as(kind, self.range(keys.range_of(key)).get(key))

    def under(self, range_: str, kind: type[R]) -> Iterable[tuple[str, R, Revision]]:
        """Yield (key, record, revision) of a range, in the order of the keys."""
        for key, (item, record) in self._ranges.get(range_, {}).items():
            if isinstance(record, kind):
                yield key, record, item.mod_revision

    def unreadable(self) -> Mapping[str, str]:
        """Return why each key that cannot be read cannot, in the order of the keys."""
        return {key: error.why for key, error in sorted(self._errors.items())}

    def kept(
        self,
        range_: str,
        kind: type[R],
        key_of: Callable[[R], str],
        state: Callable[[R, Revision], S],
    ) -> Mapping[Any, S]:
        """Return the states of a range by name; a record under another's key is nobody's."""
        return {
            key.removeprefix(range_): state(record, revision)
            for key, record, revision in self.under(range_, kind)
            if key == key_of(record)
        }


def _is_same(known: tuple[KeyValue, object] | None, item: KeyValue) -> bool:
    return known is not None and (known[0] is item or known[0] == item)


def _decoded(item: KeyValue) -> Record | CodecError | None:
    kind = kind_of(item.key)
    if kind is None:
        return None
    try:
        return codec.decode(kind, item.value, item.key)
    except CodecError as error:
        return error


def _nodes(found: Found) -> Mapping[NodeName, NodeState]:
    suspicions = _suspicions(found)
    found.nodes = {
        spec.name: _node(spec, found, suspicions.get(spec.name, {}))
        for key, spec, _ in found.under(keys.NODES, NodeSpec)
        if key == keys.node_spec(spec.name)
    }
    return {name: made.node for name, made in found.nodes.items()}


def _suspicions(found: Found) -> Mapping[NodeName, Mapping[NodeName, Silence]]:
    """Return who suspects each node; a record under another's key is nobody's word."""
    by_node: dict[NodeName, dict[NodeName, Silence]] = {}
    for key, said, _ in found.under(keys.SUSPECTS, Suspicion):
        if key == keys.suspect(said.node, said.peer):
            by_node.setdefault(said.node, {})[said.peer] = said.silence
    return by_node


def _node(spec: NodeSpec, found: Found, suspected_by: Mapping[NodeName, Silence]) -> _Made:
    """Return a node: the one that was made of the same things before, if they are the same."""
    name, ours = spec.name, found.range(keys.NODES)
    entries = (
        ours.get(keys.node_spec(name)),
        ours.get(keys.node_alive(name)),
        found.range(keys.OBSERVED).get(keys.observed(name)),
        found.range(keys.DESIRED).get(keys.desired(name)),
        found.range(keys.GATEWAYS).get(keys.gateway(name)),
    )
    made, of = found.nodes.get(name), (*entries, suspected_by)
    if made is not None and made.of == of:
        return made
    spec_at, session, report, manifest, gateway = entries
    word = _as(GatewayWord, gateway)
    node = NodeState(
        spec=spec,
        spec_revision=_revision(spec_at),
        # An unreadable session still is one: its presence is the truth, not its content.
        alive=session is not None,
        session=_as(Session, session),
        report=_as(Report, report),
        report_revision=_revision(report),
        manifest=_as(Manifest, manifest),
        manifest_revision=_revision(manifest),
        suspected_by=suspected_by,
        trouble=word.trouble if word is not None else "",
    )
    return _Made(of, node)


def _as(kind: type[R], entry: _Entry | None) -> R | None:
    record = entry[1] if entry is not None else None
    return record if isinstance(record, kind) else None


def _revision(entry: _Entry | None) -> Revision:
    return entry[0].mod_revision if entry is not None else Revision(0)


def _stacks(found: Found) -> Mapping[StackName, StackState]:
    return {
        stack.name: StackState(stack, revision)
        for _, stack, revision in found.under(keys.STACKS, Stack)
    }


def _routes(found: Found) -> Mapping[StackName, RoutesState]:
    return {
        routes.stack: RoutesState(routes, revision)
        for _, routes, revision in found.under(keys.ROUTES, Routes)
    }


def _claims(found: Found) -> Mapping[SlotId, Claim]:
    claims = found.under(keys.CLAIMS, Claim)
    return {slot: claim for key, claim, _ in claims if (slot := _slot_of(key)) is not None}


def _epochs(found: Found) -> Mapping[SlotId, int]:
    epochs = found.under(keys.CLAIMS, Epoch)
    return {
        slot: one.epoch
        for key, one, _ in epochs
        if (slot := _slot_of(keys.claim_of(key))) is not None
    }


def _slot_of(claim: str) -> SlotId | None:
    parts = claim.removeprefix(keys.CLAIMS).split(".")
    if len(parts) != _CLAIM_PARTS or not parts[2].isdecimal():
        return None
    return StackName(parts[0]), ServiceName(parts[1]), int(parts[2])


def _rollouts(found: Found) -> Mapping[ServiceId, RolloutState]:
    return {
        (one.stack, one.service): RolloutState(one, revision)
        for key, one, revision in found.under(keys.ROLLOUTS, Rollout)
        if key == keys.rollout(one.stack, one.service)
    }


def _vips(found: Found) -> Mapping[str, VipState]:
    return {
        key.removeprefix(keys.VIPS): VipState(one, revision)
        for key, one, revision in found.under(keys.VIPS, FloatingClaim)
    }


def _certificates(found: Found) -> Mapping[str, Certificate]:
    return {
        key: one
        for range_ in (keys.CERTIFICATES, keys.ISSUED)
        for key, one, _ in found.under(range_, Certificate)
        if key == range_ + one.name
    }


def _volumes(found: Found) -> Mapping[str, VolumeState]:
    return found.kept(keys.VOLUMES, Volume, lambda one: keys.volume(one.name), VolumeState)


def _removals(found: Found) -> Mapping[str, RemovalState]:
    return found.kept(keys.REMOVALS, Removal, lambda one: keys.removal(one.name), RemovalState)


def _networks(found: Found) -> Mapping[str, NetworkState]:
    return found.kept(keys.NETWORKS, Network, lambda one: keys.network(one.name), NetworkState)


def _floating(found: Found) -> Mapping[str, FloatingState]:
    return found.kept(
        keys.FLOATING, FloatingAddress, lambda one: keys.floating(one.address), FloatingState
    )


def _closed(found: Found) -> frozenset[str]:
    return frozenset(one.name for _, one, _ in found.under(keys.CLOSED, Closed))


def _leader(found: Found) -> Leader | None:
    return found.get(keys.LEADER, Leader)


def _leader_revision(found: Found) -> Revision:
    entry = found.range(keys.LEADER).get(keys.LEADER)
    return entry[0].create_revision if entry is not None and _leader(found) else Revision(0)


# Each part of a world with the ranges that it is made from: it is made anew when one changed.
_PARTS: Final[Mapping[str, tuple[Collection[str], Callable[[Found], Any]]]] = {
    "nodes": (
        (keys.NODES, keys.DESIRED, keys.OBSERVED, keys.SUSPECTS, keys.GATEWAYS),
        _nodes,
    ),
    "stacks": ((keys.STACKS,), _stacks),
    "routes": ((keys.ROUTES,), _routes),
    "claims": ((keys.CLAIMS,), _claims),
    "epochs": ((keys.CLAIMS,), _epochs),
    "rollouts": ((keys.ROLLOUTS,), _rollouts),
    "volumes": ((keys.VOLUMES,), _volumes),
    "removals": ((keys.REMOVALS,), _removals),
    "networks": ((keys.NETWORKS,), _networks),
    "floating": ((keys.FLOATING,), _floating),
    "vips": ((keys.VIPS,), _vips),
    "certificates": ((keys.CERTIFICATES, keys.ISSUED), _certificates),
    "closed": ((keys.CLOSED,), _closed),
    "leader": ((keys.LEADER,), _leader),
    "leader_revision": ((keys.LEADER,), _leader_revision),
    "unreadable": (_RANGES, Found.unreadable),
}


def read_event(item: KeyValue) -> Event | None:
    """Return the event at a key under keys.EVENTS; None if it cannot be read."""
    return codec.readable(Event, item.value, item.key)
