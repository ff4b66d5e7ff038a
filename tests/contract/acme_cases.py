"""What gateway_cases.py runs with an ACME server: pebble, its resolver, and the leader's issuer."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from node_agent.edge import EdgeView
from node_agent.gateway.haproxy import HaproxyGateway
from scheduler.issuing.acme import acme_fetch
from scheduler.issuing.authority import issue, make_authority
from shared import keys
from shared.clock import SystemClock
from shared.mirror import mirror
from shared.model import (
    NodeName,
    RouteTls,
    ServiceSpec,
    Session,
    Stack,
    StackName,
)
from shared.settings import AcmeSettings
from tests.build import node_spec, service
from tests.contract.gateway_rig import A, endpoint, replica
from tests.contract.route_cases import HOST
from tests.contract.route_rig import HTTP, PORTS, route, routed
from tests.contract.tls_cases import shown
from tests.issuing_rig import IssuingRig
from tests.waiting import until

DIRECTORY: Final = "https://localhost:14000/dir"
WITHIN_S: Final = 60.0


@asynccontextmanager
async def pebble(folder: Path) -> AsyncIterator[Path]:
    """Run an ACME server for which every host is here; yield what to trust it by."""
    authority = make_authority("pebble's own", SystemClock().now_s())
    made = issue(authority, ["localhost"], SystemClock().now_s(), 2)
    config = {
        "listenAddress": "127.0.0.1:14000",
        "managementListenAddress": "127.0.0.1:15000",
        "certificate": str(folder / "pebble.crt"),
        "privateKey": str(folder / "pebble.key"),
        "httpPort": HTTP,
        "tlsPort": 5001,
    }
    (folder / "ca.pem").write_text(authority.chain)
    (folder / "pebble.crt").write_text(made.chain)
    (folder / "pebble.key").write_text(made.key)
    (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
    resolver = ["pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]
    resolver += ["-dns01", "127.0.0.1:8053", "-http01", "", "-https01", "", "-tlsalpn01", ""]
    server = ["pebble", "-config", str(folder / "pebble.json"), "-dnsserver", "127.0.0.1:8053"]
    processes = []
    with (folder / "pebble.log").open("wb") as log:
        for argv in (resolver, server):
            environment = {**os.environ, "PEBBLE_VA_NOSLEEP": "1"}
            processes.append(
                await asyncio.create_subprocess_exec(*argv, stdout=log, stderr=log, env=environment)
            )
    try:
        await until(serves, WITHIN_S)
        yield folder / "ca.pem"
    finally:
        for process in processes:
            process.kill()
            await process.wait()


async def serves() -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(DIRECTORY, ssl=False) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


class Cluster(IssuingRig):
    """One node, and a leader that has certificates issued."""

    def __init__(self, gateway: HaproxyGateway, ca: Path, directory: str = DIRECTORY) -> None:
        self.changed = asyncio.Event()
        super().__init__(gateway.run_dir, self.changed.set)
        self.gateway = gateway
        self.acme = AcmeSettings(directory=directory, agree=True, ca=ca, email="ops@example.org")
        self.edge = EdgeView(self.changed.set, self.key)

    async def begin(self, group: asyncio.TaskGroup, spec: ServiceSpec) -> list[asyncio.Task[None]]:
        node = NodeName("node-1")
        here = msgspec.structs.replace(node_spec(node), address="127.0.0.1")
        await self.put(keys.node_spec(node), here)
        await self.put(keys.node_alive(node), Session(node=node, boot_id="b", version="1"))
        stack = Stack(name=StackName("a"), generation=1, services=(spec,))
        await self.put(keys.stack(stack.name), stack)
        fetch = acme_fetch(self.store, self.view, self.acme, PORTS.http_port, self.clock)
        return [
            *await self.lead(group, fetch),
            *(
                group.create_task(mirror(self.store, range_, view, self.clock, self.rng))
                for range_, view in self.edge.followed()
            ),
            group.create_task(self._serve(spec)),
        ]

    async def _serve(self, spec: ServiceSpec) -> None:
        wanted = routed("a", spec.routes, endpoint(A))
        while True:
            extras = self.edge.read()
            if extras is not None:
                await self.gateway.apply(wanted, extras)
            await self.changed.wait()
            self.changed.clear()


SPEC = msgspec.structs.replace(
    service("web"), routes=(route(HOST, tls=RouteTls.ACME), route("b.test", tls=RouteTls.ACME))
)


async def a_route_gets_its_certificate_from_an_acme_server(gateway: HaproxyGateway) -> None:
    async with pebble(gateway.run_dir) as ca, replica(A), asyncio.TaskGroup() as group:
        cluster = Cluster(gateway, ca)
        tasks = await cluster.begin(group, SPEC)

        async def are_shown() -> bool:
            for host in (HOST, "b.test"):
                one = cluster.issued(f"acme:{host}")
                if one is None or not one.chain or not await shown(host):
                    assert one is None or not one.problem, one
                    return False
            return True

        await until(are_shown, WITHIN_S)
        assert not [key for key in cluster.view.items if key.startswith(keys.CHALLENGES)]
        (account,) = [key for key in cluster.view.items if key.startswith(keys.AUTHORITIES)]
        assert b"PRIVATE" not in cluster.view.items[account].value
        for task in tasks:
            task.cancel()


async def an_acme_server_that_is_not_there_is_a_problem_and_is_not_asked_at_once_again(
    gateway: HaproxyGateway,
) -> None:
    async with replica(A), asyncio.TaskGroup() as group:
        ca = gateway.run_dir / "ca.pem"
        ca.write_text(make_authority("nobody", SystemClock().now_s()).chain)
        cluster = Cluster(gateway, ca)
        tasks = await cluster.begin(group, SPEC)

        def have_failed() -> bool:
            found = [cluster.issued(f"acme:{host}") for host in (HOST, "b.test")]
            return all(one is not None and one.failures == 1 for one in found)

        await until(have_failed, WITHIN_S)
        one = cluster.issued(f"acme:{HOST}")
        assert one is not None
        assert "Connection refused" in one.problem
        assert one.next_try_s > cluster.clock.now_s() + 600
        for task in tasks:
            task.cancel()


ACME_CASES: Final = (
    a_route_gets_its_certificate_from_an_acme_server,
    an_acme_server_that_is_not_there_is_a_problem_and_is_not_asked_at_once_again,
)
