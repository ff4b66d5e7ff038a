"""Which allocations a person means by a stack, a service, STACK.SERVICE or an allocation.

Pure.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from scheduler.api.placed import Placed
from scheduler.api.unread import check_read
from scheduler.world import World
from shared.errors import NotFoundError, SpecError
from shared.words import listed

_SHOWN_MAX: Final = 20


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for; None: anything."""

    stack: str | None = None
    service: str | None = None
    allocation: str | None = None

    def matches(self, one: Placed) -> bool:
        """Say whether an allocation is meant."""
        view = one.view
        return (
            self.stack in {None, view.stack}
            and self.service in {None, view.service}
            and self.allocation in {None, view.id}
        )


def resolve(selection: Selection, world: World, found: Sequence[Placed]) -> Selection:
    """Return the selection with its stack filled in; what is no service's name may be a stack's.

    Raises:
        NotFoundError: it fits nothing that is deployed or runs; says what there is.
        SpecError: it is empty, or several stacks have a service of that name.
    """
    if selection.allocation is not None:
        return _allocation(selection, found)
    if selection.service is None and selection.stack is None:
        raise SpecError("say which: a service, STACK.SERVICE or an allocation")
    services = _services(world, found)
    stacks = sorted({stack for stack, service in services if _fits(selection, stack, service)})
    if not stacks and selection.service in {stack for stack, _ in services}:
        return Selection(stack=selection.service)
    for name in (selection.stack, selection.service) if not stacks else ():
        if name is not None:
            check_read(world, name)
    if not stacks:
        raise NotFoundError(f"there is no {_named(selection)}; {_there(services)}")
    if len(stacks) > 1:
        options = " or ".join(f"{stack}.{selection.service}" for stack in stacks[:_SHOWN_MAX])
        raise SpecError(f"service {selection.service} is in {len(stacks)} stacks: write {options}")
    return Selection(stack=stacks[0], service=selection.service)


def _allocation(selection: Selection, found: Sequence[Placed]) -> Selection:
    """Return the one allocation that has this id, or one that begins so, or is in this slot."""
    if any(selection.matches(one) for one in found):
        return selection
    given = selection.allocation or ""
    ids = sorted(one.view.id for one in found if _is_short_for(given, one))
    if not ids:
        known = {(one.view.stack, one.view.service) for one in found}
        raise NotFoundError(f"there is no allocation {given!r}; {_there(known)}")
    if len(ids) > 1:
        options = " or ".join(ids[:_SHOWN_MAX])
        raise SpecError(f"{given} may be any of {len(ids)} allocations: write {options}")
    return msgspec.structs.replace(selection, allocation=ids[0])


def _is_short_for(given: str, one: Placed) -> bool:
    """Say whether STACK.SERVICE.SLOT or the beginning of an id's last part means an allocation.

    A standby that was activated is in a slot that its id does not name.
    """
    view = one.view
    in_slot = f"{view.stack}.{view.service}.{view.slot}"
    if given.count(".") == in_slot.count("."):
        return given == in_slot or view.id.startswith(f"{given}.")
    return given.count(".") == view.id.count(".") and view.id.startswith(given)


def _services(world: World, found: Sequence[Placed]) -> set[tuple[str, str]]:
    asked: set[tuple[str, str]] = {
        (name, spec.name) for name, state in world.stacks.items() for spec in state.stack.services
    }
    return asked | {(one.view.stack, one.view.service) for one in found}


def _fits(selection: Selection, stack: str, service: str) -> bool:
    return selection.stack in {None, stack} and selection.service in {None, service}


def _named(selection: Selection) -> str:
    if selection.service is None:
        return f"stack {selection.stack!r}"
    name = f"{selection.stack}.{selection.service}" if selection.stack else selection.service
    return f"service {name!r}"


def _there(services: Iterable[tuple[str, str]]) -> str:
    names = sorted(f"{stack}.{service}" for stack, service in services)
    if not names:
        return "nothing is deployed"
    return f"there are: {listed(names, _SHOWN_MAX)}"
