"""Access logs through the API: real agents over TLS, each with the files of a gateway."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from deploy.cli.main import cli
from deploy.client import ApiClient
from node_agent.gateway.haproxy import HaproxyGateway
from node_agent.images import AgentImages
from node_agent.oci.images import ImageStore
from node_agent.streams import ACCESS_STREAMS_MAX, AgentStreams
from shared.api import AGENT_ACCESS, AccessEntry
from shared.clock import SystemClock
from shared.errors import HafenError, NotFoundError, SpecError, UnavailableError
from shared.model import Traffic
from shared.remote import Remote, Target
from shared.settings import AGENT_PORT
from shared.tls import client_context
from tests.build import service
from tests.integration.api_rig import SHOP, WITHIN_S, cluster, upload
from tests.integration.test_api_tls import Written, is_open, node_tls, operator_tls, settings
from tests.loopback import own
from tests.waiting import until

# Addresses of this file only, as the ports are fixed.
NODE_1, NODE_2 = own(1), own(2)


class Node:
    """An agent, and what its gateway wrote."""

    def __init__(self, folder: Path, name: str, address: str) -> None:
        self.name, self.address, self._tls = name, address, folder
        self.gateway = HaproxyGateway(folder / name)

    def write(self, *times: int, service: str = "shop.web") -> None:
        output = self.gateway.haproxy.output
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("a") as file:
            for at in times:
                file.write(f'{{"at_ms":{at},"service":"{service}","status":200}}\n')

    @asynccontextmanager
    async def runs(self) -> AsyncIterator[None]:
        ours = settings(self.name, self.address, node_tls(self._tls, self.name, self.address))
        access = self.gateway.access_log(SystemClock())
        images = AgentImages(ImageStore(self._tls), ours)
        streams = AgentStreams(Written(), images, ours, access=access)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(streams.serve())
            await until(lambda: is_open(self.address, AGENT_PORT), WITHIN_S)
            yield
            serving.cancel()


@asynccontextmanager
async def shop(folder: Path) -> AsyncIterator[tuple[ApiClient, Node, Node]]:
    """Have shop.web written of by the gateways of two nodes."""
    logged = msgspec.structs.replace(service(), traffic=Traffic(access_log=True))
    async with cluster(folder, NODE_1, node_tls(folder, "node-1", NODE_1)) as (rig, client):
        await rig.join("node-1", NODE_1)
        await rig.join("node-2", NODE_2)
        await client.deploy(SHOP, upload(logged))
        yield client, Node(folder, "node-1", NODE_1), Node(folder, "node-2", NODE_2)


def said(entry: AccessEntry) -> tuple[str, int]:
    return entry.node, entry.at_ms


async def test_requests_of_all_nodes_come_in_order_of_time(tmp_path: Path) -> None:
    async with shop(tmp_path) as (client, one, two):
        one.write(1, 4, 5)
        one.write(2, service="shop.api")
        two.write(2, 3, 6)
        async with one.runs(), two.runs():
            found = [said(entry) async for entry in client.access(service="web")]
            last = [said(entry) async for entry in client.access(service="web", tail=1)]
            recent = [said(entry) async for entry in client.access(service="web", ago_s=60)]

    assert found == [
        *(("node-1", 1), ("node-2", 2), ("node-2", 3)),
        *(("node-1", 4), ("node-1", 5), ("node-2", 6)),
    ]
    assert last == [("node-1", 5), ("node-2", 6)]
    assert recent == []


async def test_the_command_shows_the_last_ones_of_each_node_and_those_of_late(
    tmp_path: Path,
) -> None:
    now_ms = round(SystemClock().now_s() * 1000)
    async with shop(tmp_path) as (_, one, two):
        one.write(*(now_ms - ago_ms for ago_ms in (900_000, 300_000, 100_000)))
        two.write(*(now_ms - ago_ms for ago_ms in (800_000, 200_000)))
        async with one.runs(), two.runs():
            everything = await typed(tmp_path)
            last = await typed(tmp_path, "-n", "1")
            recent = await typed(tmp_path, "--since", "10m")
            last_recent = await typed(tmp_path, "--since", "150s", "--tail", "1")

    assert [now_ms - at for at in everything] == [900_000, 800_000, 300_000, 200_000, 100_000]
    assert [now_ms - at for at in last] == [200_000, 100_000]
    assert [now_ms - at for at in recent] == [300_000, 200_000, 100_000]
    assert [now_ms - at for at in last_recent] == [100_000]


async def typed(folder: Path, *words: str) -> list[int]:
    """Return when the requests were that `hafen logs web --access` shows."""
    argv = ["--host", f"unix:{folder / 'api.sock'}", "logs", "web", "--access", "--json", *words]
    done = await asyncio.to_thread(CliRunner().invoke, cli, argv)
    assert done.exit_code == 0, done.output
    return [int(json.loads(line)["at_ms"]) for line in done.stdout.splitlines()]


async def test_a_follower_of_the_last_none_gets_only_what_comes(tmp_path: Path) -> None:
    comes = itertools.count(10)
    async with shop(tmp_path) as (client, one, two):
        one.write(1, 2)
        two.write(3)
        async with (
            one.runs(),
            two.runs(),
            aclosing(client.access(service="web", follow=True, tail=0)) as entries,
            asyncio.TaskGroup() as group,
        ):
            first = group.create_task(anext(entries))

            def has_come() -> bool:
                one.write(next(comes))
                return first.done()

            await until(has_come, WITHIN_S)
            assert first.result().at_ms >= 10


async def test_a_node_that_does_not_answer_is_a_remark(tmp_path: Path) -> None:
    async with shop(tmp_path) as (client, one, _):
        one.write(1)
        async with one.runs(), aclosing(client.access(service="web")) as entries:
            found = {str(entry.node): (entry.at_ms, entry.remark) async for entry in entries}
    assert found["node-1"] == (1, "")
    assert found["node-2"][1] == "node-2 does not answer: Connection refused"


async def test_a_follower_gets_every_request_once_though_an_agent_is_started_anew(
    tmp_path: Path,
) -> None:
    async with (
        shop(tmp_path) as (client, one, two),
        asyncio.timeout(4 * WITHIN_S),
        two.runs(),
        aclosing(client.access(service="web", follow=True)) as entries,
    ):
        one.write(1, 1)
        two.write(2)
        found: list[AccessEntry] = []

        async def until_there_are(count: int) -> None:
            while len([one for one in found if not one.remark]) < count:
                found.append(await anext(entries))

        async with one.runs():
            await until_there_are(3)
            one.write(4)
            two.write(3)
            await until_there_are(5)
        one.write(5)
        two.write(6)
        async with one.runs():
            await until_there_are(7)

    whole = [said(entry) for entry in found if not entry.remark]
    # Nobody waits longer than a second for what another node has before it.
    assert sorted(whole[:3]) == [("node-1", 1), ("node-1", 1), ("node-2", 2)]
    assert sorted(whole[3:5]) == [("node-1", 4), ("node-2", 3)]
    assert sorted(whole[5:]) == [("node-1", 5), ("node-2", 6)]


async def test_a_service_that_nothing_is_written_of_is_refused(tmp_path: Path) -> None:
    async with cluster(tmp_path, NODE_1, node_tls(tmp_path, "node-1", NODE_1)) as (_, client):
        await client.deploy(SHOP, upload(service()))
        with pytest.raises(SpecError, match="`x-hafen: access_log: true`"):
            await anext(client.access(service="web"))
        with pytest.raises(NotFoundError, match="there is no service 'nothing'"):
            await anext(client.access(service="nothing"))


@pytest.mark.parametrize("name", ["", "web", "shop.web,", "shop.web.1", 'a.b","c', "../etc.x"])
async def test_an_agent_refuses_what_is_no_service(tmp_path: Path, name: str) -> None:
    node = Node(tmp_path, "node-2", NODE_2)
    async with node.runs(), asked(tmp_path) as remote:
        with pytest.raises(SpecError, match=r"expected STACK\.SERVICE"):
            await anext(remote.stream(AGENT_ACCESS, AccessEntry, query={"service": name}))


async def test_an_agent_sends_so_many_access_logs_and_no_more(tmp_path: Path) -> None:
    node = Node(tmp_path, "node-2", NODE_2)
    node.write(1)
    query = {"service": "shop.web", "follow": "1"}
    async with node.runs(), asked(tmp_path) as remote:
        open_ = [
            remote.stream(AGENT_ACCESS, AccessEntry, query=query) for _ in range(ACCESS_STREAMS_MAX)
        ]
        for stream in open_:
            assert said(await anext(stream)) == ("", 1)
        refused: type[HafenError] = UnavailableError
        with pytest.raises(refused, match="node-2 already sends 4 access logs"):
            await anext(remote.stream(AGENT_ACCESS, AccessEntry, query=query))
        for stream in open_:
            await stream.aclose()


@asynccontextmanager
async def asked(folder: Path) -> AsyncIterator[Remote]:
    target = Target.https(NODE_2, AGENT_PORT, client_context(operator_tls(folder)))
    async with Remote(target) as remote:
        yield remote
