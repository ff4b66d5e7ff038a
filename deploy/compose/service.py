"""The tables of what hafen understands of a Compose service, and how each value is read.

Pure. A key that is in no table is refused by name: nothing a person wrote is ignored.
"""

import re
import shlex
from collections.abc import Mapping as Lookup
from typing import Final

import msgspec

from deploy.compose.fields import (
    Cursor,
    Field,
    Table,
    amount,
    each,
    pairs,
    record,
    sound_record,
    text,
    truth,
    whole,
)
from deploy.compose.ports import Located, ports
from deploy.compose.tree import OWN_KEY, Sequence, quoted
from deploy.compose.units import byte_count, cpu_millis, duration_s
from shared.model import Constraint, HealthCheck, Placement, Resources

REPLICAS_MAX: Final = 10_000  # a larger number is a slip of the finger on a few hosts
RETRIES_MAX: Final = 1_000
PIDS_MAX: Final = 1 << 22  # the kernel's own limit
STANDBY_MAX: Final = 100  # each is a container kept on a node of its own
MEMORY_LIMIT_BYTES_MIN: Final = 6 * 1024 * 1024  # Docker's: with less, a container does not start
IMAGE_CHARS_MAX: Final = 512

_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_IMAGE: Final = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?/|\[[0-9a-fA-F:]+\](?::[0-9]+)?/)?"
    rf"{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[A-Za-z0-9_+.-]+:[0-9a-fA-F]{32,128})?"
)
_CONSTRAINT: Final = re.compile(r"\s*(\S+?)\s*(==|!=)\s*(\S(?:.*\S)?)\s*")
_LABEL: Final = re.compile(r"node\.labels\.[A-Za-z0-9][A-Za-z0-9._/-]*")


class Asked(msgspec.Struct, frozen=True):
    """`deploy.resources`."""

    limits: Resources = Resources()
    reservations: Resources = Resources()


class Deploy(msgspec.Struct, frozen=True):
    """`deploy`, with Compose's defaults."""

    replicas: int = 1
    resources: Asked = Asked()
    placement: Placement = Placement()


class Check(msgspec.Struct, frozen=True):
    """`healthcheck`, with Docker's defaults; `test` is None when missing, () when it says NONE."""

    test: tuple[str, ...] | None = None
    disable: bool = False
    interval_s: float = 30.0
    timeout_s: float = 30.0
    retries: int = 3
    start_period_s: float = 0.0
    start_interval_s: float = 5.0


class Own(msgspec.Struct, frozen=True):
    """`x-hafen`: what Compose has no word for."""

    standby: int = 0
    exclusive: bool = False


class Service(msgspec.Struct, frozen=True):
    """One service in Compose's shape; `normalise` gives it hafen's."""

    image: str = ""
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: Lookup[str, str] = {}
    labels: Lookup[str, str] = {}
    ports: tuple[Located, ...] = ()
    healthcheck: HealthCheck | None = None
    stop_grace_period_s: float = 10.0
    deploy: Deploy = Deploy()
    own: Own = Own()


def service(at: Cursor, variables: Lookup[str, str]) -> Service:
    """Return the service at the cursor.

    Args:
        at: the service's mapping.
        variables: where `environment` finds the value of a name that stands alone.
    """
    table = {
        **SERVICE,
        "environment": Field("environment", lambda child: pairs(child, variables.get)),
    }
    found = record(at, Service(), table, _HINTS)
    keys = {child.key for child in at.entries()}
    # With build the line about build says it all.
    if not keys & {"image", "build"}:
        at.refuse("image is missing")
    if found.own.exclusive and found.deploy.replicas > 1:
        at.below(OWN_KEY, "exclusive").refuse(
            f"at most one copy may run, but deploy.replicas is {found.deploy.replicas}; write "
            "replicas: 1, and standby: 1 here for a spare copy"
        )
    return found


def _image(at: Cursor) -> str:
    name = text(at)
    if len(name) > IMAGE_CHARS_MAX or not _IMAGE.fullmatch(name):
        raise at.expected("an image such as registry.example.com/team/app:1.2")
    return name


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


# ---------------------------------------------------------------- healthcheck


def _test(at: Cursor) -> tuple[str, ...] | None:
    if not isinstance(at.node, Sequence):
        return ("/bin/sh", "-c", text(at))
    words = each(at.items(), text)
    match words:
        case ():
            return None
        case ("NONE",):
            return ()
        case ("CMD", _, *_):
            return words[1:]
        case ("CMD-SHELL", line):
            return ("/bin/sh", "-c", line)
        case _:
            raise at.refuse(
                'expected ["CMD", program, argument ...], ["CMD-SHELL", line] or ["NONE"]'
            )


def _period(at: Cursor) -> float:
    return amount(at, duration_s)


def _interval(at: Cursor) -> float:
    seconds = _period(at)
    if seconds <= 0:
        raise at.expected("more than 0s")
    return seconds


def _healthcheck(at: Cursor) -> HealthCheck | None:
    check = sound_record(at, Check(), _CHECK)
    if check.disable and check.test:
        raise at.refuse("disable and test contradict each other; keep one")
    if check.disable or check.test == ():
        return None
    if check.test is None:
        raise at.refuse("test is missing; hafen does not read the image's own health check yet")
    return HealthCheck(
        test=check.test,
        interval_s=check.interval_s,
        timeout_s=check.timeout_s,
        retries=check.retries,
        start_period_s=check.start_period_s,
        start_interval_s=check.start_interval_s,
    )


# ---------------------------------------------------------------- deploy


def _resources(at: Cursor) -> Asked:
    asked = sound_record(at, Asked(), _RESOURCES)
    for key, limit, reserved in (
        ("cpus", asked.limits.cpu_millis, asked.reservations.cpu_millis),
        ("memory", asked.limits.memory_bytes, asked.reservations.memory_bytes),
    ):
        if limit and reserved > limit:
            at.below("reservations", key).refuse(f"reserves more than limits.{key} allows")
    return asked


def _memory_limit(at: Cursor) -> int:
    count = amount(at, byte_count)
    if 0 < count < MEMORY_LIMIT_BYTES_MIN:
        raise at.refuse(f"{count} bytes are too few to start a container; is the unit missing?")
    return count


def _cpus(at: Cursor) -> int:
    return amount(at, cpu_millis)


def _memory(at: Cursor) -> int:
    return amount(at, byte_count)


def _constraint(at: Cursor) -> Constraint:
    match = _CONSTRAINT.fullmatch(text(at))
    if match is None:
        raise at.expected('a constraint such as "node.labels.zone == a"')
    key, sign, value = match.groups()
    if key not in {"node.hostname", "node.id"} and not _LABEL.fullmatch(key):
        raise at.refuse(
            f"hafen does not know {quoted(key)}; use node.labels.NAME, node.hostname or node.id"
        )
    return Constraint(key=key, value=value, equal=sign == "==")


class _Preference(msgspec.Struct, frozen=True):
    spread: str = ""


def _preference(at: Cursor) -> str:
    found = sound_record(at, _Preference(), _PREFERENCE)
    if not found.spread:
        raise at.expected("spread: node.labels.NAME")
    return found.spread


def _spread(at: Cursor) -> str:
    label = text(at)
    if not _LABEL.fullmatch(label):
        raise at.expected("node.labels.NAME")
    return label


def _deploy(at: Cursor) -> Deploy:
    return Deploy() if at.is_null() else record(at, Deploy(), DEPLOY, _DEPLOY_HINTS)


def _placement(at: Cursor) -> Placement:
    return record(at, Placement(), _PLACEMENT)


def _own(at: Cursor) -> Own:
    return Own() if at.is_null() else record(at, Own(), _OWN)


# ---------------------------------------------------------------- the tables

_CHECK: Final[Table] = {
    "test": Field("test", _test),
    "disable": Field("disable", truth),
    "interval": Field("interval_s", _interval),
    "timeout": Field("timeout_s", _interval),
    "retries": Field("retries", lambda at: whole(at, 1, RETRIES_MAX)),
    "start_period": Field("start_period_s", _period),
    "start_interval": Field("start_interval_s", _interval),
}
_LIMITS: Final[Table] = {
    "cpus": Field("cpu_millis", _cpus),
    "memory": Field("memory_bytes", _memory_limit),
    "pids": Field("pids", lambda at: whole(at, 0, PIDS_MAX)),
}
_RESERVATIONS: Final[Table] = {
    "cpus": Field("cpu_millis", _cpus),
    "memory": Field("memory_bytes", _memory),
}
_RESOURCES: Final[Table] = {
    "limits": Field("limits", lambda at: sound_record(at, Resources(), _LIMITS)),
    "reservations": Field("reservations", lambda at: sound_record(at, Resources(), _RESERVATIONS)),
}
_PREFERENCE: Final[Table] = {"spread": Field("spread", _spread)}
_PLACEMENT: Final[Table] = {
    "constraints": Field("constraints", lambda at: each(at.items(), _constraint)),
    "preferences": Field("spread", lambda at: each(at.items(), _preference)),
    "max_replicas_per_node": Field("max_replicas_per_node", lambda at: whole(at, 0, REPLICAS_MAX)),
}
DEPLOY: Final[Table] = {
    "replicas": Field("replicas", lambda at: whole(at, 0, REPLICAS_MAX)),
    "resources": Field("resources", _resources),
    "placement": Field("placement", _placement),
}
_OWN: Final[Table] = {
    "standby": Field("standby", lambda at: whole(at, 0, STANDBY_MAX)),
    "exclusive": Field("exclusive", truth),
}
SERVICE: Final[Table] = {
    "image": Field("image", _image),
    "command": Field("command", _words),
    "entrypoint": Field("entrypoint", _words),
    "labels": Field("labels", _labels),
    "ports": Field("ports", ports),
    "healthcheck": Field("healthcheck", _healthcheck),
    "stop_grace_period": Field("stop_grace_period_s", _period),
    "deploy": Field("deploy", _deploy),
    OWN_KEY: Field("own", _own),
}
# What to do instead, where a person can do something today.
_HINTS: Final[Lookup[str, str]] = {
    "build": "build the image first and name it under image",
    "cpus": "use deploy.resources.limits.cpus",
    "mem_limit": "use deploy.resources.limits.memory",
    "mem_reservation": "use deploy.resources.reservations.memory",
    "pids_limit": "use deploy.resources.limits.pids",
    "scale": "use deploy.replicas",
    "restart": "leave it out: hafen restarts what ends, and replaces what keeps ending",
    "expose": "leave it out: it has no effect",
}
_DEPLOY_HINTS: Final[Lookup[str, str]] = {
    "labels": "labels beside deploy go to the containers",
    "mode": "leave it out for a number of replicas",
}
