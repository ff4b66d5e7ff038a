"""Changes of deployed stacks and their history, as a client of a real server sees them."""

from pathlib import Path

import pytest

from shared import keys
from shared.api import Happening, Promote, Restart, Rollback, Scale, StackUpload
from shared.errors import NotFoundError, SpecError, StoreError
from shared.model import Rollout, RolloutPhase, ServiceName
from tests.build import service
from tests.integration.api_rig import SHOP, cluster, upload

WEB = ServiceName("web")


async def test_every_change_is_a_generation_that_the_history_explains(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await client.deploy(SHOP, upload(service(image="app:1"), source="the file"))
        await client.change(SHOP, Scale(services={WEB: 3}))
        await client.change(SHOP, Restart(services=(WEB,)))
        accepted = await client.change(SHOP, Rollback(generation=1))
        done = Rollout(
            stack=SHOP,
            service=WEB,
            generation=2,
            phase=RolloutPhase.ROLLING,
            target=service(),
            stable=service(replicas=3),
        )
        await rig.put(keys.rollout(SHOP, WEB), done)
        seen = await client.history(SHOP)
        first = await client.generation(SHOP, 1)

    assert accepted.generation == 4
    assert [
        (one.generation, one.why, one.is_current, one.is_stable) for one in seen.generations
    ] == [
        (4, "rollback to generation 1", True, False),
        (3, "restart web", False, False),
        (2, "scale web=3", False, True),
        (1, "deploy", False, False),
    ]
    assert [[change.what for change in one.services] for one in seen.generations] == [
        [Happening.RESTART],
        [Happening.RESTART],
        [Happening.SCALE],
        [],
    ]
    assert (first.generation, first.source, first.services) == (1, "the file", (service(),))


async def test_a_change_by_somebody_who_has_not_seen_the_newest_is_refused(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (_, client):
        await client.deploy(SHOP, upload())
        await client.change(SHOP, Scale(services={WEB: 3}), after_generation=1)
        with pytest.raises(StoreError, match="made by `scale web=3`"):
            await client.change(SHOP, Scale(services={WEB: 4}), after_generation=1)
        stale = StackUpload(services=(service(image="app:2"),), after_generation=0)
        with pytest.raises(StoreError, match="and not generation 0 any more"):
            await client.deploy(SHOP, stale)


async def test_a_word_on_an_update_is_stored_without_a_new_generation(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await client.deploy(SHOP, upload())
        with pytest.raises(SpecError, match="nothing of stack shop waits for a word"):
            await client.change(SHOP, Promote())
        waits = Rollout(
            stack=SHOP, service=WEB, generation=1, phase=RolloutPhase.CANARY, target=service()
        )
        await rig.put(keys.rollout(SHOP, WEB), waits)
        accepted = await client.change(SHOP, Promote())
        stored = await client.generation(SHOP, 1)

    assert accepted.generation == 1
    assert stored.rulings[WEB].generation == 1


async def test_what_does_not_exist_names_what_does(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (_, client):
        with pytest.raises(NotFoundError, match="there is no stack 'shop'; none is deployed"):
            await client.change(SHOP, Restart())
        with pytest.raises(NotFoundError, match="there is no stack 'shop'"):
            await client.history(SHOP)
        await client.deploy(SHOP, upload())
        with pytest.raises(NotFoundError, match="no generation '9'; its history has: 1"):
            await client.generation(SHOP, 9)
        with pytest.raises(SpecError, match=r"replicas is 5000; 0 to 1000 are possible"):
            await client.change(SHOP, Scale(services={WEB: 5000}))
