"""A service in Compose's shape -> the shape that the scheduler and the nodes work with.

Pure. Here the keys of one service meet: older words and `deploy`, jobs and restarts, exclusive and
replicas. What contradicts itself is refused.
"""

import msgspec

from deploy.compose.deploys import Deploy, refuse_start_first
from deploy.compose.fields import Cursor
from deploy.compose.own import Own
from deploy.compose.routes import with_ports
from deploy.compose.service import Service
from deploy.compose.tree import OWN_KEY
from shared.model import (
    Dependency,
    EndpointMode,
    Joined,
    Mode,
    Resources,
    RestartCondition,
    RestartPolicy,
    Security,
    ServiceName,
    ServiceSpec,
    Tuning,
    Workload,
)

_JOB_RESTART = RestartPolicy(condition=RestartCondition.ON_FAILURE)
_CPU_PERIOD_US = 100_000  # the kernel's own, where a quota is given and no period


def normalise(
    at: Cursor,
    found: Service,
    depends_on: tuple[Dependency, ...],
    networks: tuple[Joined, ...],
    *,
    is_awaited: bool,
) -> ServiceSpec:
    """Return the service.

    Args:
        at: the service's mapping, for what contradicts itself.
        found: what it says.
        depends_on: what of that exists.
        networks: those that it is on.
        is_awaited: another service waits for its end.
    """
    mode = _mode(at, found.deploy, found.own)
    replicas = _agreed(
        at.below("scale"), found.older.replicas, found.deploy.replicas, "deploy.replicas"
    )
    _check_exclusive(at, found, 1 if replicas is None else replicas)
    pace = found.own.update
    update = found.deploy.update
    if pace.progress_deadline_s is not None:
        update = msgspec.structs.replace(update, progress_deadline_s=pace.progress_deadline_s)
    update = msgspec.structs.replace(update, canary=pace.canary, auto_promote_s=pace.auto_promote_s)
    own, published = found.own, [located.port.target for located in found.ports]
    routes = with_ports(at, own.routes, published)
    restart = _restart(at, found, mode, is_awaited=is_awaited)
    workload = _workload(at, found, networks, restart)
    exposed = sorted({route.port for route in routes} - {*published, 0})
    return ServiceSpec(
        name=ServiceName(at.key),
        workload=msgspec.structs.replace(workload, exposed=tuple(exposed)),
        mode=mode,
        replicas=1 if replicas is None else replicas,
        placement=found.deploy.placement,
        standby=found.own.standby,
        update=update,
        rollback=found.deploy.rollback,
        depends_on=depends_on,
        labels=found.deploy.labels,
        max_concurrent=found.own.job.max_concurrent if found.own.job else 0,
        schedule=own.schedule,
        endpoint_mode=found.deploy.endpoint_mode or EndpointMode.VIP,
        affinity=own.affinity,
        routes=routes,
        traffic=own.traffic,
    )


def _workload(
    at: Cursor, found: Service, networks: tuple[Joined, ...], restart: RestartPolicy
) -> Workload:
    limits, reservations = _resources(at, found)
    return Workload(
        image=found.image,
        command=found.command,
        entrypoint=found.entrypoint,
        environment={**found.env_file, **found.environment},
        labels={**found.label_file, **found.labels},
        healthcheck=found.healthcheck,
        stop_grace_period_s=found.stop_grace_period_s,
        stop_signal=found.stop_signal,
        working_dir=found.working_dir,
        limits=limits,
        reservations=reservations,
        ports=tuple(located.port for located in found.ports),
        exclusive=found.own.exclusive,
        restart=restart,
        mounts=(*found.mounts, *found.tmpfs),
        files=(*found.configs, *found.secrets),
        security=_security(found),
        naming=found.naming,
        tuning=_tuning(at, found, limits),
        init=found.init,
        tty=found.tty,
        stdin=found.stdin,
        platform=found.platform,
        pull=found.pull,
        networks=networks,
        network_mode=found.network_mode,
    )


def _mode(at: Cursor, deploy: Deploy, own: Own) -> Mode:
    mode = deploy.mode
    if own.schedule is not None and mode is None:
        mode = Mode.REPLICATED_JOB
    mode = mode or Mode.REPLICATED
    for key, is_given in (("cron", own.schedule is not None), ("job", own.job is not None)):
        if is_given and not mode.is_job:
            at.below(OWN_KEY, key).refuse(
                f"deploy.mode is {mode}; write replicated-job or global-job"
            )
    if mode.is_global and deploy.replicas is not None:
        at.below("deploy", "replicas").refuse(f"the nodes say how many, with mode {mode}")
    if own.standby and (mode.is_global or mode.is_job):
        at.below(OWN_KEY, "standby").refuse(f"a service of mode {mode} has no standbys")
    return mode


def _check_exclusive(at: Cursor, found: Service, replicas: int) -> None:
    own = found.own
    if not own.exclusive:
        return
    where = at.below(OWN_KEY, "exclusive")
    if replicas > 1:
        where.refuse(
            f"at most one copy may run, but deploy.replicas is {replicas}; write "
            "replicas: 1, and standby: 1 here for a spare copy"
        )
    if found.deploy.mode is not None and found.deploy.mode.is_global:
        where.refuse("at most one copy may run, but mode is global")
    refuse_start_first(
        at,
        found.deploy,
        "at most one copy may run, so the old one is first to stop: write stop-first",
    )


def _restart(at: Cursor, found: Service, mode: Mode, *, is_awaited: bool) -> RestartPolicy:
    """Return when containers are started again: `deploy` says it, or else the older word."""
    if found.deploy.restart is not None and found.restart is not None:
        at.below("restart").warn("deploy.restart_policy is there too, and counts")
    policy = found.deploy.restart or found.restart
    ends = mode.is_job or is_awaited
    if policy is None:
        return _JOB_RESTART if ends else RestartPolicy()
    if ends and policy.condition is RestartCondition.ANY:
        where = (
            at.below("deploy", "restart_policy") if found.deploy.restart else at.below("restart")
        )
        if found.deploy.restart and where.below("condition").path == where.path:
            return msgspec.structs.replace(policy, condition=_JOB_RESTART.condition)
        why = "a job ends" if mode.is_job else "another service waits for its end"
        where.refuse(f"{why}, so it cannot be started again whenever it does: write on-failure")
    return policy


def _resources(at: Cursor, found: Service) -> tuple[Resources, Resources]:
    """Return limits and reservations, from `deploy` and from Compose's older words."""
    older, asked = found.older, found.deploy.resources
    cpus = older.cpu_millis
    if older.cpu_quota_us is not None and older.cpu_quota_us > 0:
        by_quota = older.cpu_quota_us * 1000 // (older.cpu_period_us or _CPU_PERIOD_US)
        cpus = _agreed(at.below("cpu_quota"), by_quota, cpus, "cpus")
    limits = Resources(
        cpu_millis=_limit(at.below("cpus"), cpus, asked.limits.cpu_millis, "cpus"),
        memory_bytes=_limit(
            at.below("mem_limit"), older.memory_bytes, asked.limits.memory_bytes, "memory"
        ),
        pids=_limit(at.below("pids_limit"), older.pids, asked.limits.pids, "pids"),
    )
    reserved = _agreed(
        at.below("mem_reservation"),
        older.memory_reserved_bytes,
        asked.reservations.memory_bytes or None,
        "deploy.resources.reservations.memory",
    )
    devices = dict(asked.reservations.devices)
    for kind, count in found.gpus.items():
        devices[kind] = devices.get(kind, 0) + count
    if (
        limits.memory_bytes
        and (reserved or 0) > limits.memory_bytes
        and older.memory_reserved_bytes
    ):
        at.below("mem_reservation").refuse("reserves more than the limit allows")
    return limits, Resources(
        cpu_millis=asked.reservations.cpu_millis, memory_bytes=reserved or 0, devices=devices
    )


def _limit(at: Cursor, older: int | None, newer: int, key: str) -> int:
    return _agreed(at, older, newer or None, f"deploy.resources.limits.{key}") or 0


def _agreed(at: Cursor, older: int | None, newer: int | None, key: str) -> int | None:
    """Return what one of two words says, or both; refuse two that differ."""
    if older is not None and newer is not None and older != newer:
        at.refuse(f"{key} says something else; keep one of them")
    return newer if newer is not None else older


def _security(found: Service) -> Security:
    options = found.options
    return msgspec.structs.replace(
        found.security,
        no_new_privileges=options.no_new_privileges,
        seccomp=options.seccomp,
        system_paths=options.system_paths,
    )


def _tuning(at: Cursor, found: Service, limits: Resources) -> Tuning:
    swap = found.older.memory_swap_bytes
    if swap is None or swap == 0:
        return found.tuning
    if swap != -1 and swap < limits.memory_bytes:
        at.below("memswap_limit").refuse("it is memory and swap together, so no less than memory")
    if not limits.memory_bytes:
        at.below("memswap_limit").refuse("it needs a limit of memory, too: mem_limit")
    return msgspec.structs.replace(found.tuning, memory_swap_bytes=swap)
