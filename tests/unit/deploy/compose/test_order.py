"""`depends_on` and `links`: what is first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import SpecError
from shared.model import Dependency, DependsOn, RestartCondition, ServiceName
from tests.unit.deploy.compose.given import problems, services, understood


def test_both_forms() -> None:
    text = """
    services:
      a: {image: a, depends_on: [b, c]}
      b: {image: b, depends_on: {c: {condition: service_healthy, restart: true}}}
      c: {image: c}
    """
    found = services(text)
    assert [one.service for one in found["a"].depends_on] == ["b", "c"]
    assert found["b"].depends_on == (
        Dependency(service=ServiceName("c"), condition=DependsOn.HEALTHY, restart=True),
    )


def test_a_service_that_another_one_waits_for_to_end_is_not_started_again_for_ever() -> None:
    text = """
    services:
      web: {image: a, depends_on: {setup: {condition: service_completed_successfully}}}
      setup: {image: b}
    """
    found = services(text)
    assert found["setup"].workload.restart.condition is RestartCondition.ON_FAILURE
    assert found["web"].workload.restart.condition is RestartCondition.ANY
    most = services(text.replace("{image: b}", "{image: b, deploy: {restart_policy: {delay: 1s}}}"))
    policy = most["setup"].workload.restart
    assert (policy.condition, policy.delay_s) == (RestartCondition.ON_FAILURE, 1.0)
    assert problems(text.replace("{image: b}", "{image: b, restart: always}")) == [
        (
            "a.yaml:4: services.setup.restart: another service waits for its end, so it cannot be "
            "started again whenever it does: write on-failure"
        )
    ]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("depends_on: [no]", 'depends_on[0]: there is no service "no"'),
        ("depends_on: [web]", "depends_on[0]: a service cannot wait for itself"),
        ("depends_on: [db]", "depends_on[0]: these wait for each other: web -> db -> web"),
        ("links: ['db:database']", "links[0]: these wait for each other: web -> db -> web"),
        (
            "depends_on: {db: {condition: ready}}",
            (
                "depends_on.db.condition: expected service_started, service_healthy or "
                'service_completed_successfully, got "ready"'
            ),
        ),
    ],
)
def test_what_cannot_be_waited_for(body: str, why: str) -> None:
    lines = problems(f"services:\n  web: {{image: a, {body}}}\n  db: {{image: b, links: [web]}}\n")
    assert lines == [f"a.yaml:2: services.web.{why}"]


def test_what_is_not_required_may_be_missing() -> None:
    found = understood("services: {web: {image: a, depends_on: {no: {required: false}}}}")
    assert found.decoded.services[0].depends_on == ()
    assert found.warnings == (
        (
            'compose.yaml:1: services.web.depends_on.no: there is no service "no"; '
            "it is not waited for"
        ),
    )


EDGES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12)


@given(EDGES)
def test_a_file_is_refused_exactly_when_there_is_a_circle(edges: list[tuple[int, int]]) -> None:
    waits = {n: sorted({b for a, b in edges if a == n}) for n in range(6)}
    lines = [
        f"  s{n}: {{image: a, depends_on: [{', '.join(f's{b}' for b in others)}]}}"
        for n, others in waits.items()
    ]
    left = dict(waits)
    while free := [n for n, others in left.items() if not set(others) & left.keys()]:
        left = {n: others for n, others in left.items() if n not in free}
    try:
        services("services:\n" + "\n".join(lines))
        is_refused = False
    except SpecError:
        is_refused = True
    assert is_refused == bool(left)
