"""A stack whose record cannot be read: others go on, its own deploy or removal mends it."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from deploy.client import ApiClient
from shared import keys
from shared.api import Restart, Scale
from shared.errors import NotFoundError, SpecError
from shared.model import (
    Joined,
    PublishedPort,
    Rollout,
    RolloutPhase,
    Routes,
    ServiceName,
    ServiceRoutes,
)
from shared.store import Put
from tests.build import service
from tests.integration.api_rig import BLOG, SHOP, Rig, cluster, upload
from tests.integration.test_cli import hafen
from tests.unit.scheduler.test_routes import joined

WEB = ServiceName("web")
LINE = (
    "stack shop: /hafen/v1/stacks/shop cannot be read, and nothing of it is placed, moved or "
    "removed: deploy its file again, or remove it with `hafen rm shop`"
)
COMPOSE = "services:\n  web:\n    image: app:1\n"


async def spoil(rig: Rig) -> None:
    await rig.seen(await rig.other.txn([], [Put(keys.stack(SHOP), b'{"name":"shop","services":1')]))


async def test_other_stacks_are_planned_deployed_changed_and_removed(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await client.deploy(SHOP, upload())
        await client.deploy(BLOG, upload())
        await spoil(rig)
        await client.plan(BLOG, upload(service(replicas=2)))
        again = await client.deploy(BLOG, upload(service(replicas=2)))
        changed = await client.change(BLOG, Scale(services={WEB: 3}))
        removed = await client.remove(BLOG)
        left = await client.services()
    assert (again.generation, changed.generation, removed.generation) == (2, 3, 3)
    assert (left.services, left.unread) == ((), {SHOP: LINE})


async def test_what_it_still_serves_is_not_given_to_others(tmp_path: Path) -> None:
    port = PublishedPort(published=8080, target=80)
    served = Routes(stack=SHOP, services=(ServiceRoutes(service=WEB, ports=(port,)),))
    async with cluster(tmp_path) as (rig, client):
        await rig.put(keys.routes(SHOP), served)
        await spoil(rig)
        taken = "port 8080 is taken by stack shop, service web, whose record cannot be read"
        with pytest.raises(SpecError, match=taken):
            await client.deploy(BLOG, upload(service(port=8080)))
        assert (await client.deploy(SHOP, upload(service(port=8080)))).generation == 1


async def test_who_needs_a_network_that_it_may_make_is_told_of_it(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await spoil(rig)
        perhaps = (
            "nobody makes network 'shop_all': .*; unless it is one of stack shop, which cannot"
        )
        with pytest.raises(SpecError, match=perhaps):
            await client.deploy(BLOG, upload(joined(service(), Joined(network="shop_all"))))


async def test_its_own_deploy_writes_the_record_anew_above_all_that_was(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(COMPOSE)
    was = Rollout(stack=SHOP, service=WEB, generation=7, phase=RolloutPhase.DONE, target=service())
    async with cluster(tmp_path) as (rig, client):
        await rig.join("node-1")
        for replicas in range(1, 4):
            await client.deploy(SHOP, upload(service(replicas=replicas)))
        await spoil(rig)
        seen = await client.plan(SHOP, upload())
        after_history = await client.deploy(SHOP, upload())
        await rig.put(keys.rollout(SHOP, WEB), was)
        await spoil(rig)
        told = ("--name", "shop", "--no-plan", "--detach")
        code, said, _ = await hafen(rig, "deploy", "-f", str(file), *told)
        status = await hafen(rig, "status")
    assert (seen.refusals, [step.service for step in seen.steps]) == ((), ["web"])
    assert after_history.generation == 3
    assert (code, said) == (0, "shop: generation 8 is stored\n")
    assert "cannot be read" not in status[1]


async def test_a_deploy_that_was_planned_while_it_could_not_be_read_is_held_to_the_plan(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as (rig, client):
        await rig.join("node-1")
        await spoil(rig)
        asked = upload()
        seen = await client.plan(SHOP, asked)
        done = await client.deploy(SHOP, msgspec.structs.replace(asked, plan_id=seen.plan_id))
    assert done.generation == 1


async def test_its_removal_takes_the_record_away(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await client.deploy(SHOP, upload())
        await spoil(rig)
        assert await hafen(rig, "rm", "-y", "shop") == (0, "shop is gone\n", "")
        assert (await client.services()).unread == {}


LOOKS: tuple[Callable[[ApiClient], Awaitable[object]], ...] = (
    lambda client: client.history(SHOP),
    lambda client: client.generation(SHOP, 1),
    lambda client: client.change(SHOP, Restart()),
    lambda client: client.close(SHOP, is_closed=True),
    lambda client: client.why(stack="shop", service="web"),
)


@pytest.mark.parametrize("runs", [False, True])
async def test_whoever_looks_at_it_is_told_so_in_one_line(tmp_path: Path, *, runs: bool) -> None:
    async with cluster(tmp_path) as (rig, client):
        if runs:
            await rig.join("node-1")
            await rig.run_replica("node-1", service())
        await spoil(rig)
        for look in LOOKS:
            with pytest.raises(NotFoundError) as said:
                await look(client)
            assert str(said.value) == LINE
        words = [["scale", "shop.web=2"], ["watch", "shop"], ["why", "shop"]]
        for typed in words:
            assert await hafen(rig, *typed) == (3, "", f"hafen: {LINE}\n")
        for command in ("ls", "status"):
            code, shown, _ = await hafen(rig, command)
            assert (code, shown.count(f"- {LINE}\n")) == (0, 1)
        if runs:
            (one,) = (await client.allocations("shop")).allocations
            facts = (await client.why(allocation=one.id)).facts
            assert [fact.sentence for fact in facts if fact.about == "version"] == [LINE]
