"""What no client may store: what could never work is told, and what works is let pass."""

import msgspec
import pytest

from scheduler.api.change_checks import change_problems
from shared.model import (
    Dependency,
    HttpRoute,
    Mode,
    Mount,
    MountedFile,
    MountKind,
    RestartCondition,
    RestartPolicy,
    Schedule,
    SendProxy,
    ServiceName,
    ServiceSpec,
    Traffic,
    UpdatePolicy,
)
from tests.build import service
from tests.unit.scheduler.shops import job, with_volume


def told(*specs: ServiceSpec) -> list[str]:
    return list(change_problems(specs))


def web(**said: object) -> ServiceSpec:
    return msgspec.structs.replace(service(replicas=3), **said)


def mounting(*mounts: Mount, files: tuple[MountedFile, ...] = ()) -> ServiceSpec:
    spec = service()
    workload = msgspec.structs.replace(spec.workload, mounts=mounts, files=files)
    return msgspec.structs.replace(spec, workload=workload)


def with_port(**said: object) -> ServiceSpec:
    return msgspec.structs.replace(service(port=8080), **said)


def bind(target: str, source: str = "/srv") -> Mount:
    return Mount(kind=MountKind.BIND, target=target, source=source)


ENDS = RestartPolicy(condition=RestartCondition.ON_FAILURE)


def ending(spec: ServiceSpec) -> ServiceSpec:
    workload = msgspec.structs.replace(spec.workload, restart=ENDS)
    return msgspec.structs.replace(spec, workload=workload)


@pytest.mark.parametrize(
    "spec",
    [
        web(),
        web(update=UpdatePolicy(canary=3, auto_promote_s=60.0)),
        ending(job(schedule=Schedule(cron="0 3 * * *"))),
        with_volume(service(), "shop_data"),
        mounting(bind("/a", "/"), bind("/b")),
    ],
)
def test_what_can_work_is_let_pass(spec: ServiceSpec) -> None:
    assert told(spec) == []


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (web(labels={"text": "x" * 2**19}), "bytes; 491520 are the most"),
        (web(update=UpdatePolicy(parallelism=-1)), "update_config: parallelism is -1"),
        (
            web(rollback=UpdatePolicy(max_failure_ratio=2)),
            "rollback_config: max_failure_ratio",
        ),
        (web(update=UpdatePolicy(monitor_s=700)), "nothing could ever be in time"),
        (web(update=UpdatePolicy(delay_s=1e9)), "delay is 1e+09 s"),
        (web(update=UpdatePolicy(canary=4)), "canary is 4; 0 to 3"),
        (
            msgspec.structs.replace(with_volume(web(), "v"), update=UpdatePolicy(canary=1)),
            "this service's volume or order forbids",
        ),
        (web(mode=Mode.GLOBAL, standby=1), "standby and exclusive are for replicated services"),
        (web(schedule=Schedule(cron="0 3 * * *")), "only a job runs by a schedule"),
        (ending(job(schedule=Schedule(cron="0 3 * *"))), "no schedule of five cron fields"),
        (job(), "a job would never end"),
        (mounting(bind("data")), "'data' is no absolute path"),
        (mounting(bind("/a/../etc")), "is no absolute path"),
        (mounting(bind("/a"), bind("/a")), "/a is mounted twice"),
        (mounting(bind("/a", "relative")), "'relative' is no absolute path of a host"),
        (with_volume(service(), "../../etc"), "cannot name a volume"),
        (
            mounting(Mount(kind=MountKind.VOLUME, source="v", target="/a", subpath="../b")),
            "leads out of its volume",
        ),
        (web(routes=(HttpRoute(host="a.org", port=81),)), "port 81 is unknown; its ports: none"),
        (with_port(routes=(HttpRoute(host="a" * 64),)), "has 64 characters; 63 are the most"),
        (with_port(routes=(HttpRoute(host="a.org", path="b"),)), "is no path for a route"),
        (with_port(routes=(HttpRoute(host="a.org", hsts_s=1),)), "hsts is for routes"),
        (web(traffic=Traffic(hold_s=301)), "hold is 301 s; 0 to 300 s"),
        (web(traffic=Traffic(timeout_s=0)), "timeout is 0 s; 1 to 86400 s"),
        (web(traffic=Traffic(idempotency_header="a)")), "is no header"),
        (web(traffic=Traffic(max_body_bytes=-1)), "max_body is negative"),
        (web(traffic=Traffic(send_proxy=SendProxy.V1)), "no gateway sends anything to it"),
        (
            mounting(files=(MountedFile(content="s/n/d", target="/a", uid="root"),)),
            "its owner must be digits",
        ),
    ],
)
def test_what_never_could_is_told(spec: ServiceSpec, said: str) -> None:
    (problem,) = told(spec)
    assert said in problem
    assert problem.startswith(f"service {spec.name}: ")


def waiting(name: str, *on: str) -> ServiceSpec:
    depends_on = tuple(Dependency(service=ServiceName(each)) for each in on)
    return msgspec.structs.replace(service(name), depends_on=depends_on)


def test_services_that_wait_for_each_other_or_for_nobody_are_told() -> None:
    assert told(waiting("a", "b"), waiting("b"), waiting("c", "a", "b")) == []
    assert told(waiting("a", "b"), waiting("b", "c"), waiting("c", "b")) == [
        "services wait for each other: a, b, c"
    ]
    assert told(waiting("a", "z")) == ["service a depends on z, which is not in the stack"]
