"""`deploy` of a service, and `restart`.

Pure.
"""

import re
from collections.abc import Mapping as Lookup
from typing import Final

import msgspec

from deploy.compose.fields import (
    Cursor,
    Field,
    Table,
    amount,
    each,
    items,
    one_of,
    pairs,
    record,
    sound_record,
    text,
    value_text,
    warned,
    whole,
)
from deploy.compose.health import period
from deploy.compose.tree import Kind, Scalar, quoted
from deploy.compose.tuning import PIDS_MAX, cpus, memory, memory_limit, number
from deploy.compose.units import ratio
from shared.limits import REPLICAS_MAX
from shared.model import (
    Constraint,
    EndpointMode,
    FailureAction,
    Mode,
    Order,
    Placement,
    Resources,
    RestartCondition,
    RestartPolicy,
    UpdatePolicy,
)

ATTEMPTS_MAX: Final = 1_000_000
DEVICES_MAX: Final = 1_000  # of one kind, for one container

_CONSTRAINT: Final = re.compile(r"\s*(\S+?)\s*(==|!=)\s*(\S(?:.*\S)?)\s*")
_LABEL: Final = re.compile(r"node\.labels\.[A-Za-z0-9][A-Za-z0-9._/-]*")
_KIND: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_RESTART: Final = re.compile(r"on-failure:([0-9]{1,6})")


class Asked(msgspec.Struct, frozen=True):
    """`deploy.resources`."""

    limits: Resources = Resources()
    reservations: Resources = Resources()


class Deploy(msgspec.Struct, frozen=True):
    """`deploy`; None where Compose has an older word that may say it, or a default of its own."""

    mode: Mode | None = None
    replicas: int | None = None
    resources: Asked = Asked()
    placement: Placement = Placement()
    restart: RestartPolicy | None = None
    update: UpdatePolicy = UpdatePolicy()
    rollback: UpdatePolicy = UpdatePolicy()
    labels: Lookup[str, str] = {}
    endpoint_mode: EndpointMode | None = None


def refuse_start_first(at: Cursor, deploy: Deploy, why: str) -> None:
    """Refuse updates in which two copies of a slot would run for a while."""
    for key, policy in (("update_config", deploy.update), ("rollback_config", deploy.rollback)):
        if policy.order is Order.START_FIRST:
            at.below("deploy", key, "order").refuse(why)


class _Reserved(msgspec.Struct, frozen=True):
    cpu_millis: int = 0
    memory_bytes: int = 0
    devices: Lookup[str, int] = {}
    generic: Lookup[str, int] = {}


class _Request(msgspec.Struct, frozen=True):
    """An item of `devices`; `count` is None when missing."""

    capabilities: tuple[str, ...] = ()
    count: int | None = None
    ids: tuple[str, ...] = ()


class _Discrete(msgspec.Struct, frozen=True):
    kind: str = ""
    value: int = 0


class _Generic(msgspec.Struct, frozen=True):
    spec: _Discrete = _Discrete()


class _Preference(msgspec.Struct, frozen=True):
    spread: str = ""


def deploy(at: Cursor) -> Deploy:
    """Return what `deploy` says."""
    return Deploy() if at.is_null() else record(at, Deploy(), DEPLOY)


def restart(at: Cursor) -> RestartPolicy:
    """Return what the single word `restart` says."""
    if isinstance(at.node, Scalar) and at.node.kind is Kind.BOOL and at.node.text == "false":
        raise at.refuse('write "no" in quotes')
    word = text(at)
    if match := _RESTART.fullmatch(word):
        attempts = int(match.group(1))
        return RestartPolicy(condition=RestartCondition.ON_FAILURE, max_attempts=attempts or None)
    one_of(at, "no", "always", "unless-stopped", "on-failure")
    conditions = {"no": RestartCondition.NONE, "on-failure": RestartCondition.ON_FAILURE}
    return RestartPolicy(condition=conditions.get(word, RestartCondition.ANY))


def resources(at: Cursor) -> Asked:
    """Return limits and reservations, none larger than its limit."""
    asked = sound_record(at, Asked(), RESOURCES)
    for key, limit, reserved in (
        ("cpus", asked.limits.cpu_millis, asked.reservations.cpu_millis),
        ("memory", asked.limits.memory_bytes, asked.reservations.memory_bytes),
    ):
        if limit and reserved > limit:
            at.below("reservations", key).refuse(f"reserves more than limits.{key} allows")
    return asked


def _reservations(at: Cursor) -> Resources:
    found = sound_record(at, _Reserved(), RESERVATIONS)
    return Resources(
        cpu_millis=found.cpu_millis,
        memory_bytes=found.memory_bytes,
        devices=_added([found.devices, found.generic]),
    )


def _added(counts: list[Lookup[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for found in counts:
        for kind, count in found.items():
            total[kind] = total.get(kind, 0) + count
    return total


def devices(at: Cursor) -> dict[str, int]:
    """Return how many devices of which kind a list of requests asks for."""
    return _added(list(each(items(at), _request)))


def gpus(at: Cursor) -> dict[str, int]:
    """Return how many GPUs the short word `gpus` asks for."""
    if isinstance(at.node, Scalar) and not at.is_null():
        return {"gpu": _count(at)}
    return _added(list(each(items(at), lambda child: _request(child, "gpu"))))


def _request(at: Cursor, otherwise: str = "") -> dict[str, int]:
    found = sound_record(at, _Request(), DEVICE)
    known = [one for one in found.capabilities if one == "gpu"] or list(found.capabilities)
    kind = known[0] if known else otherwise
    if not kind:
        raise at.refuse('capabilities is missing: which kind of device, such as ["gpu"]')
    if found.ids and found.count is not None:
        raise at.refuse("count and device_ids contradict each other; keep count")
    if found.ids:
        raise at.below("device_ids").refuse(
            f"hafen counts devices and chooses them itself; write count: {len(found.ids)}"
        )
    if found.count is None:
        raise at.refuse("hafen gives out a number of devices, not all of them; write count")
    return {kind: found.count}


def _count(at: Cursor) -> int:
    if at.scalar("a number of devices").text == "all":
        raise at.refuse("hafen gives out a number of devices, not all of them; write how many")
    return whole(at, 1, DEVICES_MAX)


def _kind(at: Cursor) -> str:
    kind = text(at)
    if not _KIND.fullmatch(kind):
        raise at.expected("a kind of device such as gpu")
    return kind


def _kinds(at: Cursor) -> tuple[str, ...]:
    return each(items(at), _kind)


def _generic(at: Cursor) -> dict[str, int]:
    def one(child: Cursor) -> dict[str, int]:
        spec = sound_record(child, _Generic(), GENERIC).spec
        if not spec.kind or not spec.value:
            raise child.refuse("discrete_resource_spec needs a kind and a value")
        return {spec.kind: spec.value}

    return _added(list(each(items(at), one)))


def _constraints(at: Cursor) -> tuple[Constraint, ...]:
    found = each(items(at), _constraint)
    return tuple(one for one in found if one is not None)


def _constraint(at: Cursor) -> Constraint | None:
    match = _CONSTRAINT.fullmatch(text(at))
    if match is None:
        raise at.expected('a constraint such as "node.labels.zone == a"')
    key, sign, value = match.groups()
    if (key, sign, value) == ("node.platform.os", "==", "linux"):
        return None  # as every node of hafen
    if key not in {"node.hostname", "node.id"} and not _LABEL.fullmatch(key):
        raise at.refuse(_other_key(key))
    return Constraint(key=key, value=value, equal=sign == "==")


def _other_key(key: str) -> str:
    if key == "node.role":
        return "hafen's nodes have no roles; give some of them a label and use node.labels.NAME"
    if key.startswith(("node.platform.", "engine.labels.")):
        return f"hafen does not know {quoted(key)}; label the nodes and use node.labels.NAME"
    return f"hafen does not know {quoted(key)}; use node.labels.NAME, node.hostname or node.id"


def _preference(at: Cursor) -> str:
    found = sound_record(at, _Preference(), PREFERENCE)
    if not found.spread:
        raise at.expected("spread: node.labels.NAME")
    return found.spread


def _spread(at: Cursor) -> str:
    label = text(at)
    if not _LABEL.fullmatch(label):
        raise at.expected("node.labels.NAME")
    return label


def _placement(at: Cursor) -> Placement:
    return Placement() if at.is_null() else record(at, Placement(), PLACEMENT)


def _mode(at: Cursor) -> Mode:
    return Mode(one_of(at, *Mode))


def _policy(at: Cursor) -> RestartPolicy:
    return RestartPolicy() if at.is_null() else record(at, RestartPolicy(), RESTART_POLICY)


def _condition(at: Cursor) -> RestartCondition:
    return RestartCondition(one_of(at, "any", "on-failure", "none"))


def _update(at: Cursor) -> UpdatePolicy:
    return UpdatePolicy() if at.is_null() else record(at, UpdatePolicy(), UPDATE)


def _rollback(at: Cursor) -> UpdatePolicy:
    return UpdatePolicy() if at.is_null() else record(at, UpdatePolicy(), ROLLBACK)


def _labels(at: Cursor) -> dict[str, str]:
    return pairs(at, lambda _: "")


LIMITS: Final[Table] = {
    "cpus": Field("cpu_millis", cpus),
    "memory": Field("memory_bytes", memory_limit),
    "pids": Field("pids", lambda at: max(0, number(at, -1, PIDS_MAX))),
}
DISCRETE: Final[Table] = {
    "kind": Field("kind", _kind),
    "value": Field("value", lambda at: whole(at, 1, DEVICES_MAX)),
}
GENERIC: Final[Table] = {
    "discrete_resource_spec": Field("spec", lambda at: sound_record(at, _Discrete(), DISCRETE)),
}
DEVICE: Final[Table] = {
    "capabilities": Field("capabilities", _kinds),
    "count": Field("count", _count),
    "device_ids": Field("ids", lambda at: each(items(at), value_text)),
    "driver": warned("the node says which driver its devices have"),
    "options": warned("hafen hands no options to drivers"),
}
RESERVATIONS: Final[Table] = {
    "cpus": Field("cpu_millis", cpus),
    "memory": Field("memory_bytes", memory),
    "devices": Field("devices", devices),
    "generic_resources": Field("generic", _generic),
}
RESOURCES: Final[Table] = {
    "limits": Field("limits", lambda at: sound_record(at, Resources(), LIMITS)),
    "reservations": Field("reservations", _reservations),
}
PREFERENCE: Final[Table] = {"spread": Field("spread", _spread)}
PLACEMENT: Final[Table] = {
    "constraints": Field("constraints", _constraints),
    "preferences": Field("spread", lambda at: each(items(at), _preference)),
    "max_replicas_per_node": Field("max_replicas_per_node", lambda at: whole(at, 0, REPLICAS_MAX)),
}
RESTART_POLICY: Final[Table] = {
    "condition": Field("condition", _condition),
    "delay": Field("delay_s", period),
    "max_attempts": Field("max_attempts", lambda at: whole(at, 0, ATTEMPTS_MAX)),
    "window": Field("window_s", period),
}
_CHANGE: Final[Table] = {
    "parallelism": Field("parallelism", lambda at: whole(at, 0, REPLICAS_MAX)),
    "delay": Field("delay_s", period),
    "monitor": Field("monitor_s", period),
    "max_failure_ratio": Field("max_failure_ratio", lambda at: amount(at, ratio)),
    "order": Field("order", lambda at: Order(one_of(at, *Order))),
}
UPDATE: Final[Table] = {
    **_CHANGE,
    "failure_action": Field("failure_action", lambda at: FailureAction(one_of(at, *FailureAction))),
}
ROLLBACK: Final[Table] = {
    **_CHANGE,
    "failure_action": Field(
        "failure_action", lambda at: FailureAction(one_of(at, "pause", "continue"))
    ),
}
DEPLOY: Final[Table] = {
    "mode": Field("mode", _mode),
    "replicas": Field("replicas", lambda at: whole(at, 0, REPLICAS_MAX)),
    "resources": Field("resources", resources),
    "placement": Field("placement", _placement),
    "restart_policy": Field("restart", _policy),
    "update_config": Field("update", _update),
    "rollback_config": Field("rollback", _rollback),
    "labels": Field("labels", _labels),
    "endpoint_mode": Field("endpoint_mode", lambda at: EndpointMode(one_of(at, *EndpointMode))),
}
