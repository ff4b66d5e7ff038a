"""Which services of which stack a person means by STACK, SERVICE and STACK.SERVICE.

Pure.
"""

from collections.abc import Mapping, Sequence

from shared.api import ServiceList
from shared.errors import NotFoundError, SpecError
from shared.model import ServiceName, StackName


def meant(names: Sequence[str], there: ServiceList) -> tuple[StackName, tuple[ServiceName, ...]]:
    """Return the stack and its services; none: all of it.

    Args:
        names: as typed; at least one. What is no service's name may be a stack's.
        there: every service of the cluster.

    Raises:
        NotFoundError: there is no such thing, or its stack cannot be read; says what there is.
        SpecError: they are of several stacks, or might be.
    """
    pairs = sorted({(one.stack, one.service) for one in there.services})
    found = [_one(name, pairs, there.unread) for name in names]
    stacks = sorted({stack for stack, _ in found})
    if len(stacks) > 1:
        raise SpecError(f"{' '.join(names)}: they are of the stacks {', '.join(stacks)}; take one")
    services = [service for _, service in found]
    is_whole = any(service is None for service in services)
    return stacks[0], () if is_whole else tuple(dict.fromkeys(one for one in services if one))


def _one(
    name: str,
    pairs: Sequence[tuple[StackName, ServiceName]],
    unread: Mapping[StackName, str],
) -> tuple[StackName, ServiceName | None]:
    stack, dot, service = name.partition(".")
    fitting = [pair for pair in pairs if (pair == (stack, service) if dot else pair[1] == name)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        options = " or ".join(f"{one}.{other}" for one, other in fitting)
        raise SpecError(f"service {name} is in {len(fitting)} stacks: write {options}")
    whole = [one for one, _ in pairs if one == name]
    if whole:
        return whole[0], None
    if stack in unread:
        raise NotFoundError(unread[StackName(stack)])
    shown = ", ".join(f"{one}.{other}" for one, other in pairs) or "nothing is deployed"
    raise NotFoundError(f"there is no service or stack {name!r}; there is: {shown}")
