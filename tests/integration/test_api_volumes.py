"""Named volumes from the command line to the wish in the store, and from the leader's plan back."""

import json
from pathlib import Path

from scheduler.decide import decide
from scheduler.memory import Memory
from scheduler.reading import WorldReader
from scheduler.story import Now
from scheduler.world import World
from shared import codec, keys
from shared.model import Manifest, NodeName, Removal, Report, Resources, Volume
from shared.store import Compare, Delete, Put
from shared.timing import LAN
from tests.build import service
from tests.integration.api_rig import SHOP, WITHIN_S, Rig, cluster, upload
from tests.integration.test_cli import hafen
from tests.unit.scheduler.shops import with_volume
from tests.waiting import until

NODE, DATA = NodeName("node-1"), "shop_data"
TITLES = "VOLUME     NODE    STACK  USED BY  NOTES\n"


async def lead(rig: Rig) -> World:
    """Do what the leader would do now; return the world after it."""
    world = WorldReader().read(rig.view)
    plan = decide(world, Memory(), Now(rig.clock.monotonic_s(), rig.clock.now_s()), LAN).plan
    written = await rig.other.txn(
        [Compare(write.key, write.decided_at) for write in plan.writes],
        [
            Put(write.key, codec.encode(write.record)) if write.record else Delete(write.key)
            for write in plan.writes
        ],
    )
    await until(lambda: rig.view.revision >= written, WITHIN_S)
    return WorldReader().read(rig.view)


async def report(rig: Rig, *names: str, generation: int = 0) -> None:
    """Let the node say which volumes it has."""
    said = Report(
        node=NODE,
        capacity=Resources(cpu_millis=1000),
        manifest_generation=generation,
        volumes=names,
    )
    await rig.put(keys.observed(NODE), said)


async def has_volume(rig: Rig) -> None:
    """Make a node with the data of a volume that a record knows."""
    await rig.join(NODE)
    await rig.put(keys.volume(DATA), Volume(name=DATA, node=NODE, stack=SHOP))
    await report(rig, DATA)


async def test_a_volume_is_removed_once_its_node_has_removed_the_data(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await has_volume(rig)
        listed = await hafen(rig, "volume", "ls")
        removed = await hafen(rig, "volume", "rm", "-y", DATA)
        world = await lead(rig)
        leaving = await client.volumes()
        manifest = world.nodes[NODE].manifest
        assert manifest is not None
        await report(rig, generation=manifest.generation)
        after = await lead(rig)
        gone = await hafen(rig, "volume", "rm", "-y", DATA)

    assert listed == (0, f"{TITLES}shop_data  node-1  shop   -\n", "")
    assert removed == (
        0,
        "shop_data: node-1 removes its data; `hafen volume ls` lists it until it is gone\n",
        "",
    )
    assert manifest.leaving_volumes == (DATA,)
    assert [(one.name, one.is_leaving) for one in leaving.volumes] == [(DATA, True)]
    assert (after.volumes, after.removals) == ({}, {})
    assert gone == (3, "", "hafen: there is no volume 'shop_data'; there is none at all\n")


async def test_a_used_volume_is_refused_and_force_only_forgets(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await has_volume(rig)
        await client.deploy(SHOP, upload(with_volume(service(), DATA)))
        used = await hafen(rig, "volume", "rm", "-y", DATA)
        asked = await hafen(rig, "volume", "rm", DATA)
        await client.remove(SHOP)
        forced = await hafen(rig, "volume", "rm", "-y", "--force", DATA)
        wish = codec.decode(Removal, rig.view.items[keys.removal(DATA)].value, "it")
        world = await lead(rig)
        strangers = json.loads((await hafen(rig, "volume", "ls", "--json"))[1])

    assert used == (
        2,
        "",
        "hafen: volume shop_data is used by shop.web: remove that first\n",
    )
    assert asked == (2, "", "hafen: there is no terminal to ask at; say -y\n")
    assert forced == (
        0,
        "shop_data is forgotten; what node-1 has of it stays on its disk\n",
        "",
    )
    assert wish.given_up == NODE
    assert world.volumes == {}
    assert strangers["volumes"] == [
        {
            "name": DATA,
            "stack": "",
            "node": NODE,
            "used_by": [],
            "is_leaving": False,
            "problem": "no record",
        }
    ]


async def test_a_deploy_at_the_same_moment_wins(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await has_volume(rig)
        await rig.put(keys.desired(NODE), Manifest(node=NODE, generation=1))
        await client.remove_volume(DATA)
        await client.deploy(SHOP, upload(with_volume(service(), DATA)))
        world = await lead(rig)

    assert world.removals == {}
    assert not world.volumes[DATA].volume.is_leaving
    (held,) = world.nodes[NODE].assignments
    assert held.workload.mounts[0].source == DATA
