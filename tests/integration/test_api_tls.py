"""The API and the agents' streams over mutual TLS, on loopback addresses of their own."""

import asyncio
import datetime as dt
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from deploy.client import ApiClient
from deploy.host.certificates import Authority, Issued
from node_agent.images import AgentImages
from node_agent.oci.images import ImageStore
from node_agent.runtime import Container, LogLine
from node_agent.streams import STREAMS_MAX, AgentStreams
from shared import keys
from shared.api import AGENT_LOGS, LogEntry
from shared.errors import (
    DeniedError,
    HafenError,
    NotFoundError,
    SettingsError,
    SpecError,
    StoreError,
    UnavailableError,
)
from shared.model import AllocId, Manifest, NodeName, Report, Resources
from shared.remote import Remote, Target
from shared.settings import AGENT_PORT, API_PORT, EtcdSettings, Settings, TlsSettings
from shared.tls import client_context
from tests.build import assignment, container, running, service
from tests.integration.api_rig import SHOP, WITHIN_S, Rig, cluster, upload
from tests.loopback import own
from tests.waiting import until

# Addresses of this file only: the ports are fixed, and other tests use 127.0.0.1.
NODE_1, NODE_2, NODE_3 = own(1), own(2), own(3)
NOW = dt.datetime.now(dt.UTC)
AUTHORITY = Authority.make("test", now=NOW, valid_days=1)


def written(folder: Path, name: str, issued: Issued, authority: Authority) -> TlsSettings:
    tls = TlsSettings(
        ca=folder / f"{name}-ca.crt", cert=folder / f"{name}.crt", key=folder / f"{name}.key"
    )
    tls.ca.write_bytes(authority.certificate)
    tls.cert.write_bytes(issued.certificate)
    tls.key.write_bytes(issued.key)
    return tls


def node_tls(folder: Path, name: str, address: str) -> TlsSettings:
    issued = AUTHORITY.issue_node(name, address, now=NOW, valid_days=1)
    return written(folder, name, issued, AUTHORITY)


def operator_tls(folder: Path, authority: Authority = AUTHORITY) -> TlsSettings:
    issued = authority.issue_operator("operator", now=NOW, valid_days=1)
    return written(folder, "operator", issued, AUTHORITY)


class Written:
    """A runtime's logs: lines by allocation, and lines that come while somebody follows."""

    def __init__(self, **lines: list[str]) -> None:
        self.lines = {name.replace("_", "."): texts for name, texts in lines.items()}
        self.later: asyncio.Queue[str] = asyncio.Queue()

    async def list(self) -> tuple[Container, ...]:
        return tuple(container(name) for name in sorted(self.lines))

    async def logs(
        self, id_: AllocId, *, follow: bool, tail: int | None
    ) -> AsyncGenerator[LogLine, None]:
        texts = self.lines[id_]
        for text in texts if tail is None else texts[len(texts) - min(tail, len(texts)) :]:
            yield LogLine("2031-01-01T00:00:00Z", "stdout", text)
        while follow:
            yield LogLine("2031-01-01T00:00:01Z", "stderr", await self.later.get())


def settings(node: str, address: str, tls: TlsSettings | None) -> Settings:
    return Settings(
        node=node,
        address=address,
        subnet="198.19.1.0/24",
        pool="198.19.0.0/16",
        etcd=EtcdSettings(endpoints=()),
        tls=tls,
    )


@asynccontextmanager
async def agent(folder: Path, node: str, address: str, source: Written) -> AsyncIterator[None]:
    ours = settings(node, address, node_tls(folder, node, address))
    streams = AgentStreams(source, AgentImages(ImageStore(folder), ours), ours)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(streams.serve())
        await until(lambda: is_open(address, AGENT_PORT), WITHIN_S)
        yield
        serving.cancel()


def is_open(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


async def place(rig: Rig, where: dict[str, tuple[str, ...]]) -> None:
    """Make nodes run allocations of shop.web."""
    for name, ids in where.items():
        node = NodeName(name)
        wanted = tuple(assignment(id_, service().workload) for id_ in ids)
        manifest = Manifest(node=node, generation=1, assignments=wanted)
        await rig.put(keys.desired(node), manifest)
        statuses = tuple(running(id_) for id_ in ids)
        report = Report(node=node, capacity=Resources(), allocations=statuses)
        await rig.put(keys.observed(node), report)


@asynccontextmanager
async def shop(folder: Path) -> AsyncIterator[tuple[Rig, ApiClient]]:
    """Run two replicas of shop.web: on node-1 at NODE_1 and on node-2 at NODE_2."""
    async with cluster(folder, NODE_1, node_tls(folder, "node-1", NODE_1)) as (rig, client):
        await rig.join("node-1", NODE_1)
        await rig.join("node-2", NODE_2)
        await client.deploy(SHOP, upload(service(replicas=2)))
        await place(rig, {"node-1": ("shop.web.1.a",), "node-2": ("shop.web.2.a",)})
        yield rig, client


# ---------------------------------------------------------------- who may talk


async def test_an_operator_with_a_certificate_is_answered(tmp_path: Path) -> None:
    async with shop(tmp_path), ApiClient.https(NODE_1, API_PORT, operator_tls(tmp_path)) as client:
        assert (await client.status()).stacks == 1


async def test_a_server_of_another_name_is_not_believed(tmp_path: Path) -> None:
    tls = node_tls(tmp_path, "node-1", NODE_2)  # its certificate says another address
    async with (
        cluster(tmp_path, NODE_1, tls),
        ApiClient.https(NODE_1, API_PORT, operator_tls(tmp_path)) as client,
    ):
        with pytest.raises(DeniedError, match=f"{NODE_1}:8470: TLS: "):
            await client.status()


async def test_a_certificate_of_another_authority_opens_nothing(tmp_path: Path) -> None:
    other = Authority.make("other", now=NOW, valid_days=1)
    async with (
        shop(tmp_path),
        ApiClient.https(NODE_1, API_PORT, operator_tls(tmp_path, other)) as client,
    ):
        with pytest.raises(StoreError):
            await client.status()


async def test_no_certificate_opens_nothing(tmp_path: Path) -> None:
    context = ssl.create_default_context(cafile=operator_tls(tmp_path).ca)
    async with shop(tmp_path), Remote(Target.https(NODE_1, API_PORT, context)) as remote:
        with pytest.raises(StoreError):
            await remote.ask("GET", "/v1/status", LogEntry)


async def test_a_port_where_nobody_listens_is_named(tmp_path: Path) -> None:
    async with ApiClient.https(NODE_3, API_PORT, operator_tls(tmp_path)) as client:
        with pytest.raises(UnavailableError) as refused:
            await client.status()

    assert str(refused.value) == (
        f"{NODE_3}:8470 does not answer: Connection refused: is `hafen serve` running there, and "
        "does nothing filter the port?"
    )


async def test_wrong_files_are_a_settings_error_before_anything_listens(tmp_path: Path) -> None:
    tls = msgspec.structs.replace(node_tls(tmp_path, "node-1", NODE_1), ca=tmp_path / "nothing")
    ours = settings("node-1", NODE_1, tls)
    with pytest.raises(SettingsError):
        await AgentStreams(Written(), AgentImages(ImageStore(tmp_path), ours), ours).serve()


# ---------------------------------------------------------------- the agent's streams


async def told(address: str, tls: TlsSettings, id_: str, **query: str) -> list[tuple[str, str]]:
    async with Remote(Target.https(address, AGENT_PORT, client_context(tls))) as remote:
        stream = remote.stream(AGENT_LOGS.format(id=id_), LogEntry, query=query)
        async with aclosing(stream) as entries:
            return [(entry.node, entry.text) async for entry in entries]


async def test_an_agent_tells_what_its_containers_wrote(tmp_path: Path) -> None:
    source = Written(shop_web_1_a=["one", "two", "three"])
    async with agent(tmp_path, "node-2", NODE_2, source):
        tls = operator_tls(tmp_path)
        everything = await told(NODE_2, tls, "shop.web.1.a")
        last = await told(NODE_2, tls, "shop.web.1.a", tail="1")

    assert everything == [("node-2", "one"), ("node-2", "two"), ("node-2", "three")]
    assert last == [("node-2", "three")]


@pytest.mark.parametrize(
    ("id_", "kind", "line"),
    [
        ("shop.web.9.z", NotFoundError, "node-2 has no container shop.web.9.z"),
        ("nothing", SpecError, "'nothing' is no allocation id"),
        ("..%2F..%2Fetc", SpecError, "'../../etc' is no allocation id"),
        ("a.b.1." + "c" * 200, SpecError, f"'a.b.1.{'c' * 122}' is no allocation id"),
    ],
)
async def test_an_agent_refuses_what_is_not_its_own(
    tmp_path: Path, id_: str, kind: type[HafenError], line: str
) -> None:
    async with agent(tmp_path, "node-2", NODE_2, Written(shop_web_1_a=["one"])):
        with pytest.raises(kind) as refused:
            await told(NODE_2, operator_tls(tmp_path), id_)

    assert str(refused.value) == line


async def test_an_agent_sends_so_many_streams_and_no_more(tmp_path: Path) -> None:
    source = Written(shop_web_1_a=["one"])
    async with agent(tmp_path, "node-2", NODE_2, source):
        context = client_context(operator_tls(tmp_path))
        path = AGENT_LOGS.format(id="shop.web.1.a")
        async with Remote(Target.https(NODE_2, AGENT_PORT, context)) as remote:
            open_: list[AsyncGenerator[LogEntry, None]] = []
            for _ in range(STREAMS_MAX):
                open_.append(remote.stream(path, LogEntry, query={"follow": "1"}))
                await anext(open_[-1])
            with pytest.raises(UnavailableError) as refused:
                await anext(remote.stream(path, LogEntry))
            for stream in open_:
                await stream.aclose()
            async with asyncio.timeout(WITHIN_S):
                while not await answers(remote, path):
                    pass  # the streams that were closed end on the agent's side a moment later

    assert str(refused.value) == "node-2 already sends 64 logs; end one first"


async def answers(remote: Remote, path: str) -> bool:
    try:
        async with aclosing(remote.stream(path, LogEntry)) as entries:
            await anext(entries)
    except UnavailableError:
        return False
    return True


# ---------------------------------------------------------------- logs through the API


async def test_the_logs_of_a_service_come_from_all_its_nodes(tmp_path: Path) -> None:
    async with (
        shop(tmp_path) as (_, client),
        agent(tmp_path, "node-1", NODE_1, Written(shop_web_1_a=["a", "b"])),
        agent(tmp_path, "node-2", NODE_2, Written(shop_web_2_a=["c"])),
        aclosing(client.logs(service="web")) as entries,
    ):
        lines = [(entry.node, entry.allocation, entry.text) async for entry in entries]

    assert sorted(lines) == [
        ("node-1", "shop.web.1.a", "a"),
        ("node-1", "shop.web.1.a", "b"),
        ("node-2", "shop.web.2.a", "c"),
    ]


async def test_a_node_that_does_not_answer_is_a_remark_and_the_others_are_told(
    tmp_path: Path,
) -> None:
    async with (
        shop(tmp_path) as (_, client),
        agent(tmp_path, "node-1", NODE_1, Written(shop_web_1_a=["a", "b"])),
        aclosing(client.logs(service="web", tail=1)) as entries,
    ):
        lines = [(entry.node, entry.stream, entry.text) async for entry in entries]

    assert sorted(lines) == [
        ("node-1", "stdout", "b"),
        ("node-2", "hafen", "node-2 does not answer: Connection refused"),
    ]


async def test_a_follower_is_told_of_replicas_that_come_later(tmp_path: Path) -> None:
    first, second = Written(shop_web_1_a=["a"]), Written(shop_web_2_a=["b"], shop_web_3_a=["c"])
    seen: list[str] = []
    async with (
        shop(tmp_path) as (rig, client),
        agent(tmp_path, "node-1", NODE_1, first),
        agent(tmp_path, "node-2", NODE_2, second),
        asyncio.timeout(WITHIN_S),
        aclosing(client.logs(service="web", follow=True)) as entries,
    ):
        async for entry in entries:
            seen.append(entry.text)
            if set(seen) == {"a", "b"}:
                await place(rig, {"node-2": ("shop.web.2.a", "shop.web.3.a")})
            if entry.text == "c":
                await first.later.put("the end")
            if entry.text == "the end":
                break

    assert sorted(seen) == ["a", "b", "c", "the end"]


async def test_a_follower_is_told_again_once_a_node_is_back(tmp_path: Path) -> None:
    source = Written(shop_web_2_a=["old"])
    async with (
        shop(tmp_path) as (_, client),
        asyncio.timeout(2 * WITHIN_S),
        aclosing(client.logs(allocation="shop.web.2.a", follow=True)) as entries,
    ):
        remark = await anext(entries)
        async with agent(tmp_path, "node-2", NODE_2, source):
            await source.later.put("new")
            line = await anext(entries)

    assert (remark.stream, line.stream, line.text) == ("hafen", "stderr", "new")


async def test_a_silent_node_is_not_even_asked(tmp_path: Path) -> None:
    async with shop(tmp_path) as (rig, client):
        await rig.delete(keys.node_alive(NodeName("node-2")))
        async with aclosing(client.logs(allocation="shop.web.2.a")) as entries:
            lines = [(entry.stream, entry.text) async for entry in entries]

    assert lines[0][0] == "hafen"
    assert lines[0][1].startswith("node-2 does not answer: it is ")
