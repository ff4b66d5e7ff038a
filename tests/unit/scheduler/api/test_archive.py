"""What is kept beside a stack: it is there while it is needed, and no longer."""

import random
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.api.archive import HISTORY_MAX
from scheduler.api.stacks import Stacks, Standing
from shared import codec, keys
from shared.api import ChangeRequest, Restart, Rollback, Scale, StackUpload
from shared.clock import SystemClock
from shared.errors import OvertakenError, SpecError
from shared.model import Content, MountedFile, ServiceName, ServiceSpec, Stack
from shared.store import under
from tests.fakes.store import FakeEtcd, FakeStore
from tests.unit.scheduler.api.build import SHOP, spec

WEB = ServiceName("web")


class Bench:
    """Stacks on a store in memory; contents are sealed by turning them round."""

    def __init__(self, *, has_key: bool = True) -> None:
        clock = SystemClock()
        self.store = FakeStore(FakeEtcd(clock), "mine")
        rng = random.Random(1)  # noqa: S311 - jitter
        seal = (lambda _, plain: plain[::-1]) if has_key else None
        self.stacks = Stacks(self.store, clock, rng, lambda _: Standing(), seal)

    async def under(self, prefix: str) -> Mapping[str, bytes]:
        found = await self.store.list(under(prefix))
        return {item.key.removeprefix(prefix): item.value for item in found.items}

    async def generations(self) -> list[int]:
        return [int(key.partition("/")[2]) for key in await self.under(keys.HISTORY)]

    async def deploy(self, *digests: str, image: str = "app:1") -> int:
        contents = {f"shop/cfg/{digest}": digest.encode() for digest in digests}
        upload = StackUpload(services=(mounting(*digests, image=image),), contents=contents)
        return (await self.stacks.deploy(SHOP, upload)).generation


def mounting(*digests: str, image: str = "app:1") -> ServiceSpec:
    one = spec(image=image)
    files = tuple(
        MountedFile(content=f"shop/cfg/{each}", target=f"/cfg/{each}") for each in digests
    )
    return msgspec.structs.replace(one, workload=msgspec.structs.replace(one.workload, files=files))


async def test_what_a_stack_replaces_goes_into_the_history_as_it_was() -> None:
    bench = Bench()
    await bench.stacks.deploy(SHOP, StackUpload(services=(spec(image="1"),), source="first"))
    await bench.stacks.deploy(SHOP, StackUpload(services=(spec(image="2"),), source="second"))

    (value,) = (await bench.under(keys.HISTORY)).values()
    kept = codec.decode(Stack, value, "test")
    assert (kept.generation, kept.source, kept.why) == (1, "first", "deploy")


async def test_only_the_newest_generations_are_kept() -> None:
    bench = Bench()
    await bench.stacks.deploy(SHOP, StackUpload(services=(spec(),)))
    for _ in range(HISTORY_MAX + 3):
        await bench.stacks.change(SHOP, ChangeRequest(change=Restart()))

    assert HISTORY_MAX >= 20
    assert await bench.generations() == list(range(4, HISTORY_MAX + 4))


async def test_a_removed_stack_leaves_nothing() -> None:
    bench = Bench()
    await bench.deploy("a")
    await bench.deploy("b")
    await bench.stacks.remove(SHOP)

    assert await bench.under(keys.ROOT) == {}


async def test_contents_are_stored_sealed_before_the_stack() -> None:
    bench = Bench()
    await bench.deploy("abc")

    stored = await bench.under(keys.CONTENTS)
    assert {name: codec.decode(Content, value, "test") for name, value in stored.items()} == {
        "shop/cfg/abc": Content(sealed=b"cba")
    }


@settings(max_examples=30)
@given(st.lists(st.sets(st.sampled_from("abcd")), min_size=1, max_size=12))
async def test_every_content_that_a_rollback_needs_is_still_there(wishes: list[set[str]]) -> None:
    bench = Bench()
    for wish in wishes:
        await bench.deploy(*sorted(wish))
    for generation in await bench.generations():
        await bench.stacks.change(SHOP, ChangeRequest(change=Rollback(generation=generation)))

    named = {f"shop/cfg/{digest}" for wish in wishes for digest in wish}
    assert set(await bench.under(keys.CONTENTS)) == named


async def test_contents_that_no_generation_names_any_more_are_deleted() -> None:
    bench = Bench()
    await bench.deploy("old")
    for number in range(HISTORY_MAX):
        await bench.deploy("new", image=str(number))
    assert "shop/cfg/old" in await bench.under(keys.CONTENTS)

    await bench.deploy("new", image="last")

    assert set(await bench.under(keys.CONTENTS)) == {"shop/cfg/new"}


async def test_a_content_that_is_neither_stored_nor_sent_is_refused_by_name() -> None:
    bench = Bench()
    with pytest.raises(SpecError, match="shop/cfg/x: it is neither stored nor sent along"):
        await bench.stacks.deploy(SHOP, StackUpload(services=(mounting("x"),)))

    assert await bench.under(keys.ROOT) == {}


async def test_without_a_key_no_content_is_taken() -> None:
    with pytest.raises(SpecError, match="has no key to seal it with"):
        await Bench(has_key=False).deploy("a")


async def test_of_two_who_have_seen_the_same_generation_one_wins_and_the_other_is_told() -> None:
    bench = Bench()
    await bench.deploy()
    scale = Scale(services={WEB: 5})
    await bench.stacks.change(SHOP, ChangeRequest(change=scale, after_generation=1))
    late = StackUpload(services=(spec(image="2"),), after_generation=1)

    with pytest.raises(OvertakenError) as told:
        await bench.stacks.deploy(SHOP, late)
    said = str(told.value)
    assert said.startswith("stack shop is at generation 2, made by `scale web=5` at 20")
    assert said.endswith(
        "not generation 1 any more: somebody else was faster; look, then try again"
    )
    assert told.value.exit_code == 5
    await bench.stacks.remove(SHOP)
    with pytest.raises(OvertakenError, match="stack shop is not there: it was removed"):
        await bench.stacks.deploy(SHOP, late)
