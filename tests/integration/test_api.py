"""The API as a client sees it: a real server on a real unix socket, a store in memory behind it."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest

from deploy.client import ApiClient
from shared import codec, keys
from shared.api import BODY_BYTES_MAX, Accepted, StackProgress
from shared.errors import NotFoundError, SpecError, UnavailableError
from shared.model import (
    Event,
    Manifest,
    NodeName,
    Report,
    Resources,
    Stack,
    StackName,
)
from shared.store import Put, under
from tests.build import assignment, service, workload
from tests.integration.api_rig import BLOG, SHOP, WITHIN_S, Rig, cluster, upload
from tests.waiting import until


async def refusal(kind: type[Exception], call: Awaitable[object]) -> str:
    with pytest.raises(kind) as refused:
        await call
    assert type(refused.value) is kind
    return str(refused.value)


# ---------------------------------------------------------------- stacks


async def test_a_stack_is_stored_as_it_was_sent(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        accepted = await client.deploy(SHOP, upload(service(port=8080), source="the file"))

        found = (await rig.other.list(under(keys.STACKS))).items
        stored = codec.decode(Stack, found[0].value, "test")
        assert accepted == Accepted(stack=SHOP, generation=1, revision=found[0].mod_revision)
        assert (stored.name, stored.generation, stored.source) == (SHOP, 1, "the file")
        assert stored.services == (service(port=8080),)
        assert stored.deployed_at_s > 0


async def test_the_same_stack_again_is_not_written_again(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        first = await client.deploy(SHOP, upload())
        again = await client.deploy(SHOP, upload())

        found = (await rig.other.list(under(keys.STACKS))).items
        assert again == first
        assert [item.mod_revision for item in found] == [first.revision]


async def test_a_changed_stack_is_a_new_generation(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (_, client):
        await client.deploy(SHOP, upload(service(replicas=1)))
        changed = await client.deploy(SHOP, upload(service(replicas=2)))

        assert changed.generation == 2


async def test_a_stack_that_comes_again_counts_on_from_what_still_runs(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await rig.join("node-1")
        old = msgspec.structs.replace(assignment("shop.web.1.a"), generation=7)
        node = NodeName("node-1")
        await rig.put(keys.desired(node), Manifest(node=node, generation=1, assignments=(old,)))

        assert (await client.deploy(SHOP, upload())).generation == 8


async def test_a_port_of_another_stack_is_refused_by_name(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (_, client):
        await client.deploy(BLOG, upload(service("front", port=8080)))

        assert await refusal(SpecError, client.deploy(SHOP, upload(service(port=8080)))) == (
            "service web: port 8080 is taken by stack blog, service front"
        )


async def test_of_two_deploys_at_once_only_one_takes_the_port(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        outcomes: list[str] = []

        async def deploy(name: str) -> None:
            try:
                await client.deploy(StackName(name), upload(service(port=8080)))
                outcomes.append("stored")
            except SpecError:
                outcomes.append("refused")

        async with asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(deploy(f"stack-{number}"))

        stored = (await rig.other.list(under(keys.STACKS))).items
        assert (len(stored), sorted(outcomes)) == (1, ["refused"] * 5 + ["stored"])


async def test_deploys_at_once_that_do_not_collide_all_go_through(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client), asyncio.TaskGroup() as group:
        for number in range(6):
            ports = upload(service(port=8000 + number))
            group.create_task(client.deploy(StackName(f"stack-{number}"), ports))
        await until(
            lambda: sum(key.startswith(keys.STACKS) for key in rig.view.items) == 6, WITHIN_S
        )


async def test_a_body_that_is_no_stack_is_refused_with_the_path_of_what_is_wrong(
    tmp_path: Path,
) -> None:
    bodies: Mapping[bytes, tuple[int, str]] = {
        b"{": (400, "the body: Input data was truncated"),
        b"{}": (400, "the body: Object missing required field `services`"),
        b'{"services": [{"name": "web", "workload": {"image": 5}}]}': (
            400,
            "the body: Expected `str`, got `int` - at `$.services[0].workload.image`",
        ),
        b" " * (BODY_BYTES_MAX + 1): (
            413,
            "PUT /v1/stacks/shop: the body is larger than 2097152 bytes",
        ),
    }
    async with cluster(tmp_path) as (rig, _), raw(rig) as session:
        for body, (status, message) in bodies.items():
            async with session.put(
                "http://localhost/v1/stacks/shop", data=io.BytesIO(body)
            ) as answer:
                assert (answer.status, await answer.json()) == (
                    status,
                    {"error": "SpecError", "message": message},
                )


@asynccontextmanager
async def raw(rig: Rig) -> AsyncIterator[aiohttp.ClientSession]:
    """Speak HTTP to the server without our client."""
    connector = aiohttp.UnixConnector(path=str(rig.socket))
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/", 404, ("NotFoundError", "GET /: there is no such path in this API")),
        (
            "POST",
            "/v1/status",
            405,
            ("SpecError", "POST /v1/status: this path does not take that method"),
        ),
        (
            "GET",
            "/v1/logs?service=web&follow=maybe",
            400,
            ("SpecError", "follow: expected 1 or 0, got 'maybe'"),
        ),
        (
            "GET",
            "/v1/logs?service=web&tail=-1",
            400,
            ("SpecError", "tail: expected a whole number from 0 to 100000, got '-1'"),
        ),
        (
            "GET",
            "/v1/stacks/nosuch/progress",
            404,
            ("NotFoundError", "there is no stack 'nosuch'; none is deployed"),
        ),
        (
            "DELETE",
            "/v1/stacks/A",
            400,
            (
                "SpecError",
                (
                    "stack name 'A': use a-z, 0-9, - and _, beginning with a letter or digit, "
                    "at most 40 characters"
                ),
            ),
        ),
    ],
)
async def test_a_bad_request_is_refused_in_one_line(
    tmp_path: Path, method: str, path: str, status: int, body: tuple[str, str]
) -> None:
    async with (
        cluster(tmp_path) as (rig, _),
        raw(rig) as session,
        session.request(method, f"http://localhost{path}") as answer,
    ):
        refused = await answer.json()

    assert (answer.status, refused) == (status, {"error": body[0], "message": body[1]})


async def test_removing_what_does_not_exist_says_what_does(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (_, client):
        assert await refusal(NotFoundError, client.remove(SHOP)) == (
            "there is no stack 'shop'; none is deployed"
        )
        await client.deploy(BLOG, upload())
        assert await refusal(NotFoundError, client.remove(SHOP)) == (
            "there is no stack 'shop'; there are: blog"
        )


async def test_a_stack_whose_record_nobody_can_read_can_still_be_removed(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await rig.seen(await rig.other.txn([], [Put(keys.stack(SHOP), b"?")]))

        assert (await client.remove(SHOP)).generation == 0
        assert (await rig.other.list(under(keys.STACKS))).items == ()


# ---------------------------------------------------------------- while etcd is away


async def test_without_etcd_status_answers_from_memory_and_changes_are_refused(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as (rig, client):
        await client.deploy(SHOP, upload(service(replicas=3)))
        rig.store.cut()

        seen = await client.status()

        assert (seen.etcd_reachable, seen.stacks, seen.replicas_wanted) == (False, 1, 3)
        away = (
            "etcd does not answer: nothing was changed, and what runs keeps running; "
            "try again once most etcd members are back"
        )
        assert await refusal(UnavailableError, client.deploy(BLOG, upload())) == away
        assert await refusal(UnavailableError, client.remove(SHOP)) == away


async def test_without_a_server_the_client_says_where_it_looked(tmp_path: Path) -> None:
    async with ApiClient.unix(tmp_path / "api.sock") as client:
        assert await refusal(UnavailableError, client.status()) == (
            f"nothing answers at {tmp_path}/api.sock: is `hafen serve` running on this host? "
            "--host and --lab name another one"
        )


# ---------------------------------------------------------------- progress


async def first_that(
    client: ApiClient, accepted: Accepted, wanted: Callable[[StackProgress], bool]
) -> StackProgress:
    stream = client.progress(accepted.stack, accepted.revision)
    async with asyncio.timeout(WITHIN_S), aclosing(stream) as changes:
        async for change in changes:
            if wanted(change):
                return change
    raise AssertionError("the stream ended")


async def test_progress_ends_when_the_replicas_are_ready(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await rig.join("node-1")
        accepted = await client.deploy(SHOP, upload())
        seen: list[tuple[int, bool]] = []
        async with (
            asyncio.timeout(WITHIN_S),
            aclosing(client.progress(SHOP, accepted.revision)) as changes,
        ):
            async for change in changes:
                seen.append((change.services[0].ready, change.done))
                if not change.done:
                    await rig.run_replica("node-1", service())

    assert (seen[0], seen[-1]) == ((0, False), (1, True))


async def test_progress_of_a_removal_ends_when_nothing_is_left(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await rig.join("node-1")
        await client.deploy(SHOP, upload())
        await rig.run_replica("node-1", service())
        removed = await client.remove(SHOP)

        leaving = await first_that(client, removed, lambda _: True)
        await rig.delete(keys.desired(NodeName("node-1")))
        await rig.put(
            keys.observed(NodeName("node-1")),
            Report(node=NodeName("node-1"), capacity=Resources()),
        )
        gone = await first_that(client, removed, lambda change: change.done)

    assert [(one.replicas, one.ready) for one in leaving.services] == [(0, 1)]
    assert gone == StackProgress(stack=SHOP, generation=0, services=(), done=True)


async def test_a_service_that_fits_nowhere_says_why_with_numbers(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await rig.join("node-1")
        big = msgspec.structs.replace(service(), workload=workload(memory_bytes=2**30))
        await client.deploy(SHOP, upload(big))

        (shown,) = (await client.services("shop")).services

    assert shown.waiting == (
        "slot 1: no node fits: node-1: memory: needs 1024 MiB, has 0 MiB free of 0 MiB",
    )


# ---------------------------------------------------------------- what is


async def test_what_is_shown_follows_the_view(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await rig.join("node-1")
        await rig.join("node-2")
        await client.deploy(SHOP, upload())
        await rig.run_replica("node-2", service())

        nodes = (await client.nodes()).nodes
        allocations = (await client.allocations("shop", node="node-2")).allocations
        services = (await client.services()).services

    assert [(one.name, one.state) for one in nodes] == [("node-1", "ready"), ("node-2", "ready")]
    assert [(one.id, one.node) for one in allocations] == [("shop.web.1.a", "node-2")]
    assert [(one.service, one.ready, one.replicas) for one in services] == [("web", 1, 1)]


async def test_a_node_whose_lease_ends_is_suspect_and_then_lost(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await rig.join("node-1")
        await rig.delete(keys.node_alive(NodeName("node-1")))
        states: list[str] = []
        async with asyncio.timeout(WITHIN_S):
            while not states or states[-1] != "lost":
                state = (await client.nodes()).nodes[0].state
                states += [state] if state not in states[-1:] else []

    assert states == ["suspect", "lost"]


async def test_events_are_told_in_order_and_followed(tmp_path: Path) -> None:
    def event(kind: str) -> Event:
        return Event(kind=kind, subject="node-1", reason="-", at_s=1.0)

    async with cluster(tmp_path) as (rig, client):
        await rig.put(keys.event("2"), event("second"))
        await rig.put(keys.event("1"), event("first"))
        async with aclosing(client.events()) as story:
            told = [one.kind async for one in story]
        followed: list[str] = []
        async with asyncio.timeout(WITHIN_S), aclosing(client.events(follow=True)) as story:
            async for one in story:
                followed.append(one.kind)
                if one.kind == "second":
                    await rig.put(keys.event("3"), event("third"))
                if one.kind == "third":
                    break

    assert (told, followed) == (["first", "second"], ["first", "second", "third"])


async def test_a_follower_that_goes_away_leaves_nothing_behind(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await rig.put(keys.event("1"), Event(kind="k", subject="s", reason="r", at_s=1.0))
        await client.status()
        before = len(asyncio.all_tasks())
        async with aclosing(client.events(follow=True)) as story:
            await anext(story)
        await until(lambda: len(asyncio.all_tasks()) <= before, WITHIN_S)


async def test_logs_of_a_cluster_without_tls_are_a_remark(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await rig.join("node-1")
        await client.deploy(SHOP, upload())
        await rig.run_replica("node-1", service())

        async with aclosing(client.logs(service="web")) as entries:
            told = [(one.stream, one.text) async for one in entries]

    assert told == [("hafen", "node-1 cannot be asked: its settings have no [tls]")]
