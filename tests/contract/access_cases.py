"""What gateway_cases.py runs with the access log: what is in it, what is not, and that it stays."""

import asyncio
import datetime as dt
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Final

from msgspec import structs

from node_agent.gateway.access import Wanted
from node_agent.gateway.haproxy import HaproxyGateway
from shared.clock import SystemClock
from shared.model import Traffic
from tests.contract.gateway_rig import A, B, endpoint, replica
from tests.contract.route_rig import ask, echoing, route, routed
from tests.stopping import kill
from tests.waiting import until

HOST: Final = "shop.example.org"


async def requests_are_written_down_where_a_service_asks_for_it(gateway: HaproxyGateway) -> None:
    async with replica(A), echoing(B):
        log = Traffic(access_log=True)
        await gateway.apply(
            {
                **routed("a", [route(HOST)], endpoint(A)),
                **routed("b", [route("b.test")], endpoint(B), traffic=log),
            }
        )
        await ask(HOST)
        secrets = ("Authorization: Bearer s3cret", "Cookie: id=s3cret")
        body = (await ask('b.test/x"y?token=s3cret', headers=secrets)).body
        path = gateway.run_dir / "haproxy" / "haproxy.log"
        await until(lambda: '"b.test"' in path.read_text(), 10)
    assert "s3cret" not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    (line,) = [one for one in path.read_text().splitlines() if one.startswith("{")]
    said = json.loads(line)
    assert (said["service"], said["host"], said["path"]) == ("b.web", "b.test", '/x"y')
    assert (said["status"], said["method"], said["client"]) == (200, "GET", "127.0.0.1")
    assert f"x-request-id: {said['request']}" in body
    at = dt.datetime.fromtimestamp(said["at_ms"] / 1000, dt.UTC)
    assert f"{at:%Y-%m-%dT%H:%M:%SZ}" == said["at"]


async def what_was_written_of_requests_outlives_haproxy_and_is_read_back(
    gateway: HaproxyGateway,
) -> None:
    wanted = routed("b", [route("b.test")], endpoint(B), traffic=Traffic(access_log=True))
    access, asked = gateway.access_log(SystemClock()), Wanted(services={"b.web"})
    async with replica(B):
        await gateway.apply(wanted)
        await ask("b.test/before")
        await kill(gateway.haproxy.left())
        await gateway.apply(wanted)
        await ask("b.test/after")

        async def paths() -> bool:
            found = [entry async for entry in access.read(asked)]
            return [entry.path for entry in found] == ["/before", "/after"]

        await until(paths, 10)
        (last,) = [entry async for entry in access.read(structs.replace(asked, tail=1))]
        assert (last.path, last.service, last.status, last.address) == ("/after", "b.web", 200, B)
        assert [one async for one in access.read(Wanted(services={"a.web"}))] == []
        later = Wanted(services={"b.web"}, since_ms=last.at_ms + 1, follow=True)
        async with aclosing(access.read(later)) as follows, asyncio.timeout(10):
            await ask("b.test/later")
            assert (await anext(follows)).path == "/later"


ACCESS_CASES: Final[tuple[Callable[[HaproxyGateway], Awaitable[None]], ...]] = (
    requests_are_written_down_where_a_service_asks_for_it,
    what_was_written_of_requests_outlives_haproxy_and_is_read_back,
)
