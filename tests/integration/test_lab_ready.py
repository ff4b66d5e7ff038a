"""Waiting for a lab: every host's own API must call every host's node ready."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import msgspec
import pytest
from aiohttp import web

from deploy.lab.lab import Lab
from deploy.lab.ready import wait_ready
from shared import api
from shared.api import ClusterView, NodeView
from shared.errors import ConvergenceError
from shared.model import NodeName, Revision

pytestmark = pytest.mark.real

Serve = Callable[[str, dict[str, str]], Awaitable[None]]


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    made = Lab(f"t{os.getpid() % 100000}-r")
    await made.up(2, program=("sleep", "600"))
    yield made
    await made.down()


@pytest.fixture
async def serve(lab: Lab) -> AsyncIterator[Serve]:
    """Answer in place of a host's API: these are the states that it sees."""
    async with AsyncExitStack() as stack:

        async def serve_one(node: str, states: dict[str, str]) -> None:
            nodes = tuple(
                NodeView(name=NodeName(name), state=state, address="")
                for name, state in states.items()
            )
            view = ClusterView(
                etcd_reachable=True,
                leader=NodeName(""),
                revision=Revision(1),
                nodes=nodes,
                stacks=0,
                replicas_wanted=0,
                replicas_ready=0,
            )

            async def status(_request: web.Request) -> web.Response:
                return web.Response(body=msgspec.json.encode(view))

            application = web.Application()
            application.router.add_get(api.STATUS, status)
            runner = web.AppRunner(application)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            lab.api_socket(node).parent.mkdir(exist_ok=True)
            await web.UnixSite(runner, str(lab.api_socket(node))).start()

        yield serve_one


ALL = {"node-1": "ready", "node-2": "ready"}


async def test_the_cluster_is_whole_when_all_hosts_say_so(lab: Lab, serve: Serve) -> None:
    await serve("node-1", ALL)
    await serve("node-2", ALL)
    said: list[str] = []

    await wait_ready(lab, deadline_s=10, progress=said.append)

    assert said == []


async def test_a_node_that_one_host_does_not_see_ready_is_named(lab: Lab, serve: Serve) -> None:
    await serve("node-1", ALL)
    await serve("node-2", {"node-2": "suspect"})

    with pytest.raises(
        ConvergenceError, match="node-2 says: node-1 is unknown, node-2 is suspect; `hafen lab st"
    ):
        await wait_ready(lab, deadline_s=3)


async def test_a_host_that_does_not_answer_is_named_once(lab: Lab, serve: Serve) -> None:
    await serve("node-1", ALL)
    said: list[str] = []

    with pytest.raises(ConvergenceError, match="not ready after 3 s: the API of node-2 does not"):
        await wait_ready(lab, deadline_s=3, progress=said.append)

    assert len(said) == 1


async def test_a_host_without_power_is_not_waited_for(lab: Lab, serve: Serve) -> None:
    await serve("node-1", {"node-1": "ready", "node-2": "lost"})
    await lab.kill("node-2")

    await wait_ready(lab, deadline_s=10)
