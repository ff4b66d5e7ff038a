"""What follows from routes, found once: most services are the same from one pass to the next.

Pure but for what it remembers. Whatever it returns is what one that remembers nothing would,
and the same object as before for every service of which nothing has changed: whoever compares two
of them is done at once. A stack whose routes are the same object costs a look at its slots.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeVar

from node_agent.each import OfEach
from node_agent.gateway import edge, wanted
from node_agent.gateway.config import Place, Served
from node_agent.gateway.slots import Table, next_table
from node_agent.gateway.wanted import AllRoutes
from shared.model import Routes, ServiceRoutes, StackName

_Tabled = tuple[ServiceRoutes, Table]
_Found = tuple[ServiceRoutes, Table, tuple[Served, ...]]
V = TypeVar("V", _Tabled, _Found)
_OfStacks = Mapping[StackName, tuple[Routes, Mapping[str, V]]]


class Known:
    """Remembers of each stack and each service what came of it last."""

    def __init__(self) -> None:
        self._tables: _OfStacks[_Tabled] = {}
        self._served: _OfStacks[_Found] = {}
        self._entries = OfEach(_entries)
        self._shapes: OfEach[Served, str] | None = None
        self._place: Place | None = None

    def tables(self, routes: AllRoutes, before: Mapping[str, Table]) -> dict[str, Table]:
        """Return the slots of every service, changed as little as possible."""
        self._tables = _of_stacks(self._tables, routes, before, _tabled)
        return {key: one[1] for _, own in self._tables.values() for key, one in own.items()}

    def served(self, routes: AllRoutes, slots: Mapping[str, Table]) -> tuple[Served, ...]:
        """Return everything that leads to replicas."""
        self._served = _of_stacks(self._served, routes, slots, _found)
        all_ = (one[2] for _, own in self._served.values() for one in own.values())
        return tuple(each for some in all_ for each in some)

    def shapes(self, all_: Iterable[Served], place: Place) -> dict[str, str]:
        """Return, per backend and for the edge, what only a reload can change."""
        if self._shapes is None or place != self._place:
            self._shapes, self._place = OfEach(partial(wanted.shape, place=place)), place
        kept = tuple(all_)
        found = zip(kept, self._shapes.of(kept), strict=True)
        return {each.backend: shape for each, shape in found} | wanted.shape_of_edge(kept, place)

    def entries(self, all_: Iterable[Served]) -> dict[str, str]:
        """Return the map of routes, see edge.entries."""
        found: dict[str, str] = {}
        for own in self._entries.of(each for each in all_ if each.routes):
            found |= own
        return found


def _of_stacks(
    known: _OfStacks[V],
    routes: AllRoutes,
    tables: Mapping[str, Table],
    find: Callable[[V | None, StackName, ServiceRoutes, Table], V],
) -> _OfStacks[V]:
    """Return what is found for each service: for a stack that is the same, the same object."""
    found: dict[StackName, tuple[Routes, Mapping[str, V]]] = {}
    for stack, (_, own) in sorted(routes.items()):
        had, services = known.get(stack, (None, {}))
        if had is not own or any(tables.get(key) is not one[1] for key, one in services.items()):
            named = ((f"{stack}.{service.service}", service) for service in own.services)
            services = {
                key: find(services.get(key), stack, service, tables.get(key, Table()))
                for key, service in named
            }
        found[stack] = own, services
    return found


def _tabled(had: _Tabled | None, _: StackName, service: ServiceRoutes, table: Table) -> _Tabled:
    # A table that serves these routes already is what it would become.
    is_same = had is not None and had[1] is table and had[0] == service
    return service, table if is_same else next_table(table, service)


def _found(had: _Found | None, stack: StackName, service: ServiceRoutes, table: Table) -> _Found:
    if had is not None and had[1] is table and had[0] == service:
        return had
    return service, table, tuple(wanted.of_service(stack, service, table))


def _entries(each: Served) -> dict[str, str]:
    return edge.entries([each])
