"""When a change is done, what is in its way, and when that blocks it."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from scheduler.api.progress import (
    PATIENCE_S,
    Patience,
    Stand,
    is_done,
    is_placed,
    observe,
    progress,
    waiting,
)
from scheduler.explain import Unplaced
from scheduler.nodes import Verdict
from shared.model import Health, NodeName, Revision, ServiceName, Want
from shared.states import AllocState
from tests.unit.scheduler.api.build import (
    PORT,
    SHOP,
    assignment,
    node,
    routes,
    spec,
    stack,
    stand,
    status,
    world,
)

WEB = ServiceName("web")
NO_ROOM = "no node fits: node-1: memory: needs 2 GiB, has 1 GiB"


def test_a_stack_is_done_when_every_replica_of_the_newest_spec_is_ready() -> None:
    web = spec(replicas=2)
    one, two = assignment(web, 1), assignment(web, 2)
    seen = world(node(1, [one, two], [status(one), status(two)]), stacks=[stack(web)])

    assert is_done(stand(seen))


def test_a_replica_of_the_old_spec_is_not_what_was_asked_for() -> None:
    old = assignment(spec(image="nginx:1"))
    seen = world(node(1, [old], [status(old)]), stacks=[stack(spec(image="nginx:2"))])

    shown = progress(Patience(), stand(seen), 0.0)

    assert not shown.done
    assert [(one.ready, one.updated) for one in shown.services] == [(1, 0)]


def test_an_old_replica_that_still_drains_is_left_over() -> None:
    web = spec(image="nginx:2")
    new = assignment(web, suffix="b")
    old = assignment(spec(image="nginx:1"), want=Want.DRAIN)
    seen = world(node(1, [new, old], [status(new), status(old)]), stacks=[stack(web)])

    assert not is_done(stand(seen))


def test_a_container_that_no_manifest_lists_any_more_is_left_over_until_it_is_gone() -> None:
    web = spec()
    new, old = assignment(web), assignment(web, suffix="old")
    running = world(node(1, [new], [status(new), status(old)]), stacks=[stack(web)])
    gone = world(
        node(1, [new], [status(new), status(old, AllocState.COMPLETE)]), stacks=[stack(web)]
    )

    assert (is_done(stand(running)), is_done(stand(gone))) == (False, True)


def test_a_replica_that_is_not_healthy_yet_is_not_ready() -> None:
    web = spec()
    one = assignment(web)
    seen = world(node(1, [one], [status(one, health=Health.STARTING)]), stacks=[stack(web)])

    assert not is_done(stand(seen))


def test_what_a_lost_node_should_have_run_is_not_waited_for() -> None:
    web = spec()
    lost, new = assignment(web), assignment(web, suffix="b")
    seen = world(
        node(1, [lost], [status(lost)], alive=False),
        node(2, [new], [status(new)]),
        stacks=[stack(web)],
    )
    verdicts = {NodeName("node-1"): Verdict.LOST, NodeName("node-2"): Verdict.READY}

    assert is_done(stand(seen, verdicts=verdicts))
    assert not is_done(stand(seen))


def test_published_ports_are_done_only_when_every_living_gateway_serves_the_replicas() -> None:
    web = spec(ports=[PORT])
    one = assignment(web)
    served = routes(web, one, revision=7)

    def at(*acked: int, ready: bool = True) -> Stand:
        nodes = [
            node(number, [one], [status(one)], acked={SHOP: Revision(revision)})
            if number == 1
            else node(number, acked={SHOP: Revision(revision)})
            for number, revision in enumerate(acked, 1)
        ]
        known = served if ready else routes(web, revision=7)
        return stand(world(*nodes, stacks=[stack(web)], served=known))

    assert [is_done(one) for one in (at(7, 8), at(7, 6), at(7, 7, ready=False))] == [
        True,
        False,
        False,
    ]
    assert [one.waiting for one in progress(Patience(), at(7, 6), 0.0).services] == [
        ("the gateway of node-2 has not taken over its routes yet",)
    ]
    assert [one.waiting for one in progress(Patience(), at(7, 7, ready=False), 0.0).services] == [
        ("its new replicas are not routed to yet",)
    ]


def test_what_has_ended_well_needs_no_gateway_to_know_of_it() -> None:
    once = spec(ports=[PORT])
    one = assignment(once)
    ended = node(1, [one], [status(one, AllocState.COMPLETE)])
    running = node(1, [one], [status(one)])
    done = [is_done(stand(world(each, stacks=[stack(once)]))) for each in (ended, running)]
    assert done == [True, False]


def test_a_removed_stack_is_done_when_nothing_of_it_is_left() -> None:
    web = spec()
    one = assignment(web)
    leaving = stand(world(node(1, [], [status(one, AllocState.STOPPING)])))
    gone = stand(world(node(1)))

    assert (is_done(leaving), is_done(gone)) == (False, True)
    shown = progress(Patience(), leaving, 0.0)
    assert [(view.service, view.replicas) for view in shown.services] == [(WEB, 0)]


def test_a_removed_stack_whose_ports_are_still_open_is_not_gone() -> None:
    assert not is_done(stand(world(node(1), served=routes(spec(ports=[PORT])))))


def failing(*, fails: bool, attempt: int = 0) -> Stand:
    web = spec()
    one = assignment(web, suffix=f"a{attempt}", attempt=attempt)
    state = AllocState.FAILED if fails else AllocState.PREPARING
    reason = "no such image nginx:1" if fails else ""
    return stand(world(node(1, [one], [status(one, state, reason=reason)]), stacks=[stack(web)]))


def test_a_failure_blocks_only_once_it_has_lasted() -> None:
    first = observe(Patience(), failing(fails=True), 10.0)
    now = 10.0 + PATIENCE_S
    later = observe(first, failing(fails=True), now)

    assert progress(first, failing(fails=True), 10.0).blocked == ()
    assert progress(later, failing(fails=True), now).blocked == (
        "web 1 failed on node-1: no such image nginx:1",
    )


def test_a_replica_that_is_tried_again_has_not_stopped_failing() -> None:
    first = observe(Patience(), failing(fails=True), 10.0)
    trying = observe(first, failing(fails=False, attempt=1), 12.0)
    again = observe(trying, failing(fails=True, attempt=1), 16.0)

    assert progress(again, failing(fails=True, attempt=1), 16.0).blocked == (
        "web 1 failed on node-1 (attempt 2): no such image nginx:1",
    )


def test_a_failure_of_the_old_spec_does_not_block_the_new_one() -> None:
    old = assignment(spec(image="nginx:1"))
    seen = stand(
        world(
            node(1, [old], [status(old, AllocState.FAILED)]), stacks=[stack(spec(image="nginx:2"))]
        )
    )

    assert observe(Patience(), seen, 0.0) == Patience()


def test_a_failure_is_forgotten_once_its_slot_is_ready() -> None:
    web = spec(replicas=2)
    one = assignment(web)
    half = stand(world(node(1, [one], [status(one)]), stacks=[stack(web)]))
    first = observe(Patience(), failing(fails=True), 10.0)

    assert observe(first, half, 20.0) == Patience()


def test_a_slot_without_a_node_blocks_only_while_it_has_none() -> None:
    web = spec()
    seen = world(node(1), stacks=[stack(web)])
    full = stand(seen, unplaced=Unplaced(slots={WEB: (NO_ROOM,)}))
    patience = observe(Patience(), full, 0.0)
    placed_for_a_moment = observe(patience, stand(seen), 4.0)

    assert progress(observe(patience, full, 5.0), full, 5.0).blocked == (
        "web: no node fits: node-1: memory: needs 2 GiB, has 1 GiB",
    )
    assert progress(observe(placed_for_a_moment, full, 6.0), full, 6.0).blocked == ()


def test_a_standby_without_a_node_is_said_and_blocks_nothing() -> None:
    web = spec()
    one = assignment(web)
    unplaced = Unplaced(standbys={WEB: (f"standby: {NO_ROOM}",)})
    starting = stand(
        world(node(1, [one], [status(one, health=Health.STARTING)]), stacks=[stack(web)]),
        unplaced=unplaced,
    )
    patience = observe(Patience(), starting, 0.0)
    shown = progress(observe(patience, starting, 60.0), starting, 60.0)

    assert (shown.done, shown.blocked) == (False, ())
    assert shown.services[0].waiting == (f"standby: {NO_ROOM}",)

    # A slot that has lost its node meanwhile has its own patience.
    without = stand(world(node(1), stacks=[stack(web)]), unplaced=Unplaced(slots={WEB: (NO_ROOM,)}))
    assert progress(observe(patience, without, 60.0), without, 60.0).blocked == ()


def test_all_is_placed_once_the_standbys_are() -> None:
    web = msgspec.structs.replace(spec(), standby=1)
    one, spare = assignment(web), assignment(web, 0, want=Want.STANDBY)
    alone = world(node(1, [one], [status(one)]), stacks=[stack(web)])
    both = world(node(1, [one], [status(one)]), node(2, [spare]), stacks=[stack(web)])

    assert [is_placed(stand(seen)) for seen in (alone, both)] == [False, True]
    assert [is_done(stand(seen)) for seen in (alone, both)] == [True, True]


def test_what_waits_for_its_claim_says_so() -> None:
    web = spec()
    one = assignment(web)
    waits = status(one, AllocState.PREPARING, reason="waits until node-2 lets go of it")
    seen = stand(world(node(1, [one], [waits]), stacks=[stack(web)]))

    assert waiting(seen) == {WEB: ("slot 1 on node-1 waits until node-2 lets go of it",)}


@given(st.lists(st.tuples(st.booleans(), st.floats(0.0, 10.0)), max_size=20))
def test_nothing_blocks_before_it_has_been_seen_for_long_enough(
    steps: list[tuple[bool, float]],
) -> None:
    patience, now, first_failure = Patience(), 0.0, None
    for fails, pause_s in steps:
        now += pause_s
        seen = failing(fails=fails)
        patience = observe(patience, seen, now)
        if fails and first_failure is None:
            first_failure = now
        expected = first_failure is not None and now - first_failure >= PATIENCE_S
        assert bool(progress(patience, seen, now).blocked) == expected


def test_a_stand_shows_generation_zero_once_the_stack_is_removed() -> None:
    here = world(node(1), stacks=[stack(spec(replicas=0), generation=4)])
    away = msgspec.structs.replace(here, stacks={})

    generations = [progress(Patience(), stand(seen), 0.0).generation for seen in (here, away)]

    assert generations == [4, 0]
