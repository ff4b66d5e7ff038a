"""Images fetched ahead of need: what is wanted is had, what cannot be had is said."""

from node_agent.prefetch import Prefetch
from shared.clock import SystemClock
from tests.fakes.runtime import FakeRuntime


async def test_what_is_wanted_is_fetched_and_told() -> None:
    told: list[tuple[str, ...]] = []
    runtime = FakeRuntime(SystemClock())
    prefetch = Prefetch(runtime, lambda: told.append(prefetch.present))
    prefetch.want(["app:1", "app:2"])
    await prefetch.one_pass()
    assert prefetch.present == ("app:1", "app:2")
    assert told[-1] == prefetch.present
    assert await runtime.has_image("app:2")


async def test_one_that_cannot_be_had_is_a_problem_and_keeps_no_other_back() -> None:
    prefetch = Prefetch(FakeRuntime(SystemClock(), known=["app:2"]), lambda: None)
    prefetch.want(["app:1", "app:2"])
    assert (
        await prefetch.one_pass()
        < await Prefetch(FakeRuntime(SystemClock()), lambda: None).one_pass()
    )
    assert prefetch.present == ("app:2",)
    assert prefetch.missing == {"app:1": "app:1: no such image"}
    assert prefetch.problems == ("cannot fetch ahead of need: app:1: no such image",)


async def test_what_is_no_longer_wanted_is_no_longer_told() -> None:
    prefetch = Prefetch(FakeRuntime(SystemClock()), lambda: None)
    prefetch.want(["app:1"])
    await prefetch.one_pass()
    prefetch.want([])
    await prefetch.one_pass()
    assert prefetch.present == ()


async def test_one_that_can_be_had_by_now_is_missing_no_longer() -> None:
    told: list[object] = []
    runtime = FakeRuntime(SystemClock(), known=["app:2"])
    prefetch = Prefetch(runtime, lambda: told.append(prefetch.missing))
    prefetch.want(["app:1"])
    await prefetch.one_pass()
    prefetch.want(["app:2"])
    await prefetch.one_pass()
    assert (prefetch.missing, prefetch.present) == ({}, ("app:2",))
    assert told[0] == {"app:1": "app:1: no such image"}
    assert told[-1] == {}
