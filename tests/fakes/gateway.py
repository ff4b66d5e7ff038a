"""A gateway in memory: the production tables, and nothing behind them."""

from collections.abc import Mapping

from node_agent.gateway.extras import NO_EXTRAS, Extras
from node_agent.gateway.gateway import GatewayStatus
from node_agent.gateway.slots import SlotState, Table, next_table
from shared.model import AllocId, Revision, Routes, StackName


class FakeGateway:
    """Implements Gateway: applies at once, acknowledges what it was given, is never busy.

    Attributes:
        trouble: what a test says that is wrong.
    """

    def __init__(self) -> None:
        self.trouble: str | None = ""
        self.tables: dict[str, Table] = {}
        self.extras = NO_EXTRAS

    async def apply(
        self, routes: Mapping[StackName, tuple[Revision, Routes]], extras: Extras = NO_EXTRAS
    ) -> GatewayStatus:
        """Take over the whole of `routes`."""
        self.extras = extras
        self.tables = {
            f"{stack}.{service.service}": next_table(
                self.tables.get(f"{stack}.{service.service}", Table()), service
            )
            for stack, (_, served) in sorted(routes.items())
            for service in served.services
        }
        return GatewayStatus(acked={stack: revision for stack, (revision, _) in routes.items()})

    def leads_to(self, service: str) -> set[AllocId]:
        """Return the allocations that requests for "<stack>.<service>" go to."""
        table = self.tables.get(service, Table())
        return {
            slot.allocation
            for slot in table.slots
            if slot.allocation and slot.state is SlotState.READY
        }
