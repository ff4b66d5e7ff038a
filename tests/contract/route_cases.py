"""What gateway_cases.py runs with HTTP routes: by host and path, hot, believing no client."""

import asyncio
from typing import Final

import msgspec

from node_agent.gateway import config
from node_agent.gateway.extras import Extras
from node_agent.gateway.haproxy import HaproxyGateway
from shared.model import Affinity, EndpointState, HttpRoute, RouteTls, SendProxy, Traffic, choose
from tests.contract.gateway_rig import (
    A,
    B,
    client,
    endpoint,
    is_closed,
    load,
    replica,
    retries,
    served,
)
from tests.contract.route_rig import (
    HTTP,
    HTTPS,
    PORTS,
    ask,
    echoing,
    ending,
    recording,
    route,
    routed,
)
from tests.waiting import until

HOST: Final = "shop.example.org"


async def a_host_and_the_longest_path_choose(gateway: HaproxyGateway) -> None:
    routes = {
        A: [route(HOST), route(f"{HOST}/api/v2"), route("*.example.org/both")],
        B: [route(f"{HOST}/api"), route("*.example.org")],
    }
    async with replica(A), replica(B):
        wanted = {**routed("a", routes[A], endpoint(A)), **routed("b", routes[B], endpoint(B))}
        status = await gateway.apply(wanted)
        assert (status.acked, status.problems) == ({"a": 1, "b": 1}, ())
        known: list[HttpRoute] = [*routes[A], *routes[B]]
        for host in (HOST, "SHOP.example.org", "x.example.org", "a.b.example.org", "example.org"):
            for path in ("", "/", "/api", "/apix", "/api/", "/api/v1?x=/y", "/api/v2/z", "/both/"):
                chosen = choose(known, host, f"/{path.lstrip('/').partition('?')[0]}")
                answer = await ask(f"{host}{path}")
                expected = "" if chosen is None else A if chosen in routes[A] else B
                said = answer.body if answer.status == 200 else ""
                assert (host, path, said) == (host, path, expected)
                assert answer.status in {200, 404}
        assert (await ask(f"{HOST}:8080/api")).body == B


async def a_new_route_to_a_known_service_needs_no_reload_and_loses_no_request(
    gateway: HaproxyGateway,
) -> None:
    async with replica(A), client() as gets:
        wanted = served(endpoint(A))
        first = routed("a", [route(HOST)], endpoint(A))
        await gateway.apply({**wanted, **first})
        worker = await pid(gateway)
        async with load(gets):
            for number in range(1, 30):
                more = [route(HOST), route(f"n{number}.example.org/x")]
                await gateway.apply(
                    {**wanted, **routed("a", more, endpoint(A), revision=number + 1)}
                )
                assert (await ask(f"n{number}.example.org/x/y")).body == A
                assert (await ask(f"n{number - 1}.example.org/x/y")).status == 404
        assert await pid(gateway) == worker
        await gateway.apply(wanted)
    assert gets.failures == [], gets.failures[:5]


async def pid(gateway: HaproxyGateway) -> str:
    info = await gateway.haproxy.command("show info")
    return next(line for line in info.splitlines() if line.startswith("Pid:"))


async def routes_to_a_published_port_share_its_backends(gateway: HaproxyGateway) -> None:
    wanted = served(endpoint(A))
    (name,) = wanted
    routes = wanted[name][1]
    shared = [
        service.__class__(
            service=service.service,
            ports=service.ports,
            endpoints=service.endpoints,
            routes=(route(HOST),),
        )
        for service in routes.services
    ]
    async with replica(A):
        await gateway.apply(
            {name: (wanted[name][0], routes.__class__(stack=name, services=tuple(shared)))}
        )
        assert (await ask(HOST)).body == (await ask("x", port=8080)).body == A
    shown = await gateway.haproxy.command("show backend")
    ours = [line for line in shown.splitlines() if line.startswith(name)]
    assert ours == [f"{name}.web.8080", f"{name}.web.8080:once"]


async def an_agent_that_starts_finds_and_mends_the_routes(gateway: HaproxyGateway) -> None:
    async with replica(A), replica(B):
        both = {
            **routed("a", [route(HOST)], endpoint(A)),
            **routed("b", [route("b.example.org")], endpoint(B)),
        }
        await gateway.apply(both)
        path = gateway.run_dir / "haproxy" / "routes.map"
        await gateway.haproxy.command(f"del map {path} {HOST}/")
        assert (await ask(HOST)).status == 404
        worker = await pid(gateway)
        await HaproxyGateway(gateway.run_dir, PORTS).apply(both)
        assert (await ask(HOST)).body == A
        assert await pid(gateway) == worker


async def held_requests_of_a_route_reach_the_replacement(gateway: HaproxyGateway) -> None:
    await gateway.apply(routed("a", [route(HOST)]))
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(ask(HOST, method=method)) for method in ("GET", "POST")]

        async def are_held() -> bool:
            shown = await gateway.haproxy.command("show stat a.web.to80 2 -1; show sess")
            return shown.count("be=a.web.to80") == 2

        await until(are_held, 10)
        async with replica(A):
            await gateway.apply(routed("a", [route(HOST)], endpoint(A), revision=2))
            assert [(await task).body for task in waiting] == [A, A]


async def a_short_hold_ends_in_503(gateway: HaproxyGateway) -> None:
    await gateway.apply(routed("a", [route(HOST)], traffic=Traffic(hold_s=0)))
    assert (await ask(HOST)).status == 503


async def what_a_client_says_of_itself_is_not_believed(gateway: HaproxyGateway) -> None:
    lies = ["X-Forwarded-For: 198.18.0.1", "X-Forwarded-Proto: https", "X-Real-IP: 198.18.0.1"]
    lies += ["Forwarded: for=198.18.0.1", "X-Forwarded-Host: evil.example.org"]
    async with echoing(A):
        await gateway.apply({**routed("a", [route(HOST)], endpoint(A)), **served(endpoint(A))})
        for port in (HTTP, 8080):
            said = (await ask(HOST, headers=lies, port=port)).body.splitlines()
            assert [line for line in said if "198.18.0.1" in line or "evil" in line] == []
            assert {"x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http"} <= set(said)
            assert f"x-forwarded-host: {HOST}" in said


async def a_client_of_ipv6_is_served_and_told(gateway: HaproxyGateway) -> None:
    async with echoing(A):
        await gateway.apply({**routed("a", [route(HOST)], endpoint(A)), **served(endpoint(A))})
        for port in (HTTP, 8080):
            said = (await ask(HOST, port=port, address="::1")).body.splitlines()
            assert "x-forwarded-for: ::1" in said
            said = (await ask(HOST, port=port)).body.splitlines()
            assert "x-forwarded-for: 127.0.0.1" in said


async def a_trusted_proxy_is_believed(gateway: HaproxyGateway) -> None:
    trusting = HaproxyGateway(
        gateway.run_dir, msgspec.structs.replace(PORTS, trusted_proxies=("127.0.0.1/32",))
    )
    said = ["X-Forwarded-For: 198.18.0.1", "X-Forwarded-Proto: https"]
    async with echoing(A):
        await trusting.apply(routed("a", [route(HOST, tls=RouteTls.REDIRECT)], endpoint(A)))
        body = (await ask(HOST, headers=said)).body.splitlines()
        forwarded = [line for line in body if line.startswith("x-forwarded-for")]
        assert forwarded == ["x-forwarded-for: 198.18.0.1", "x-forwarded-for: 127.0.0.1"]
        assert "x-forwarded-proto: https" in body


async def the_proxy_protocol_is_taken_from_whom_the_settings_name(gateway: HaproxyGateway) -> None:
    header = b"PROXY TCP4 198.18.0.7 198.18.0.8 1000 80\r\n"
    settings = msgspec.structs.replace(PORTS, proxy_protocol_from=("127.0.0.1/32",))
    async with echoing(A):
        await gateway.apply(routed("a", [route(HOST)], endpoint(A)))
        assert (await ask(HOST, before=header)).status == 400
        behind = HaproxyGateway(gateway.run_dir, settings)
        await behind.apply(routed("a", [route(HOST)], endpoint(A)))
        assert "x-forwarded-for: 198.18.0.7" in (await ask(HOST, before=header)).body


async def replicas_are_told_the_client_by_the_proxy_protocol(gateway: HaproxyGateway) -> None:
    for version, begins in (
        (SendProxy.V1, b"PROXY TCP4 127.0.0.1 "),
        (SendProxy.V2, b"\r\n\r\n\0"),
    ):
        seen: list[bytes] = []
        async with recording(A, seen):
            traffic = Traffic(send_proxy=version)
            await gateway.apply(routed("a", [route(HOST)], endpoint(A), traffic=traffic))
            assert (await ask(HOST)).body == "ok"
        assert [one.startswith(begins) for one in seen] == [True], seen


async def a_cookie_keeps_a_client_with_its_replica_until_that_drains(
    gateway: HaproxyGateway,
) -> None:
    async with replica(A), replica(B):
        both = [endpoint(A), endpoint(B)]
        wanted = routed("a", [route(HOST)], *both, affinity=Affinity.COOKIE)
        await gateway.apply(wanted)
        first = await ask(HOST)
        cookie = "Cookie: " + first.headers["set-cookie"].partition(";")[0]
        kept = {(await ask(HOST, headers=[cookie])).body for _ in range(10)}
        assert kept == {first.body}
        states = [
            endpoint(a, EndpointState.DRAINING if a == first.body else EndpointState.READY)
            for a in (A, B)
        ]
        drained = routed("a", [route(HOST)], *states, affinity=Affinity.COOKIE, revision=2)
        await gateway.apply(drained)
        (other,) = {A, B} - {first.body}
        assert (await ask(HOST, headers=[cookie])).body == other


async def a_closed_service_says_so_at_once_and_opens_again(gateway: HaproxyGateway) -> None:
    async with replica(A), replica(B):
        wanted = {
            **routed("a", [route(HOST)], endpoint(A)),
            **routed("b", [route("b.example.org")], endpoint(B)),
        }
        await gateway.apply(wanted)
        worker = await pid(gateway)
        for name in ("a", "a.web"):
            await gateway.apply(wanted, Extras(closed=frozenset({name})))
            closed = await ask(HOST)
            assert (closed.status, closed.headers["retry-after"]) == (503, "60")
            assert "worked on" in closed.body
            assert (await ask("b.example.org")).body == B
        await gateway.apply(wanted)
        assert (await ask(HOST)).body == A
        assert await pid(gateway) == worker


async def a_body_that_is_too_long_is_refused(gateway: HaproxyGateway) -> None:
    async with replica(A):
        traffic = Traffic(max_body_bytes=10)
        await gateway.apply(routed("a", [route(HOST)], endpoint(A), traffic=traffic))
        long = await ask(HOST, method="POST", headers=["Content-Length: 11"])
        assert long.status == 413
        assert (await ask(HOST, method="POST", headers=["Content-Length: 0"])).body == A


async def a_plain_request_is_sent_to_tls(gateway: HaproxyGateway) -> None:
    async with replica(A):
        routes = [route(HOST, tls=RouteTls.REDIRECT), route(f"{HOST}/plain")]
        await gateway.apply(routed("a", routes, endpoint(A)))
        answer = await ask(f"{HOST}/a?b=c", method="POST")
        assert (answer.status, answer.headers["location"]) == (308, f"https://{HOST}:{HTTPS}/a?b=c")
        assert (await ask(f"{HOST}/plain/x")).body == A


async def challenges_are_answered_before_anything_else(gateway: HaproxyGateway) -> None:
    await gateway.apply(routed("a", [route(HOST, tls=RouteTls.ACME)]))
    path = "/.well-known/acme-challenge/to-ken_1"
    assert (await ask(f"{HOST}{path}")).status == 308
    await gateway.apply(
        routed("a", [route(HOST, tls=RouteTls.ACME)]), Extras(challenges={"to-ken_1": "to.thumb"})
    )
    assert (await ask(f"{HOST}{path}")).body == "to.thumb"


async def a_stack_that_haproxy_refuses_stays_as_it_was_and_the_others_get_in(
    gateway: HaproxyGateway,
) -> None:
    async with replica(A), replica(B):
        good = routed("a", [route(HOST)], endpoint(A))
        await gateway.apply(good)
        broken = Traffic(idempotency_header="no good)")
        wanted = {
            **routed("a", [route("new.example.org")], endpoint(B), revision=2, traffic=broken),
            **routed("b", [route("b.example.org")], endpoint(B), revision=2),
        }
        status = await gateway.apply(wanted)
        assert status.acked == {"a": 1, "b": 2}, status
        (problem,) = status.problems
        assert problem.startswith("stack a stays as it was on this node: HAProxy refuses")
        assert (await ask(HOST)).body == B, "its replicas are followed all the same"
        assert (await ask("new.example.org")).status == 404
        assert (await ask("b.example.org")).body == B
        worker = await pid(gateway)
        assert (await gateway.apply(wanted)).problems == (problem,)
        assert await pid(gateway) == worker
        # Whoever starts the agent again brings nothing to an end.
        gateway = HaproxyGateway(gateway.run_dir, PORTS)
        status = await gateway.apply(wanted)
        assert status.problems[0].startswith("stack a stays as it was"), status
        assert (await ask(HOST)).body == B
        assert (await ask("b.example.org")).body == B
        mended = {**wanted, **routed("a", [route("new.example.org")], endpoint(A), revision=3)}
        assert (await gateway.apply(mended)).acked == {"a": 3, "b": 2}
        assert (await ask("new.example.org")).body == A


async def an_agent_that_has_just_started_keeps_what_a_refusal_would_replace(
    gateway: HaproxyGateway,
) -> None:
    async with replica(A):
        await gateway.apply(routed("a", [route(HOST)], endpoint(A)))
        gateway = HaproxyGateway(gateway.run_dir, PORTS)
        await gateway.apply(routed("a", [route(HOST)], endpoint(A)))
        broken = Traffic(idempotency_header="no good)")
        status = await gateway.apply(
            routed("a", [route("new.example.org")], endpoint(A), revision=2, traffic=broken)
        )
        assert status.problems
        assert (await ask(HOST)).body == A


async def the_ports_of_routes_close_with_the_last_of_them(gateway: HaproxyGateway) -> None:
    async with replica(A):
        await gateway.apply({**routed("a", [route(HOST)], endpoint(A)), **served(endpoint(A))})
        await gateway.apply(served(endpoint(A)))
        # Who was told to end closes a moment later.
        await until(lambda: all(is_closed(port) for port in (HTTP, HTTPS)), 10)


async def figures_name_services_and_replicas(gateway: HaproxyGateway) -> None:
    async with replica(A):
        await gateway.apply(routed("a", [route(HOST)], endpoint(A)))
        assert (await ask(HOST)).body == A
        text = await gateway.metrics()
    id_ = endpoint(A).allocation
    labels = f'proxy="a.web.to80",server="s1",code="2xx",stack="a",service="web",replica="{id_}"'
    assert f"haproxy_server_http_responses_total{{{labels}}} 1" in text


async def a_request_that_ends_its_replica_is_sent_again_as_often_as_is_tried_to_connect(
    gateway: HaproxyGateway,
) -> None:
    """Else a replica that dies under a request, and all that are not there yet, would cost it."""
    traffic = Traffic(hold_s=2.0)
    taken: list[bytes] = []
    async with ending(A, taken), ending(B, taken):
        await gateway.apply(routed("a", [route(HOST)], endpoint(A), endpoint(B), traffic=traffic))
        assert (await ask(HOST)).status == 502
        assert len(taken) == 1 + config.retries(traffic) == 9
        assert (await ask(HOST, method="POST")).status == 502
    assert len(taken) == 10


async def a_service_may_ask_that_nothing_is_sent_twice(gateway: HaproxyGateway) -> None:
    traffic = Traffic(hold_s=2.0, resend=False)
    taken: list[bytes] = []
    where = [route(HOST)]
    async with ending(A, taken), replica(B):
        await gateway.apply(routed("a", where, endpoint(A), traffic=traffic))
        assert (await ask(HOST)).status == 502
        assert (await ask(HOST, headers=["Idempotency-Key: 1"])).status == 502
        assert len(taken) == 2
        # What was never handed over still waits for a replica.
        await gateway.apply(routed("a", where, traffic=traffic, revision=2))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(ask(HOST))
            await until(lambda: retries(gateway) > 2, 10)
            await gateway.apply(routed("a", where, endpoint(B), traffic=traffic, revision=3))
        assert task.result().body == B
    assert len(taken) == 2


ROUTE_CASES: Final = (
    a_request_that_ends_its_replica_is_sent_again_as_often_as_is_tried_to_connect,
    a_service_may_ask_that_nothing_is_sent_twice,
    a_host_and_the_longest_path_choose,
    a_new_route_to_a_known_service_needs_no_reload_and_loses_no_request,
    routes_to_a_published_port_share_its_backends,
    an_agent_that_starts_finds_and_mends_the_routes,
    held_requests_of_a_route_reach_the_replacement,
    a_short_hold_ends_in_503,
    what_a_client_says_of_itself_is_not_believed,
    a_client_of_ipv6_is_served_and_told,
    a_trusted_proxy_is_believed,
    the_proxy_protocol_is_taken_from_whom_the_settings_name,
    replicas_are_told_the_client_by_the_proxy_protocol,
    a_cookie_keeps_a_client_with_its_replica_until_that_drains,
    a_closed_service_says_so_at_once_and_opens_again,
    a_body_that_is_too_long_is_refused,
    a_plain_request_is_sent_to_tls,
    challenges_are_answered_before_anything_else,
    a_stack_that_haproxy_refuses_stays_as_it_was_and_the_others_get_in,
    an_agent_that_has_just_started_keeps_what_a_refusal_would_replace,
    the_ports_of_routes_close_with_the_last_of_them,
    figures_name_services_and_replicas,
)
