"""What the agent needs of the node's kernel besides containers: the cluster's traffic, as asked."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from shared.model import AllocId, Network, NodeSpec, Revision, Routes, StackName


class Topology(msgspec.Struct, frozen=True):
    """All of the cluster that the kernel has to know.

    Attributes:
        nodes: every one, this one included.
        routes: per stack, with their mod_revision.
        networks: those that no stack makes.
    """

    nodes: tuple[NodeSpec, ...] = ()
    routes: Mapping[StackName, tuple[Revision, Routes]] = {}
    networks: tuple[Network, ...] = ()


class FabricStatus(msgspec.Struct, frozen=True):
    """What the kernel has of it.

    Attributes:
        acked: per stack, the revision of its routes that is in force.
        problems: what could not be made true, one sentence each.
        busy: draining endpoints with open connections that this kernel sent there.
    """

    acked: Mapping[StackName, Revision] = {}
    problems: tuple[str, ...] = ()
    busy: tuple[AllocId, ...] = ()


class Fabric(Protocol):
    """Links, routes, rules and maps of the node's kernel; what it made outlives the agent."""

    async def apply(self, topology: Topology, *, looks: bool = True) -> FabricStatus:
        """Make the whole of `topology` true and say what is in force.

        Idempotent. It looks at what is there, not at what was done before: whatever was removed by
        hand is back afterwards. Unless it `looks`, what it was asked for before, and did, may count
        as being there.
        """
        ...
