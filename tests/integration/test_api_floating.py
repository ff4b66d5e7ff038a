"""Floating addresses over the API: what is refused, and what a change must not undo."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from deploy.client import ApiClient
from shared import codec, keys
from shared.api import FloatingAsked
from shared.errors import NotFoundError, OvertakenError, SpecError
from shared.model import FloatingClaim, NodeName
from shared.store import Op, Put, under
from tests.fakes.store import WriteFate
from tests.integration.api_rig import Rig, cluster

ADDRESS, SIX = "198.18.0.50", "2001:db8::50"
NODE = NodeName("node-1")


@asynccontextmanager
async def one_address(folder: Path) -> AsyncIterator[tuple[Rig, ApiClient]]:
    """A cluster of one node, and an address that nobody has."""
    async with cluster(folder) as (rig, client):
        await rig.join(NODE)
        await client.add_floating(ADDRESS, FloatingAsked())
        yield rig, client


def overtake(rig: Rig, *ops: Op) -> None:
    """Let somebody else write just before the scheduler's next write arrives."""

    def fate() -> WriteFate:
        rig.store.write_fate = lambda: WriteFate.NORMAL
        rig.server.txn([], ops)
        return WriteFate.NORMAL

    rig.store.write_fate = fate


async def claims(rig: Rig) -> dict[str, FloatingClaim]:
    found = await rig.other.list(under(keys.VIPS))
    return {item.key: codec.decode(FloatingClaim, item.value, item.key) for item in found.items}


@pytest.mark.parametrize(
    ("method", "path", "body", "why"),
    [
        ("PUT", f"/v1/floating/{ADDRESS}", "{", "Input data was truncated"),
        ("PUT", f"/v1/floating/{ADDRESS}", "[]", "Expected `object`, got `array`"),
        (
            "PUT",
            f"/v1/floating/{ADDRESS}",
            '{"prefix_length": "24"}',
            "Expected `int`, got `str` - at `$.prefix_length`",
        ),
        (
            "POST",
            f"/v1/floating/{ADDRESS}/move",
            "{}",
            "Object missing required field `node`",
        ),
    ],
)
async def test_a_body_that_cannot_be_read_is_the_senders_mistake(
    tmp_path: Path, method: str, path: str, body: str, why: str
) -> None:
    async with (
        one_address(tmp_path) as (rig, _),
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(rig.socket))) as session,
        session.request(method, f"http://hafen{path}", data=body) as answer,
    ):
        said = answer.status, await answer.json()
    assert said == (400, {"error": "SpecError", "message": f"the body: {why}"})


async def test_who_takes_an_address_while_it_is_removed_keeps_the_claim(tmp_path: Path) -> None:
    """Who answers an address drops it before its claim goes: nobody else may delete it."""
    taken = FloatingClaim(node=NODE)
    async with one_address(tmp_path) as (rig, client):
        overtake(rig, Put(keys.vip(ADDRESS), codec.encode(taken)))
        with pytest.raises(OvertakenError, match="nothing was changed, as vips/"):
            await client.remove_floating(ADDRESS)
        assert await claims(rig) == {keys.vip(ADDRESS): taken}
        # Once the claim is seen, its holder is left to take it away.
        gone = await client.remove_floating(ADDRESS)
        assert (gone.holder, await claims(rig)) == (NODE, {keys.vip(ADDRESS): taken})
        assert (await client.floating()).addresses == ()


async def test_a_claim_that_is_let_go_while_its_address_is_removed_goes_too(tmp_path: Path) -> None:
    async with one_address(tmp_path) as (rig, client):
        await rig.put(keys.vip(ADDRESS), FloatingClaim(node=NODE))
        overtake(rig, Put(keys.vip(ADDRESS), codec.encode(FloatingClaim())))
        with pytest.raises(OvertakenError):
            await client.remove_floating(ADDRESS)
        await client.remove_floating(ADDRESS)
        assert await claims(rig) == {}


async def test_an_address_is_known_however_it_is_written(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await rig.join(NODE)
        await client.add_floating("2001:DB8:0::50", FloatingAsked(prefix_length=64))
        moved = await client.move_floating("2001:DB8:0::50", NODE)
        gone = await client.remove_floating("2001:DB8:0::50")
        assert (moved.address, gone.address, await claims(rig)) == (SIX, SIX, {})


@pytest.mark.parametrize("key", [keys.floating(ADDRESS), keys.vip(ADDRESS)])
async def test_a_record_that_cannot_be_read_is_named_and_not_written_over(
    tmp_path: Path, key: str
) -> None:
    async with cluster(tmp_path) as (rig, client):
        await rig.join(NODE)
        await rig.seen(await rig.other.txn([], [Put(key, b"?")]))
        with pytest.raises(SpecError, match=f"{key} cannot be read: mend it, or delete that key"):
            await client.add_floating(ADDRESS, FloatingAsked())
        with pytest.raises(NotFoundError):
            await client.remove_floating(ADDRESS)


async def test_an_address_whose_claim_cannot_be_read_is_removed_all_the_same(
    tmp_path: Path,
) -> None:
    async with one_address(tmp_path) as (rig, client):
        await rig.seen(await rig.other.txn([], [Put(keys.vip(ADDRESS), b"?")]))
        await client.remove_floating(ADDRESS)
        assert (await client.floating()).addresses == ()


async def test_a_change_whose_answer_was_lost_is_looked_up(tmp_path: Path) -> None:
    async with one_address(tmp_path) as (rig, client):
        rig.store.write_fate = lambda: WriteFate.ANSWER_LOST
        moved = await client.move_floating(ADDRESS, NODE)
        gone = await client.remove_floating(ADDRESS)
        assert (moved.address, gone.address, await claims(rig)) == (ADDRESS, ADDRESS, {})
