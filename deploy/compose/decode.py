"""The located tree of a whole project -> the stack's services, normalised into hafen's records.

Pure.
"""

from collections.abc import Mapping as Lookup
from typing import Final

import msgspec

from deploy.compose import contents, joining, mounts, networks, routes
from deploy.compose.building import Build
from deploy.compose.context import Context
from deploy.compose.errors import Problems, RefusedError
from deploy.compose.fields import (
    Cursor,
    Field,
    Standing,
    Table,
    checked,
    each,
    record,
    refused,
    text,
)
from deploy.compose.names import RULE, is_name
from deploy.compose.networks import Declared, with_default
from deploy.compose.normalise import normalise
from deploy.compose.order import dependencies
from deploy.compose.ports import refuse_shared
from deploy.compose.service import Service, service
from deploy.compose.tree import Mapping, Scalar, Sequence, quoted
from shared.model import Dependency, DependsOn, Joined, MountKind, Network, ServiceSpec

SERVICES_MAX: Final = 1_000


class Decoded(msgspec.Struct, frozen=True):
    """What a project says.

    Attributes:
        contents: of configs and secrets, by name.
        builds: the images that are to be built, one for each service that says so.
        networks: those that the file makes, sorted by name.
    """

    services: tuple[ServiceSpec, ...] = ()
    contents: Lookup[str, bytes] = {}
    builds: tuple[Build, ...] = ()
    networks: tuple[Network, ...] = ()


class _File(msgspec.Struct, frozen=True):
    """What the top of a file says apart from services."""

    volumes: Lookup[str, str] = {}
    networks: Lookup[str, Declared] = {}
    configs: Lookup[str, tuple[str, bytes]] = {}
    secrets: Lookup[str, tuple[str, bytes]] = {}


def decode(
    tree: Mapping, context: Context, profiles: frozenset[str], problems: Problems
) -> Decoded:
    """Return what an expanded tree says; whatever is wrong goes to `problems`.

    Args:
        tree: the top of the project.
        context: without volumes, configs, secrets, networks: they are read here.
        profiles: the active ones; * stands for all.
        problems: when it is empty afterwards, the result is whole.
    """
    top = Cursor(tree, tree.mark, (), problems)
    file = record(top, _File(), _table(context))
    context = msgspec.structs.replace(
        context,
        volumes=file.volumes,
        networks=with_default(file.networks, context.stack),
        configs={key: name for key, (name, _) in file.configs.items()},
        secrets={key: name for key, (name, _) in file.secrets.items()},
    )
    entry = tree.get("services")
    if entry is None:
        top.refuse("services is missing")
        return Decoded()
    try:
        found, specs = _services(top.below("services"), context, profiles)
    except RefusedError:
        return Decoded()
    _warn_of_paths(context.folder, found)
    builds = tuple(one.build for _, one in found.values() if one.build is not None)
    used = {one.content for spec in specs for one in spec.workload.files}
    known = {**dict(file.configs.values()), **dict(file.secrets.values())}
    return Decoded(
        specs,
        {name: known[name] for name in sorted(used)},
        builds,
        joining.made((spec.workload.networks for spec in specs), context.networks),
    )


def stack_name(tree: Mapping, problems: Problems) -> str:
    """Return the name that a project gives itself; empty where it gives none, or a wrong one."""
    top = Cursor(tree, tree.mark, (), problems)
    found = each([top.below("name")] if tree.get("name") else [], _name)
    return found[0] if found else ""


def is_active(node: Mapping, profiles: frozenset[str]) -> bool:
    """Say whether a service is deployed: it has no profile, or an active one."""
    entry = node.get("profiles")
    if entry is None or not isinstance(entry.value, Sequence) or not entry.value.items:
        return True
    own = {item.text for item in entry.value.items if isinstance(item, Scalar)}
    return "*" in profiles or bool(own & profiles)


def _version(at: Cursor) -> None:
    at.scalar("text")
    at.warn("has no meaning any more; it can be left out")


def _name(at: Cursor) -> str:
    name = text(at)
    if not is_name(name):
        raise at.refuse(f"{quoted(name)} cannot name a stack: {RULE}")
    return name


def _services(
    at: Cursor, context: Context, profiles: frozenset[str]
) -> tuple[joining.Found, tuple[ServiceSpec, ...]]:
    children = at.entries("services by name")
    if not children:
        raise at.refuse("there is no service here")
    if len(children) > SERVICES_MAX:
        raise at.refuse(f"{len(children)} services; {SERVICES_MAX} are the most")
    named = each(children, _named)
    active = [
        child
        for child in named
        if not isinstance(child.node, Mapping) or is_active(child.node, profiles)
    ]
    if named and not active:
        raise at.refuse("every service has a profile and none is active; say --profile")
    pairs = each(active, lambda child: (child, _service(child, context)))
    found = {child.key: (child, one) for child, one in pairs}
    refuse_shared([port for _, one in found.values() for port in one.ports], at.problems)
    routed = [route for _, one in found.values() for route in one.own.routes]
    routes.refuse_shared(routed, at.problems)
    wanted = {name: (*one.depends_on, *one.links) for name, (_, one) in found.items()}
    # One that was refused is there all the same: what waits for it is no further problem.
    broken = {child.key: () for child in active if child.key not in found}
    inactive = frozenset(child.key for child in named) - {child.key for child in active}
    first = dependencies({**wanted, **broken}, inactive)
    return found, _normalised(found, first, joining.joined(found, context.networks))


def _service(at: Cursor, context: Context) -> Service:
    return joining.settled(at, _with_image(at, service(at, context), context))


def _normalised(
    found: joining.Found,
    first: Lookup[str, tuple[Dependency, ...]],
    joined: Lookup[str, tuple[Joined, ...]],
) -> tuple[ServiceSpec, ...]:
    awaited = {
        one.service
        for all_ in first.values()
        for one in all_
        if one.condition is DependsOn.COMPLETED
    }
    return tuple(
        normalise(child, one, first[name], joined[name], is_awaited=name in awaited)
        for name, (child, one) in found.items()
    )


def _warn_of_paths(folder: str, found: joining.Found) -> None:
    """Say once that a node does not have what lies beside the Compose file."""
    for child, one in found.values():
        for mount in one.mounts:
            if mount.kind is MountKind.BIND and f"{mount.source}/".startswith(f"{folder}/"):
                child.below("volumes").warn(
                    f"{quoted(mount.source)} is mounted from the node that runs the container, not "
                    "from this computer; put it there, into the image, or into configs"
                )
                return


def _named(at: Cursor) -> Cursor:
    if not is_name(at.key):
        raise at.refuse(f"{quoted(at.key)} cannot name a service: {RULE}")
    return at


def _with_image(at: Cursor, found: Service, context: Context) -> Service:
    """Return a service that knows what its image is called, also when it is built."""
    if found.build is None:
        return found
    name = found.image or f"{context.stack}-{at.key}"
    build = msgspec.structs.replace(found.build, image=name)
    return msgspec.structs.replace(found, image=name, build=build)


def _table(context: Context) -> Table:
    return {
        **TOP,
        "volumes": Field("volumes", lambda at: mounts.top(at, context)),
        "networks": Field("networks", lambda at: networks.top(at, context.stack)),
        "configs": Field("configs", lambda at: contents.top(at, context, contents.CONFIG)),
        "secrets": Field("secrets", lambda at: contents.top(at, context, contents.SECRET)),
    }


def _nothing(_: Cursor) -> None:
    """Leave a key to another step."""


TOP: Final[Table] = {
    "name": checked(_nothing),  # see stack_name
    "version": Field("", _version, Standing.WARNS),
    "services": checked(_nothing),
    "include": checked(_nothing),
    "networks": checked(_nothing),  # these four need the project: see _table
    "volumes": checked(_nothing),
    "configs": checked(_nothing),
    "secrets": checked(_nothing),
    "models": refused("hafen runs no models itself; run one as a service"),
}
