"""A kernel that does as it is told."""

from node_agent.network.fabric import FabricStatus, Topology


class FakeFabric:
    """Implements Fabric: keeps what it was given and acknowledges it at once."""

    def __init__(self) -> None:
        self.topology = Topology()

    async def apply(self, topology: Topology, *, looks: bool = True) -> FabricStatus:  # noqa: ARG002 - all of it is there
        """Take over the whole of `topology`."""
        self.topology = topology
        routes = topology.routes.items()
        return FabricStatus(acked={stack: revision for stack, (revision, _) in routes})
