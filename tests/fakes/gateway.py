"""A gateway in memory: the production tables, and nothing behind them."""

from collections.abc import Mapping

from node_agent.gateway.extras import NO_EXTRAS, Extras
from node_agent.gateway.gateway import GatewayStatus
from node_agent.gateway.slots import SlotState, Table, next_table
from shared.model import AllocId, Revision, Routes, ServiceRoutes, StackName


class FakeGateway:
    """Implements Gateway: applies at once, acknowledges what it was given, is never busy.

    Attributes:
        trouble: what a test says that is wrong.
    """

    def __init__(self) -> None:
        self.trouble: str | None = ""
        self.tables: dict[str, Table] = {}
        self.extras = NO_EXTRAS
        self._routes: Mapping[StackName, tuple[Revision, Routes]] | None = None
        self._served: dict[str, ServiceRoutes] = {}
        self._status = GatewayStatus()

    async def apply(
        self, routes: Mapping[StackName, tuple[Revision, Routes]], extras: Extras = NO_EXTRAS
    ) -> GatewayStatus:
        """Take over the whole of `routes`."""
        self.extras = extras
        if routes is self._routes:
            return self._status  # agents hand in the same object as long as it says the same
        self._routes = routes
        wanted = {
            f"{stack}.{service.service}": service
            for stack, (_, served) in sorted(routes.items())
            for service in served.services
        }
        # What has not changed has its table: a second one would be the same.
        self.tables = {
            name: self.tables[name]
            if service is self._served.get(name)
            else next_table(self.tables.get(name, Table()), service)
            for name, service in wanted.items()
        }
        self._served = wanted
        acked = {stack: revision for stack, (revision, _) in routes.items()}
        self._status = GatewayStatus(acked=acked)
        return self._status

    def leads_to(self, service: str) -> set[AllocId]:
        """Return the allocations that requests for "<stack>.<service>" go to."""
        table = self.tables.get(service, Table())
        return {
            slot.allocation
            for slot in table.slots
            if slot.allocation and slot.state is SlotState.READY
        }
