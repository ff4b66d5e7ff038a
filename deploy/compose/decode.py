"""The located tree of a whole file -> the stack's services, normalised into hafen's records.

Pure.
"""

from collections.abc import Mapping as Lookup
from typing import Final

import msgspec

from deploy.compose.errors import Problems
from deploy.compose.fields import Cursor, Field, Table, each, record, text
from deploy.compose.names import RULE, is_name
from deploy.compose.ports import refuse_shared
from deploy.compose.service import Service, service
from deploy.compose.tree import Mapping, quoted
from shared.model import ServiceName, ServiceSpec, Workload

SERVICES_MAX: Final = 1_000


class File(msgspec.Struct, frozen=True):
    """A decoded Compose file; `name` is empty when the file does not give one."""

    name: str = ""
    version: str = ""
    services: tuple[ServiceSpec, ...] = ()


class Decoded(msgspec.Struct, frozen=True):
    """What a file says, and what a person should know about it although it is not wrong."""

    file: File
    warnings: tuple[str, ...]


def decode(tree: Mapping, variables: Lookup[str, str], problems: Problems) -> Decoded:
    """Return the services of an expanded tree; whatever is wrong goes to `problems`.

    Args:
        tree: the top of the file.
        variables: for names in `environment` that have no value.
        problems: when it is empty afterwards, the result is whole.
    """
    top = Cursor(tree, tree.mark, (), problems)
    table: Table = {
        "name": Field("name", _name),
        "version": Field("version", lambda at: at.scalar("text").text),
        "services": Field("services", lambda at: _services(at, variables)),
    }
    file = record(top, File(), table)
    if tree.get("services") is None:
        top.refuse("services is missing")
    return Decoded(file, _warnings(tree))


def _warnings(tree: Mapping) -> tuple[str, ...]:
    version = tree.get("version")
    if version is None:
        return ()
    where = f"{version.mark.file}:{version.mark.line}"
    return (f"{where}: version: has no meaning any more; it can be left out",)


def _name(at: Cursor) -> str:
    name = text(at)
    if not is_name(name):
        raise at.refuse(f"{quoted(name)} cannot name a stack: {RULE}")
    return name


def _services(at: Cursor, variables: Lookup[str, str]) -> tuple[ServiceSpec, ...]:
    children = at.entries("services by name")
    if not children:
        raise at.refuse("there is no service here")
    if len(children) > SERVICES_MAX:
        raise at.refuse(f"{len(children)} services; {SERVICES_MAX} are the most")
    found = each(children, lambda child: (_service_name(child), service(child, variables)))
    refuse_shared([port for _, one in found for port in one.ports], at.problems)
    return tuple(normalise(name, one) for name, one in found)


def _service_name(at: Cursor) -> ServiceName:
    if not is_name(at.key):
        raise at.refuse(f"{quoted(at.key)} cannot name a service: {RULE}")
    return ServiceName(at.key)


def normalise(name: ServiceName, found: Service) -> ServiceSpec:
    """Return a service in the shape that the scheduler and the nodes work with."""
    workload = Workload(
        image=found.image,
        command=found.command,
        entrypoint=found.entrypoint,
        environment=found.environment,
        labels=found.labels,
        healthcheck=found.healthcheck,
        stop_grace_period_s=found.stop_grace_period_s,
        limits=found.deploy.resources.limits,
        reservations=found.deploy.resources.reservations,
        ports=tuple(located.port for located in found.ports),
        exclusive=found.own.exclusive,
    )
    return ServiceSpec(
        name=name,
        workload=workload,
        replicas=found.deploy.replicas,
        placement=found.deploy.placement,
        standby=found.own.standby,
    )
