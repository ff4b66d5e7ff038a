"""Ports of a node that obeys: never two running containers with one, and all that is asked runs."""

from collections import Counter
from collections.abc import Mapping

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from node_agent import ports
from node_agent.actions import Create, Start, Step, Stop
from node_agent.claims import Right, Verdict
from node_agent.decide import Allowed, decide
from node_agent.runtime import Container, Phase
from shared.model import AllocId, Assignment, Protocol, PublishedPort
from shared.ports import host_ports
from tests.build import assignment, container, workload

PASSES = 12
NUMBERS = st.sets(st.sampled_from([53, 80]), max_size=2)
TRANSPORTS = st.sampled_from([Protocol.TCP, Protocol.UDP])


@st.composite
def with_ports(draw: st.DrawFn, name: str) -> Assignment:
    found = tuple(
        PublishedPort(
            published=number, target=1, protocol=draw(TRANSPORTS), is_host=draw(st.booleans())
        )
        for number in sorted(draw(NUMBERS))
    )
    return having(name, *found)


def having(name: str, *found: PublishedPort) -> Assignment:
    return assignment(name, msgspec.structs.replace(workload(), ports=found))


def made(one: Assignment, phase: Phase = Phase.RUNNING) -> Container:
    return msgspec.structs.replace(container(one.id, phase), assignment=one)


@st.composite
def nodes(draw: st.DrawFn) -> tuple[dict[AllocId, Assignment], dict[AllocId, Container]]:
    """Return what is asked of a node, and what runs there: neither has one port twice."""
    desired: dict[AllocId, Assignment] = {}
    observed: dict[AllocId, Container] = {}
    for number in range(draw(st.integers(0, 5))):
        one = draw(with_ports(f"shop.web.{number}.a"))
        if draw(st.booleans()) and not overlap([*desired.values(), one]):
            desired[one.id] = one
        there = [each.assignment for each in observed.values()]
        if draw(st.booleans()) and not overlap([*there, one]):
            observed[one.id] = made(one, draw(st.sampled_from([Phase.RUNNING, Phase.EXITED])))
    return desired, observed


def overlap(some: list[Assignment]) -> bool:
    counts = Counter(port for one in some for port in host_ports(one.workload))
    return any(count > 1 for count in counts.values())


def running(observed: Mapping[AllocId, Container]) -> list[Assignment]:
    return [one.assignment for one in observed.values() if one.phase is Phase.RUNNING]


@given(nodes(), st.data())
def test_no_two_that_run_have_one_port_and_in_the_end_all_that_is_asked_runs(
    node: tuple[dict[AllocId, Assignment], dict[AllocId, Container]], data: st.DataObject
) -> None:
    desired, observed = node
    under_way: dict[AllocId, Step] = {
        id_: Start(id_, "it was wanted a moment ago")
        for id_, one in observed.items()
        if one.phase is Phase.EXITED and id_ not in desired and data.draw(st.booleans())
    }
    for step in range(PASSES):
        waiting = ports.waiting(desired, observed, under_way.keys())
        allowed = Allowed(rights={id_: verdict.right for id_, verdict in waiting.items()})
        decision = decide(desired, observed, {}, under_way.keys(), 0.0, allowed)
        for one in [*under_way.values(), *decision.steps]:
            # What was begun may take its time, and be wanted no more by then.
            if step < PASSES // 2 and data.draw(st.booleans()):
                under_way[one.id] = one
                continue
            under_way.pop(one.id, None)
            observed = after(one, desired, observed)
            assert not overlap(running(observed))
    assert {each.id for each in running(observed)} == set(desired)


def after(
    step: Step, desired: Mapping[AllocId, Assignment], observed: dict[AllocId, Container]
) -> dict[AllocId, Container]:
    match step:
        case Create(id=id_, start=start):
            phase = Phase.RUNNING if start else Phase.CREATED
            return {**observed, id_: made(desired[id_], phase)}
        case Start(id=id_) | Stop(id=id_):
            phase = Phase.RUNNING if isinstance(step, Start) else Phase.EXITED
            return {**observed, id_: msgspec.structs.replace(observed[id_], phase=phase)}
        case _:
            return {id_: one for id_, one in observed.items() if id_ != step.id}


def test_who_waits_says_for_whom_and_for_which_port() -> None:
    port = PublishedPort(published=53, target=1, protocol=Protocol.UDP, is_host=True)
    old, new = having("shop.dns.1.a", port), having("shop.dns.1.b", port)
    there = {old.id: made(old)}
    assert ports.waiting({new.id: new}, there, frozenset()) == {
        new.id: Verdict(Right.WAIT, "waits until shop.dns.1.a (port 53/udp) has ended")
    }
    assert ports.waiting({old.id: old}, there, frozenset()) == {}
