"""Floating addresses over the API: what is refused, and what a change must not undo."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from deploy.client import ApiClient
from shared import codec, keys
from shared.api import FloatingAsked
from shared.model import FloatingClaim, NodeName
from shared.store import under
from tests.fakes.store import WriteFate
from tests.integration.api_rig import Rig, cluster

ADDRESS = "198.18.0.50"
NODE = NodeName("node-1")


@asynccontextmanager
async def one_address(folder: Path) -> AsyncIterator[tuple[Rig, ApiClient]]:
    """A cluster of one node, and an address that nobody has."""
    async with cluster(folder) as (rig, client):
        await rig.join(NODE)
        await client.add_floating(ADDRESS, FloatingAsked())
        yield rig, client


async def claims(rig: Rig) -> dict[str, FloatingClaim]:
    found = await rig.other.list(under(keys.VIPS))
    return {item.key: codec.decode(FloatingClaim, item.value, item.key) for item in found.items}


async def test_a_change_whose_answer_was_lost_is_looked_up(tmp_path: Path) -> None:
    async with one_address(tmp_path) as (rig, client):
        rig.store.write_fate = lambda: WriteFate.ANSWER_LOST
        moved = await client.move_floating(ADDRESS, NODE)
        gone = await client.remove_floating(ADDRESS)
        assert (moved.address, gone.address, await claims(rig)) == (ADDRESS, ADDRESS, {})
