"""The tables of what hafen understands of a Compose service, and how each value is read.

Pure. A key that is in no table is refused by name: nothing a person wrote is ignored.
"""

import posixpath
import re
import shlex
from collections.abc import Mapping as Lookup
from typing import Final

import msgspec

from deploy.compose.building import Build, build, image, platform
from deploy.compose.contents import uses
from deploy.compose.context import Context
from deploy.compose.deploys import Deploy, deploy, gpus, restart
from deploy.compose.errors import RefusedError
from deploy.compose.fields import (
    Cursor,
    Field,
    Standing,
    Table,
    checked,
    each,
    items,
    one_or_more,
    pairs,
    record,
    refused,
    sound_record,
    text,
    truth,
    warned,
)
from deploy.compose.health import healthcheck, period
from deploy.compose.mounts import refuse_shared, tmpfs, volumes
from deploy.compose.naming import NAMING
from deploy.compose.networks import Attached, attached, host_name
from deploy.compose.order import Wanted, depends_on, links
from deploy.compose.own import Own, own
from deploy.compose.ports import Located, ports
from deploy.compose.security import SECURITY, Options
from deploy.compose.tree import OWN_KEY, Mapping, Sequence, quoted
from deploy.compose.tuning import TUNING, Older
from shared.model import (
    HealthCheck,
    Mount,
    MountedFile,
    Naming,
    PullPolicy,
    RestartPolicy,
    Security,
    Tuning,
)

_SIGNAL: Final = re.compile(r"(?:SIG)?[A-Z][A-Z0-9]{1,8}(?:[+-][0-9]{1,2})?|[0-9]{1,2}")
_PORT: Final = re.compile(r"[0-9]{1,5}(?:-[0-9]{1,5})?(?:/(?:tcp|udp|sctp))?")


class Service(msgspec.Struct, frozen=True):
    """One service in Compose's shape; `normalise` gives it hafen's."""

    image: str = ""
    build: Build | None = None
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    env_file: Lookup[str, str] = {}
    environment: Lookup[str, str] = {}
    label_file: Lookup[str, str] = {}
    labels: Lookup[str, str] = {}
    ports: tuple[Located, ...] = ()
    healthcheck: HealthCheck | None = None
    stop_grace_period_s: float = 10.0
    stop_signal: str = ""
    working_dir: str = ""
    init: bool = False
    tty: bool = False
    stdin: bool = False
    platform: str = ""
    pull: PullPolicy = PullPolicy.MISSING
    restart: RestartPolicy | None = None
    mounts: tuple[Mount, ...] = ()
    tmpfs: tuple[Mount, ...] = ()
    configs: tuple[MountedFile, ...] = ()
    secrets: tuple[MountedFile, ...] = ()
    security: Security = Security()
    options: Options = Options()
    naming: Naming = Naming()
    tuning: Tuning = Tuning()
    older: Older = Older()
    gpus: Lookup[str, int] = {}
    depends_on: tuple[Wanted, ...] = ()
    links: tuple[Wanted, ...] = ()
    networks: tuple[Attached, ...] = ()
    network_mode: str = ""
    container_name: str = ""
    deploy: Deploy = Deploy()
    own: Own = Own()


class _EnvFile(msgspec.Struct, frozen=True):
    path: str = ""
    required: bool = True
    is_raw: bool = False


def service(at: Cursor, context: Context) -> Service:
    """Return the service at the cursor."""
    found = record(at, Service(), _table(context))
    keys = {child.key for child in at.entries()}
    if not keys & {"image", "build", "provider"}:
        at.refuse("image is missing")
    mounts = (*found.mounts, *found.tmpfs)
    refuse_shared(mounts, at.below("volumes"))
    return found


def _table(context: Context) -> Table:
    """Return every row, those included that need the project around the service."""
    return {
        **SERVICE,
        "build": Field("build", lambda at: build(at, context)),
        "environment": Field("environment", lambda at: pairs(at, context.variables.get)),
        "env_file": Field("env_file", lambda at: _env_file(at, context)),
        "label_file": Field("label_file", lambda at: _label_file(at, context)),
        "volumes": Field("mounts", lambda at: volumes(at, context)),
        "configs": Field("configs", lambda at: uses(at, context.configs, is_secret=False)),
        "secrets": Field("secrets", lambda at: uses(at, context.secrets, is_secret=True)),
        "networks": Field("networks", lambda at: attached(at, context.networks)),
    }


def _words(at: Cursor) -> tuple[str, ...] | None:
    """Return a command line: a list as it is, text split as a shell would, nothing as None."""
    if at.is_null():
        return None
    if isinstance(at.node, Sequence):
        return each(at.items(), text)
    try:
        return tuple(shlex.split(text(at)))
    except ValueError as error:
        raise at.refuse(f"cannot be split into words: {str(error).lower()}") from error


def _labels(at: Cursor) -> dict[str, str]:
    return pairs(at, lambda _: "")


def _env_file(at: Cursor, context: Context) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in each(one_or_more(at), lambda child: _one_env_file(child, context)):
        found.update(one)
    return found


def _one_env_file(at: Cursor, context: Context) -> dict[str, str]:
    if isinstance(at.node, Mapping):
        file = sound_record(at, _EnvFile(), ENV_FILE)
        if not file.path:
            raise at.refuse("path is missing")
    else:
        file = _EnvFile(text(at))
    if not file.required and not context.library.has(file.path):
        return {}
    return context.pairs_of(file.path, at, is_raw=file.is_raw)


def _label_file(at: Cursor, context: Context) -> dict[str, str]:
    found: dict[str, str] = {}
    for child in one_or_more(at):
        found.update(context.pairs_of(text(child), child))
    return found


def _format(at: Cursor) -> bool:
    if text(at) not in {"raw", ""}:
        raise at.expected("raw, or nothing")
    return text(at) == "raw"


def _signal(at: Cursor) -> str:
    node = at.scalar("a signal such as SIGINT")
    if not _SIGNAL.fullmatch(node.text):
        raise at.expected("a signal such as SIGINT")
    return node.text


def _working_dir(at: Cursor) -> str:
    path = text(at)
    if not path.startswith("/"):
        raise at.expected("an absolute path in the container")
    return posixpath.normpath(path)


def _pull(at: Cursor) -> PullPolicy:
    policy = text(at)
    if policy in {"missing", "if_not_present", "build"}:
        return PullPolicy.MISSING
    if policy in {"always", "never"}:
        return PullPolicy(policy)
    if policy in {"daily", "weekly"} or policy.startswith("every_"):
        raise at.refuse("hafen keeps no time of a pull; write always or missing")
    raise at.expected("always, missing, never or build")


def _expose(at: Cursor) -> None:
    for child in items(at):
        node = child.scalar("a port")
        if not _PORT.fullmatch(node.text):
            child.expected("a port such as 5432")


def _profiles(at: Cursor) -> None:
    each(items(at), text)


def _no_service(key: str) -> Field:
    return refused(f"containers of other services may be on other nodes; write {key}")


def _runtime(at: Cursor) -> None:
    if text(at) not in {"runc", "crun"}:
        at.warn(f"hafen runs everything with crun; {quoted(text(at))} is not used")


def _resolved(_: Cursor) -> None:
    """Leave a key to an earlier step: it is gone before a service is read."""


def _in_context(at: Cursor) -> None:
    """Stand for a row that is made anew for every project; see `_table`."""
    raise RefusedError(at.refuse("its project is not known"))


_HOOKS: Final = "hafen runs no hooks; do it in the entrypoint, or in a job that this depends on"
_MODELS: Final = "hafen runs no models itself; run one as a service"
_CONTEXTUAL: Final = (
    "build",
    "environment",
    "env_file",
    "label_file",
    "volumes",
    "configs",
    "secrets",
    "networks",
)
ENV_FILE: Final[Table] = {
    "path": Field("path", text),
    "required": Field("required", truth),
    "format": Field("is_raw", _format),
}
SERVICE: Final[Table] = {
    **{key: checked(_in_context) for key in _CONTEXTUAL},
    **SECURITY,
    **TUNING,
    **NAMING,
    "image": Field("image", image),
    "command": Field("command", _words),
    "entrypoint": Field("entrypoint", _words),
    "labels": Field("labels", _labels),
    "annotations": warned("hafen hands no annotations to containers; labels it does"),
    "ports": Field("ports", ports),
    "expose": checked(_expose),
    "healthcheck": Field("healthcheck", healthcheck),
    "stop_grace_period": Field("stop_grace_period_s", period),
    "stop_signal": Field("stop_signal", _signal),
    "working_dir": Field("working_dir", _working_dir),
    "init": Field("init", truth),
    "tty": Field("tty", truth),
    "stdin_open": Field("stdin", truth),
    "platform": Field("platform", platform),
    "pull_policy": Field("pull", _pull),
    "pull_refresh_after": refused("hafen keeps no time of a pull; write pull_policy: always"),
    "restart": Field("restart", restart),
    "tmpfs": Field("tmpfs", tmpfs),
    "depends_on": Field("depends_on", depends_on),
    "links": Field("links", links),
    "external_links": refused(
        "put both on one network, which the other stack makes and this file calls external, and "
        "use the name of the service there"
    ),
    "volumes_from": _no_service("the same named volume in both services"),
    "deploy": Field("deploy", deploy),
    "gpus": Field("gpus", gpus),
    "profiles": checked(_profiles),
    "extends": checked(_resolved),
    "container_name": Field("container_name", host_name),
    "logging": warned("hafen keeps the logs of containers itself; see `hafen logs`"),
    "runtime": Field("", _runtime, Standing.WARNS),
    "develop": warned("it is for `compose watch`; a deploy does not need it"),
    "provider": refused("hafen runs containers only; make what it provides beforehand"),
    "models": refused(_MODELS),
    "post_start": refused(_HOOKS),
    "pre_stop": refused(_HOOKS),
    OWN_KEY: Field("own", own),
}
