"""`depends_on` and `links` of the services of a file: what exists, what is in a circle.

Pure.
"""

from collections.abc import Mapping as Lookup
from typing import Final

import msgspec

from deploy.compose.fields import (
    Cursor,
    Field,
    Table,
    each,
    items,
    one_of,
    sound_record,
    text,
    truth,
)
from deploy.compose.names import why_no_host
from deploy.compose.tree import Sequence, quoted
from shared.model import Dependency, DependsOn, ServiceName


class Wanted(msgspec.Struct, frozen=True):
    """Another service that is first, and where that is said; not `required`: if it is there.

    Attributes:
        alias: of a link: what else the other one is called; empty: nothing.
    """

    at: Cursor
    service: str
    alias: str = ""
    condition: DependsOn = DependsOn.STARTED
    restart: bool = False
    required: bool = True


class _Long(msgspec.Struct, frozen=True):
    condition: DependsOn = DependsOn.STARTED
    restart: bool = False
    required: bool = True


def depends_on(at: Cursor) -> tuple[Wanted, ...]:
    """Return what `depends_on` says."""
    if at.is_null():
        return ()
    if isinstance(at.node, Sequence):
        return each(at.items(), lambda child: Wanted(child, text(child)))
    return each(at.entries("a list or a mapping of services"), _named)


def _named(at: Cursor) -> Wanted:
    found = _Long() if at.is_null() else sound_record(at, _Long(), DEPENDS_ON)
    return Wanted(
        at, at.key, condition=found.condition, restart=found.restart, required=found.required
    )


def links(at: Cursor) -> tuple[Wanted, ...]:
    """Return the services that `links` names, and what it calls them."""
    return each(items(at), _link)


def _link(at: Cursor) -> Wanted:
    service, colon, alias = text(at).partition(":")
    if colon and (why := why_no_host(alias)):
        raise at.refuse(why)
    return Wanted(at, service, alias.lower())


def dependencies(
    wanted: Lookup[str, tuple[Wanted, ...]], inactive: frozenset[str]
) -> dict[str, tuple[Dependency, ...]]:
    """Return what each service depends on; what cannot be is written down.

    Args:
        wanted: by the service that says it, of every active one.
        inactive: services that no profile has made active.
    """
    found: dict[str, tuple[Dependency, ...]] = {}
    for name, all_ in wanted.items():
        known: dict[str, Dependency] = {}
        for one in all_:
            if _is_there(one, name, wanted, inactive):
                known.setdefault(
                    one.service,
                    Dependency(
                        service=ServiceName(one.service),
                        condition=one.condition,
                        restart=one.restart,
                    ),
                )
        found[name] = tuple(known.values())
    _refuse_circles(wanted, found)
    return found


def _is_there(
    one: Wanted,
    name: str,
    wanted: Lookup[str, tuple[Wanted, ...]],
    inactive: frozenset[str],
) -> bool:
    if one.service == name:
        one.at.refuse("a service cannot wait for itself")
        return False
    if one.service in wanted:
        return True
    if one.service in inactive:
        why = f"{quoted(one.service)} is not active; say --profile with one of its profiles"
    else:
        why = f"there is no service {quoted(one.service)}"
    if one.required:
        one.at.refuse(why)
    else:
        one.at.warn(f"{why}; it is not waited for")
    return False


def _refuse_circles(
    wanted: Lookup[str, tuple[Wanted, ...]], found: Lookup[str, tuple[Dependency, ...]]
) -> None:
    """Write down the first circle: take away what waits for nothing until only circles are left."""
    left = {name: {one.service for one in all_} for name, all_ in found.items()}
    while free := {name for name, others in left.items() if not others & left.keys()}:
        left = {name: others for name, others in left.items() if name not in free}
    if not left:
        return
    name = next(iter(left))
    walk: list[str] = []
    while name not in walk:
        walk.append(name)
        name = next(one.service for one in found[name] if one.service in left)
    circle = walk[walk.index(name) :]
    at = next(one.at for one in wanted[circle[0]] if one.service == (*circle, name)[1])
    at.refuse(f"these wait for each other: {' -> '.join([*circle, name])}")


DEPENDS_ON: Final[Table] = {
    "condition": Field("condition", lambda at: DependsOn(one_of(at, *DependsOn))),
    "restart": Field("restart", truth),
    "required": Field("required", truth),
}
