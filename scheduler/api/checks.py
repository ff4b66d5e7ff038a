"""What a stack must satisfy before it is stored, beyond having the right types.

Pure. The Compose loader says the same of a person's file, with line numbers; this holds for every
client.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from scheduler.api.change_checks import change_problems
from scheduler.api.network_checks import Ground, network_problems, removal_problems
from scheduler.api.route_checks import route_problems
from shared.api import StackUpload
from shared.errors import SpecError
from shared.limits import REPLICAS_MAX, STANDBY_MAX
from shared.model import (
    DOCUMENT_BYTES_MAX,
    HealthCheck,
    PublishedPort,
    ServiceSpec,
    Stack,
    StackName,
    Workload,
)
from shared.ports import Port, port_of
from shared.settings import RESERVED_PORTS

# An allocation's id and host name are made of both names, and a host name ends at 63 characters.
NAME_CHARACTERS_MAX: Final = 40
PROBLEMS_SHOWN_MAX: Final = 20
# The kernel kills a process in a smaller cgroup before it has started.
MEMORY_BYTES_MIN: Final = 4 * 1024 * 1024
# A stop that takes longer holds up every update behind it.
STOP_GRACE_S_MAX: Final = 3600.0
# Each is compared in one transaction with the stack that needs it.
CONTENTS_MAX: Final = 100
# Sealed and in base64 it is a third larger, and must fit a document.
CONTENT_BYTES_MAX: Final = 512 * 1024
_PORT_MAX: Final = 65535
_AMOUNTS: Final = ("cpu_millis", "memory_bytes", "pids")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")


def check_name(kind: str, name: str) -> None:
    """Refuse a name that cannot be part of a key, an id and a host name.

    Raises:
        SpecError: says what is allowed.
    """
    problem = _name_problem(kind, name)
    if problem:
        raise SpecError(problem)


def check(
    name: StackName,
    upload: StackUpload,
    others: Mapping[StackName, Stack],
    ground: Ground = Ground(),  # noqa: B008 - frozen
) -> None:
    """Refuse a stack that could never run as it is.

    Args:
        name: what it will be called.
        upload: what a client sent.
        others: every stack of the cluster; what it is now is among them.
        ground: what else it must fit in.

    Raises:
        SpecError: one line for each thing that is wrong, at most PROBLEMS_SHOWN_MAX.
    """
    found = list(problems(name, upload, others, ground))
    if not found:
        return
    more = len(found) - PROBLEMS_SHOWN_MAX
    rest = [f"and {more} more"] if more > 0 else []
    raise SpecError("\n".join([*found[:PROBLEMS_SHOWN_MAX], *rest]))


def check_removal(name: StackName, stacks: Mapping[StackName, Stack], ground: Ground) -> None:
    """Refuse to remove a stack whose networks others need.

    Raises:
        SpecError: one line for each network.
    """
    found = list(removal_problems(name, stacks, ground))
    if found:
        raise SpecError("\n".join(found[:PROBLEMS_SHOWN_MAX]))


def check_size(stack: Stack, size_bytes: int) -> None:
    """Refuse a document that etcd would not take.

    Raises:
        SpecError: with both numbers.
    """
    if size_bytes > DOCUMENT_BYTES_MAX:
        raise SpecError(
            f"stack {stack.name} takes {size_bytes} bytes; {DOCUMENT_BYTES_MAX} is the most"
        )


def problems(
    name: StackName,
    upload: StackUpload,
    others: Mapping[StackName, Stack],
    ground: Ground = Ground(),  # noqa: B008 - frozen
) -> Iterator[str]:
    """Yield everything that is wrong, one sentence each."""
    problem = _name_problem("stack", name)
    if problem:
        yield problem
    if not upload.services:
        yield f"stack {name} has no services"
    yield from _twice(upload.services)
    for spec in upload.services:
        yield from _service(spec)
    yield from change_problems(upload.services)
    yield from _ports(name, upload.services, others, ground)
    yield from network_problems(name, upload, others, ground)
    yield from route_problems(name, upload.services, others, ground.edge)
    yield from _contents(name, upload)


def _contents(name: StackName, upload: StackUpload) -> Iterator[str]:
    named = {file.content for spec in upload.services for file in spec.workload.files}
    if len(named) > CONTENTS_MAX:
        yield f"{len(named)} configs and secrets; {CONTENTS_MAX} are the most"
    for content, plain in upload.contents.items():
        if not re.fullmatch(rf"{re.escape(name)}/[^/]+/[^/]+", content):
            yield f"config or secret {content[:80]!r}: its name must be {name}/<name>/<digest>"
        if len(plain) > CONTENT_BYTES_MAX:
            yield (
                f"config or secret {content}: {len(plain)} bytes; {CONTENT_BYTES_MAX} are the most"
            )


def _name_problem(kind: str, name: str) -> str:
    if _NAME.fullmatch(name) and len(name) <= NAME_CHARACTERS_MAX:
        return ""
    return (
        f"{kind} name {name[:80]!r}: use a-z, 0-9, - and _, beginning with a letter or digit, "
        f"at most {NAME_CHARACTERS_MAX} characters"
    )


def _twice(services: Sequence[ServiceSpec]) -> Iterator[str]:
    seen: set[str] = set()
    for spec in services:
        if spec.name in seen:
            yield f"service {spec.name} is there twice"
        seen.add(spec.name)


def _service(spec: ServiceSpec) -> Iterator[str]:
    problem = _name_problem("service", spec.name)
    if problem:
        yield problem
    if not 0 <= spec.replicas <= REPLICAS_MAX:
        yield f"service {spec.name}: replicas is {spec.replicas}; 0 to {REPLICAS_MAX} are possible"
    if not 0 <= spec.standby <= STANDBY_MAX:
        yield f"service {spec.name}: standby is {spec.standby}; 0 to {STANDBY_MAX} are possible"
    if spec.workload.exclusive and spec.replicas > 1:
        yield (
            f"service {spec.name}: exclusive means at most one copy, but replicas is "
            f"{spec.replicas}; write replicas: 1"
        )
    if spec.placement.max_replicas_per_node < 0:
        yield f"service {spec.name}: max_replicas_per_node is negative"
    if any(not constraint.key for constraint in spec.placement.constraints):
        yield f"service {spec.name}: a placement constraint names no label"
    for part in _PARTS:
        yield from (f"service {spec.name}: {said}" for said in part(spec.workload))


def _process(workload: Workload) -> Iterator[str]:
    if not workload.image or any(character.isspace() for character in workload.image):
        yield f"image {workload.image!r} is no image reference"
    words = chain(workload.command or (), workload.entrypoint or (), workload.environment.values())
    if any("\0" in word for word in words):
        yield "a command or a variable holds a NUL character"
    for key in workload.environment:
        if not key or "=" in key or "\0" in key:
            yield f"environment variable {key!r} cannot be set"
    if not 0 <= workload.stop_grace_period_s <= STOP_GRACE_S_MAX:
        yield (
            f"stop_grace_period is {workload.stop_grace_period_s:g} s; "
            f"0 to {STOP_GRACE_S_MAX:g} s are possible"
        )


def _resources(workload: Workload) -> Iterator[str]:
    limits, reservations = workload.limits, workload.reservations
    for name in _AMOUNTS:
        limit, reserved = getattr(limits, name), getattr(reservations, name)
        if limit < 0 or reserved < 0:
            yield f"{name} is negative"
        elif 0 < limit < reserved:
            yield f"{name}: {reserved} are reserved, but the limit is {limit}"
    if 0 < limits.memory_bytes < MEMORY_BYTES_MIN:
        yield f"a memory limit of {limits.memory_bytes} bytes; {MEMORY_BYTES_MIN} is the least"


def _health(workload: Workload) -> Iterator[str]:
    check_ = workload.healthcheck
    if check_ is None:
        return
    if not check_.test:
        yield "healthcheck: test is empty"
    if check_.retries < 1:
        yield f"healthcheck: retries is {check_.retries}; at least 1"
    yield from _times(check_)


def _times(check_: HealthCheck) -> Iterator[str]:
    for name in ("interval_s", "timeout_s", "start_interval_s"):
        seconds = getattr(check_, name)
        if seconds <= 0:
            yield f"healthcheck: {name.removesuffix('_s')} is {seconds:g} s; more than 0"
    if check_.start_period_s < 0:
        yield "healthcheck: start_period is negative"


def _port_numbers(workload: Workload) -> Iterator[str]:
    for port in workload.ports:
        if not (0 < port.published <= _PORT_MAX and 0 < port.target <= _PORT_MAX):
            yield f"port {port.published}:{port.target}: 1 to {_PORT_MAX} are possible"


_PARTS: Final[tuple[Callable[[Workload], Iterator[str]], ...]] = (
    _process,
    _resources,
    _health,
    _port_numbers,
)


def _ports(
    name: StackName,
    services: Sequence[ServiceSpec],
    others: Mapping[StackName, Stack],
    ground: Ground,
) -> Iterator[str]:
    """Yield ports that two want: one that all nodes have, or one of a node beside such a one.

    Which node has room for a port of its own is found when its service is placed.
    """
    everywhere: dict[Port, str] = {}
    somewhere: dict[Port, str] = {}
    for stack, port, whose in _owned(others, ground):
        if stack != name:
            (somewhere if port.is_host else everywhere).setdefault(port_of(port), whose)
    own: set[tuple[str, Port]] = set()
    for spec, port in _published(services):
        key = port_of(port)
        owner = everywhere.get(key) or ("" if port.is_host else somewhere.get(key))
        if port.published in RESERVED_PORTS:
            owner = "hafen itself"
        elif (spec.name, key) in own:
            owner = owner or f"service {spec.name}"
        if owner:
            yield f"service {spec.name}: port {_port_text(key)} is taken by {owner}"
        own.add((spec.name, key))
        (somewhere if port.is_host else everywhere).setdefault(key, f"service {spec.name}")


def _port_text(port: Port) -> str:
    number, transport = port
    return f"{number}/udp" if transport == "udp" else str(number)


def _owned(
    others: Mapping[StackName, Stack], ground: Ground
) -> Iterator[tuple[StackName, PublishedPort, str]]:
    """Yield published ports with their stack and owner; of a stack that nobody can read, too."""
    for stack in others.values():
        for spec, port in _published(stack.services):
            yield stack.name, port, f"stack {stack.name}, service {spec.name}"
    for name, routed in ground.unread.items():
        for one in routed:
            owner = f"stack {name}, service {one.service}, whose record cannot be read"
            yield from ((name, port, owner) for port in one.ports)


def _published(services: Sequence[ServiceSpec]) -> Iterator[tuple[ServiceSpec, PublishedPort]]:
    return ((spec, port) for spec in services for port in spec.workload.ports)
