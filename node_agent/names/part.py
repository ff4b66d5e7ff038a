"""The agent's loop over names: what routes and containers say, told whole to the name server."""

from collections.abc import Callable, Mapping

from node_agent.names.names import Names, NamesStatus
from node_agent.names.snapshot import Local, containers_of, snapshot_of
from node_agent.views import RoutesView
from shared.loop import Dirty
from shared.model import AllocationStatus, Manifest, Revision, StackName
from shared.subnets import Pools

# Looks whether the name server lives.
PERIOD_S = 1.0


class NamesPart:
    """What the agent does about names.

    Args:
        names: what answers.
        pools: what the cluster's own addresses are from.
        routes: of all stacks.
        changed: called when there is something new to report.
    """

    def __init__(
        self, names: Names, pools: Pools, routes: RoutesView, changed: Callable[[], None]
    ) -> None:
        self._names, self._pools, self._routes, self._changed = names, pools, routes, changed
        self._containers: tuple[Local, ...] = ()
        self._acked: Mapping[StackName, Revision] = {}
        self._status = NamesStatus()
        self.dirty = Dirty()

    @property
    def problems(self) -> tuple[str, ...]:
        """Return what is wrong, one sentence each."""
        return self._status.problems

    def acked(self, stack: StackName) -> Revision:
        """Return up to which revision a stack's routes are told: nothing older is answered.

        Also while the name server does not answer: it must hold up no rollout.
        """
        return self._acked.get(stack, Revision(0))

    def look(self, found: tuple[AllocationStatus, ...], manifest: Manifest | None) -> None:
        """Note this node's containers, which may ask."""
        containers = containers_of(manifest, found)
        if containers != self._containers:
            self._containers = containers
            self.dirty.mark()

    async def one_pass(self) -> float:
        """Tell the name server what is true; return when to look again, seconds."""
        routes = self._routes.read()
        if routes is None:
            return PERIOD_S  # etcd was not read yet: what the agent before us told is better.
        status = await self._names.apply(snapshot_of(self._pools, routes, self._containers))
        acked = {stack: revision for stack, (revision, _) in routes.items()}
        if acked != self._acked or status.problems != self._status.problems:
            self._changed()
        self._acked, self._status = acked, status
        return PERIOD_S
