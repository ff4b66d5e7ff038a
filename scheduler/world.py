"""The cluster as the leader and the API see it: every record of etcd, decoded, at one revision.

Pure. A record that cannot be read is never guessed at: it is named in `unreadable`, and what
depends on it is left as it is until a person has mended it.
"""

from collections.abc import Mapping

import msgspec

from shared import keys
from shared.model import (
    Assignment,
    Certificate,
    Claim,
    FloatingAddress,
    FloatingClaim,
    Leader,
    Manifest,
    Network,
    NodeName,
    NodeSpec,
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
    Volume,
)


class NodeState(msgspec.Struct, frozen=True, kw_only=True):
    """One node: what it is, whether its agent's lease lives, what it should and does run.

    Attributes:
        session: what its agent says of itself; None: it has no session, or an unreadable one.
        spec_revision: that its spec was read at.
        manifest_revision: 0 while it has no manifest.
        report_revision: 0 while it has no report.
        suspected_by: which peers do not reach it, and what of it is silent.
        trouble: why its gateway does not serve, by its agent's word; empty: there is no such word.
    """

    spec: NodeSpec
    spec_revision: Revision = Revision(0)
    alive: bool = False
    session: Session | None = None
    report: Report | None = None
    report_revision: Revision = Revision(0)
    manifest: Manifest | None = None
    manifest_revision: Revision = Revision(0)
    suspected_by: Mapping[NodeName, Silence] = {}
    trouble: str = ""

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
        epochs: the newest epoch that has had the claim of an exclusive slot, ever.
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
    epochs: Mapping[SlotId, int] = {}
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
