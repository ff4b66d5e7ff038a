"""Whether two containers lived at once: found whenever they did, never when they did not."""

from hypothesis import given
from hypothesis import strategies as st

from bench.overlap import Run, by_service, overlaps, runs

WHEN = "2026-01-01T00:00:00.000000000Z stdout F"


def life(
    first_s: float,
    last_s: float,
    *,
    node: str = "node-1",
    container: str = "s.x.1.a",
    epoch: int = 1,
) -> Run:
    return Run(node=node, container=container, epoch=epoch, first_s=first_s, last_s=last_s)


moments = st.integers(0, 10_000).map(lambda number: number / 100)


@given(moments, moments, moments, moments)
def test_two_lives_that_share_an_instant_are_found_and_only_those(
    a: float, b: float, c: float, d: float
) -> None:
    one = life(*sorted((a, b)))
    other = life(*sorted((c, d)), node="node-2", container="s.x.1.b")
    shared_s = min(one.last_s, other.last_s) - max(one.first_s, other.first_s)

    found = overlaps([one, other])

    assert bool(found) is (shared_s > 0)
    assert [round(shared_s, 3)] * len(found) == [each.seconds for each in found]


def test_two_containers_on_one_host_are_two_copies_as_well() -> None:
    assert overlaps([life(1.0, 3.0), life(2.0, 4.0, container="s.x.1.b")])


def test_a_container_that_was_started_again_in_its_place_is_one_copy() -> None:
    log = [f"{WHEN} begin 1.00 7", f"{WHEN} tick 1.05 7", "noise", f"{WHEN} begin 9.00 7"]

    found = runs("node-1", "s.x.1.a", log)

    assert [(run.first_s, run.last_s, run.epoch) for run in found] == [
        (1.0, 1.05, 7),
        (9.0, 9.0, 7),
    ]
    between = life(2.0, 8.0, node="node-2", container="s.x.1.b", epoch=7)
    assert overlaps([*found, between]) == []


def test_a_later_life_with_an_older_epoch_is_found_though_they_never_met() -> None:
    old = life(5.0, 6.0, node="node-2", container="s.x.1.b", epoch=3)

    (found,) = overlaps([life(1.0, 2.0, epoch=4), old])

    assert found.later == old
    assert found.seconds < 0


def test_lives_are_kept_apart_by_service() -> None:
    found = by_service([life(1.0, 2.0), life(1.0, 2.0, container="s.y.1.a")])

    assert set(found) == {"s.x", "s.y"}
