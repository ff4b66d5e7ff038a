"""What the API refuses to store, each with its whole line."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.api.checks import PROBLEMS_SHOWN_MAX, check, check_name, check_size, problems
from shared.api import StackUpload
from shared.errors import SpecError
from shared.model import (
    DOCUMENT_BYTES_MAX,
    Constraint,
    HealthCheck,
    Placement,
    PublishedPort,
    Resources,
    ServiceSpec,
    StackName,
    Workload,
)
from tests.unit.scheduler.api.build import SHOP, spec, stack

WEB = spec()
NAME_RULE = "use a-z, 0-9, - and _, beginning with a letter or digit, at most 40 characters"


def with_workload(**changes: object) -> ServiceSpec:
    workload = msgspec.structs.replace(WEB.workload, **changes)
    return msgspec.structs.replace(WEB, workload=workload)


def port(published: int, target: int = 80) -> PublishedPort:
    return PublishedPort(published=published, target=target)


def health(**changes: object) -> ServiceSpec:
    check_ = msgspec.structs.replace(HealthCheck(test=("true",)), **changes)
    return with_workload(healthcheck=check_)


BAD = {
    "no services": ([], "stack shop has no services"),
    "a name": ([spec("Web")], f"service name 'Web': {NAME_RULE}"),
    "a dot": ([spec("we.b")], f"service name 'we.b': {NAME_RULE}"),
    "a long name": ([spec("w" * 41)], f"service name '{'w' * 41}': {NAME_RULE}"),
    "twice": ([WEB, WEB], "service web is there twice"),
    "too many": ([spec(replicas=1001)], "service web: replicas is 1001; 0 to 1000 are possible"),
    "too few": ([spec(replicas=-1)], "service web: replicas is -1; 0 to 1000 are possible"),
    "too many spares": (
        [msgspec.structs.replace(WEB, standby=101)],
        "service web: standby is 101; 0 to 100 are possible",
    ),
    "too few spares": (
        [msgspec.structs.replace(WEB, standby=-1)],
        "service web: standby is -1; 0 to 100 are possible",
    ),
    "two of one": (
        [msgspec.structs.replace(with_workload(exclusive=True), replicas=2)],
        "service web: exclusive means at most one copy, but replicas is 2; write replicas: 1",
    ),
    "no image": ([with_workload(image="")], "service web: image '' is no image reference"),
    "a blank image": (
        [with_workload(image="a b")],
        "service web: image 'a b' is no image reference",
    ),
    "a NUL": (
        [with_workload(command=("a\0b",))],
        "service web: a command or a variable holds a NUL character",
    ),
    "a variable": (
        [with_workload(environment={"A=B": "1"})],
        "service web: environment variable 'A=B' cannot be set",
    ),
    "a long stop": (
        [with_workload(stop_grace_period_s=3601.0)],
        "service web: stop_grace_period is 3601 s; 0 to 3600 s are possible",
    ),
    "a negative limit": (
        [with_workload(limits=Resources(cpu_millis=-1))],
        "service web: cpu_millis is negative",
    ),
    "more reserved than allowed": (
        [with_workload(limits=Resources(cpu_millis=100), reservations=Resources(cpu_millis=200))],
        "service web: cpu_millis: 200 are reserved, but the limit is 100",
    ),
    "a tiny limit": (
        [with_workload(limits=Resources(memory_bytes=1024))],
        "service web: a memory limit of 1024 bytes; 4194304 is the least",
    ),
    "no test": ([health(test=())], "service web: healthcheck: test is empty"),
    "no retries": ([health(retries=0)], "service web: healthcheck: retries is 0; at least 1"),
    "no interval": (
        [health(interval_s=0.0)],
        "service web: healthcheck: interval is 0 s; more than 0",
    ),
    "a negative start": (
        [health(start_period_s=-1.0)],
        "service web: healthcheck: start_period is negative",
    ),
    "no such port": (
        [with_workload(ports=(port(70000),))],
        "service web: port 70000:80: 1 to 65535 are possible",
    ),
    "our own port": (
        [with_workload(ports=(port(8470),))],
        "service web: port 8470 is taken by hafen itself",
    ),
    "a port twice": (
        [with_workload(ports=(port(8000), port(8000, 81)))],
        "service web: port 8000 is taken by service web",
    ),
    "another stack's port": (
        [with_workload(ports=(port(8080),))],
        "service web: port 8080 is taken by stack blog, service front",
    ),
    "a negative cap": (
        [msgspec.structs.replace(WEB, placement=Placement(max_replicas_per_node=-1))],
        "service web: max_replicas_per_node is negative",
    ),
    "a constraint on nothing": (
        [
            msgspec.structs.replace(
                WEB, placement=Placement(constraints=(Constraint(key="", value="a"),))
            )
        ],
        "service web: a placement constraint names no label",
    ),
}
BLOG = stack(
    ServiceSpec(name=spec("front").name, workload=Workload(image="i", ports=(port(8080),))),
    name="blog",
)


@pytest.mark.parametrize(("services", "line"), BAD.values(), ids=BAD.keys())
def test_a_stack_that_could_never_run_is_refused_with_one_line(
    services: list[ServiceSpec], line: str
) -> None:
    upload = StackUpload(services=tuple(services))

    assert list(problems(SHOP, upload, {BLOG.name: BLOG})) == [line]


def test_a_stack_keeps_the_ports_that_it_has_already() -> None:
    check(BLOG.name, StackUpload(services=BLOG.services), {BLOG.name: BLOG})


def test_a_name_that_could_not_be_part_of_a_key_is_refused() -> None:
    with pytest.raises(SpecError) as refused:
        check_name("stack", "a/b")

    assert str(refused.value) == f"stack name 'a/b': {NAME_RULE}"


def test_many_problems_are_shown_up_to_a_limit() -> None:
    services = tuple(spec(f"s{number}", replicas=-1) for number in range(PROBLEMS_SHOWN_MAX + 3))

    with pytest.raises(SpecError) as refused:
        check(SHOP, StackUpload(services=services), {})

    lines = str(refused.value).splitlines()
    assert len(lines) == PROBLEMS_SHOWN_MAX + 1
    assert lines[0] == "service s0: replicas is -1; 0 to 1000 are possible"
    assert lines[-1] == "and 3 more"


def test_a_document_that_etcd_would_refuse_is_refused_first() -> None:
    check_size(BLOG, DOCUMENT_BYTES_MAX)
    with pytest.raises(SpecError) as refused:
        check_size(BLOG, DOCUMENT_BYTES_MAX + 1)

    assert str(refused.value) == "stack blog takes 1048577 bytes; 1048576 is the most"


@given(
    st.lists(st.lists(st.integers(8000, 8010), max_size=3), min_size=1, max_size=4),
    st.lists(st.integers(8000, 8010), max_size=3),
)
def test_no_two_services_ever_share_a_port(asked: list[list[int]], taken: list[int]) -> None:
    def service(number: int, ports: list[int]) -> ServiceSpec:
        return spec(f"s{number}", ports=[port(one) for one in ports])

    other = stack(service(0, taken), name="other")
    upload = StackUpload(services=tuple(service(n, ports) for n, ports in enumerate(asked)))
    everything = [one for ports in asked for one in ports]

    refused = list(problems(SHOP, upload, {StackName("other"): other}))

    is_shared = len(set(everything)) < len(everything) or bool(set(everything) & set(taken))
    assert bool(refused) == is_shared
