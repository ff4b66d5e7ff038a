"""What follows from routes, found once: most services are the same from one pass to the next.

Pure but for what it remembers. Whatever it returns is what one that remembers nothing would,
and the same object as before for every service of which nothing has changed: whoever compares two
of them is done at once.
"""

from collections.abc import Iterable, Mapping

from node_agent.gateway import wanted
from node_agent.gateway.config import Place, Served
from node_agent.gateway.slots import Table, next_table
from node_agent.gateway.wanted import AllRoutes
from shared.model import ServiceRoutes, StackName


class Known:
    """Remembers of each service what came of it last."""

    def __init__(self) -> None:
        self._tables: dict[str, tuple[ServiceRoutes, Table]] = {}
        self._served: dict[str, tuple[ServiceRoutes, Table, tuple[Served, ...]]] = {}
        self._shapes: dict[str, tuple[Served, str]] = {}
        self._place: Place | None = None

    def tables(self, routes: AllRoutes, before: Mapping[str, Table]) -> dict[str, Table]:
        """Return the slots of every service, changed as little as possible."""
        known, self._tables = self._tables, {}
        for _, key, service in _services(routes):
            had, table = known.get(key), before.get(key, Table())
            # A table that serves these routes already is what it would become.
            is_same = had is not None and had[1] is table and had[0] == service
            self._tables[key] = (service, table if is_same else next_table(table, service))
        return {key: table for key, (_, table) in self._tables.items()}

    def served(self, routes: AllRoutes, slots: Mapping[str, Table]) -> tuple[Served, ...]:
        """Return everything that leads to replicas."""
        known, self._served = self._served, {}
        for stack, key, service in _services(routes):
            had, table = known.get(key), slots[key]
            self._served[key] = (
                had
                if had is not None and had[1] is table and had[0] == service
                else (service, table, tuple(wanted.of_service(stack, service, table)))
            )
        return tuple(one for _, _, own in self._served.values() for one in own)

    def shapes(self, all_: Iterable[Served], place: Place) -> dict[str, str]:
        """Return, per backend and for the edge, what only a reload can change."""
        if place != self._place:
            self._place, self._shapes = place, {}
        kept = tuple(all_)
        known, self._shapes = self._shapes, {}
        for each in kept:
            had = known.get(each.backend)
            self._shapes[each.backend] = (
                had if had is not None and had[0] is each else (each, wanted.shape(each, place))
            )
        found = {backend: shape for backend, (_, shape) in self._shapes.items()}
        return found | wanted.shape_of_edge(kept, place)


def _services(routes: AllRoutes) -> Iterable[tuple[StackName, str, ServiceRoutes]]:
    for stack, (_, stack_routes) in sorted(routes.items()):
        for service in stack_routes.services:
            yield stack, f"{stack}.{service.service}", service
