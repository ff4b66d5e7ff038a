"""What must be so about how a service is kept, changed and mounted, for every client.

Pure. The Compose loader says most of it of a person's file, with line numbers.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from scheduler import cron
from scheduler.api import route_checks
from scheduler.strategy import order_of
from shared import codec
from shared.model import (
    DOCUMENT_BYTES_MAX,
    Mount,
    MountKind,
    Order,
    RestartCondition,
    ServiceSpec,
    UpdatePolicy,
    Workload,
)
from shared.ports import host_ports

# The record of an update holds two versions of a service and must fit one document.
SERVICE_BYTES_MAX: Final = DOCUMENT_BYTES_MAX // 2 - 32 * 1024
# A week: longer is a slip of the finger, and an update that is forgotten blocks those behind it.
SPAN_S_MAX: Final = 7 * 24 * 3600.0
PARALLELISM_MAX: Final = 1000
ATTEMPTS_MAX: Final = 10_000
_MODE_MAX: Final = 0o7777
# A volume's name is a key, a folder and a word of the command line.
VOLUME_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def change_problems(services: Sequence[ServiceSpec]) -> Iterator[str]:
    """Yield everything that is wrong, one sentence each."""
    for spec in services:
        for part in _PARTS:
            yield from (f"service {spec.name}: {said}" for said in part(spec))
    yield from _dependencies(services)


def _size(spec: ServiceSpec) -> Iterator[str]:
    size = len(codec.encode(spec))
    if size > SERVICE_BYTES_MAX:
        yield f"it takes {size} bytes; {SERVICE_BYTES_MAX} are the most: keep texts in configs"


def _policies(spec: ServiceSpec) -> Iterator[str]:
    for word, policy in (("update_config", spec.update), ("rollback_config", spec.rollback)):
        yield from (f"{word}: {said}" for said in _policy(policy))


def _policy(policy: UpdatePolicy) -> Iterator[str]:
    if not 0 <= policy.parallelism <= PARALLELISM_MAX:
        yield f"parallelism is {policy.parallelism}; 0 to {PARALLELISM_MAX} are possible"
    if not 0 <= policy.max_failure_ratio <= 1:
        yield f"max_failure_ratio is {policy.max_failure_ratio:g}; 0 to 1 are possible"
    for name in ("delay_s", "monitor_s", "progress_deadline_s"):
        seconds = getattr(policy, name)
        if not 0 <= seconds <= SPAN_S_MAX:
            yield f"{name.removesuffix('_s')} is {seconds:g} s; 0 to {SPAN_S_MAX:g} s are possible"
    if policy.progress_deadline_s <= policy.monitor_s:
        yield (
            f"progress_deadline is {policy.progress_deadline_s:g} s and monitor"
            f" {policy.monitor_s:g} s: nothing could ever be in time"
        )
    if policy.auto_promote_s is not None and not 0 <= policy.auto_promote_s <= SPAN_S_MAX:
        yield f"auto_promote is {policy.auto_promote_s:g} s; 0 to {SPAN_S_MAX:g} s are possible"


def _canary(spec: ServiceSpec) -> Iterator[str]:
    canary = spec.update.canary
    if not canary:
        return
    if not 0 < canary <= spec.replicas:
        yield f"canary is {canary}; 0 to {spec.replicas}, its replicas, are possible"
    if spec.mode.is_job or spec.mode.is_global or spec.workload.exclusive:
        yield "canary: only a replicated service that may run twice can have canaries"
    elif order_of(spec) is Order.STOP_FIRST:
        yield "canary: it runs beside the old copy, which this service's volume or order forbids"


def _networks(spec: ServiceSpec) -> Iterator[str]:
    fixed = [joined for joined in spec.workload.networks if joined.address]
    for joined in fixed[:1]:
        said = f"address {joined.address} on network {joined.network} is one container's"
        if spec.mode.is_global:
            yield f"{said}, but mode is {spec.mode}; write mode: replicated"
        elif spec.replicas > 1:
            yield f"{said}, but replicas is {spec.replicas}; write replicas: 1"
        if spec.update.order is Order.START_FIRST:
            yield f"{said}, but order is start-first: two copies would have it; write stop-first"
    if spec.mode.is_global and spec.update.order is Order.START_FIRST and host_ports(spec.workload):
        yield (
            "order is start-first, but every node has one copy of it, and a port of the node that "
            "only one can have; write stop-first"
        )


def _mode(spec: ServiceSpec) -> Iterator[str]:
    mode, workload = spec.mode, spec.workload
    if (mode.is_job or mode.is_global) and (spec.standby or workload.exclusive):
        yield f"mode is {mode}: standby and exclusive are for replicated services"
    if spec.schedule is not None and not mode.is_job:
        yield f"mode is {mode}: only a job runs by a schedule"
    elif spec.schedule is not None and (why := cron.problem(spec.schedule)):
        yield f"cron: {why}"
    if mode.is_job and workload.restart.condition is RestartCondition.ANY:
        yield "restart is any: a job would never end; write on-failure or none"
    if not 0 <= spec.max_concurrent <= PARALLELISM_MAX:
        yield f"max_concurrent is {spec.max_concurrent}; 0 to {PARALLELISM_MAX} are possible"


def _restart(spec: ServiceSpec) -> Iterator[str]:
    policy = spec.workload.restart
    if policy.delay_s is not None and not 0 <= policy.delay_s <= SPAN_S_MAX:
        yield f"restart delay is {policy.delay_s:g} s; 0 to {SPAN_S_MAX:g} s are possible"
    if not 0 <= policy.window_s <= SPAN_S_MAX:
        yield f"restart window is {policy.window_s:g} s; 0 to {SPAN_S_MAX:g} s are possible"
    if policy.max_attempts is not None and not 0 <= policy.max_attempts <= ATTEMPTS_MAX:
        yield f"max_attempts is {policy.max_attempts}; 0 to {ATTEMPTS_MAX} are possible"


def _mounts(spec: ServiceSpec) -> Iterator[str]:
    targets = list(_targets(spec.workload))
    yield from (f"{target!r} is no absolute path" for target in targets if not _is_plain(target))
    yield from (f"{target} is mounted twice" for target in _twice(targets))
    for mount in spec.workload.mounts:
        if why := _mount_problem(mount):
            yield f"mount at {mount.target}: {why}"
    yield from _files(spec)


def _twice(targets: Sequence[str]) -> list[str]:
    return sorted({target for target in targets if targets.count(target) > 1})


def _files(spec: ServiceSpec) -> Iterator[str]:
    for file in spec.workload.files:
        if not 0 <= file.mode <= _MODE_MAX:
            yield f"{file.target}: mode is {file.mode:o}; 0 to {_MODE_MAX:o} are possible"
        if not all(owner.isdecimal() or not owner for owner in (file.uid, file.gid)):
            yield f"{file.target}: its owner must be digits"


def _targets(workload: Workload) -> Iterator[str]:
    yield from (mount.target for mount in workload.mounts)
    yield from (file.target for file in workload.files)


def _is_plain(path: str) -> bool:
    return path.startswith("/") and path != "/" and "\0" not in path and ".." not in path.split("/")


def _mount_problem(mount: Mount) -> str:
    match mount.kind:
        case MountKind.VOLUME if mount.source and not VOLUME_NAME.fullmatch(mount.source):
            return f"{mount.source!r} cannot name a volume"
        case MountKind.BIND if not _is_plain(mount.source) and mount.source != "/":
            return f"{mount.source!r} is no absolute path of a host"
        case _:
            pass
    if mount.subpath.startswith("/") or ".." in mount.subpath.split("/"):
        return f"the subpath {mount.subpath!r} leads out of its volume"
    return "" if mount.size_bytes >= 0 else "its size is negative"


def _dependencies(services: Sequence[ServiceSpec]) -> Iterator[str]:
    waits = {spec.name: {one.service for one in spec.depends_on} for spec in services}
    for name, needed in waits.items():
        for unknown in sorted(needed - waits.keys()):
            yield f"service {name} depends on {unknown}, which is not in the stack"
    # What waits for nothing that is left comes off, again and again: what stays waits for itself.
    left = {name: needed & waits.keys() for name, needed in waits.items()}
    while free := {name for name, needed in left.items() if not needed}:
        left = {name: needed - free for name, needed in left.items() if name not in free}
    if left:
        yield f"services wait for each other: {', '.join(sorted(left))}"


_PARTS: Final[tuple[Callable[[ServiceSpec], Iterator[str]], ...]] = (
    _size,
    _policies,
    _canary,
    _mode,
    _restart,
    _mounts,
    _networks,
    route_checks.spec_problems,
)
