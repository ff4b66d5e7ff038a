"""What hafen understands below `x-hafen`, and each refusal."""

import pytest

from shared.model import Affinity, HttpRoute, RouteTls, SendProxy, Traffic
from tests.unit.deploy.compose.given import problems, services, web, web_problems


@pytest.mark.parametrize(
    ("value", "standby", "is_exclusive"),
    [
        ("", 0, False),
        ("{}", 0, False),
        ("{standby: 2}", 2, False),
        ("{standby: $SPARE}", 1, False),
        ("{exclusive: true}", 0, True),
        ("{exclusive: false, standby: 0}", 0, False),
        ("{exclusive: true, standby: 1}", 1, True),
    ],
)
def test_what_is_hafens_own_arrives(value: str, standby: int, *, is_exclusive: bool) -> None:
    found = web(f"x-hafen: {value}", SPARE="1")
    assert (found.standby, found.workload.exclusive) == (standby, is_exclusive)


def test_exclusive_work_may_publish_ports_and_may_be_switched_off() -> None:
    found = web("ports: ['8080:80']\nx-hafen: {exclusive: true}\ndeploy: {replicas: 0}")
    assert (found.workload.exclusive, len(found.workload.ports), found.replicas) == (True, 1, 0)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (
            "x-hafen: {standbye: 1}",
            "x-hafen.standbye: hafen does not know this key yet; did you mean standby?",
        ),
        ("x-hafen: {x-note: 1, fast: 1}", "x-hafen.fast: hafen does not know this key yet"),
        ("x-hafen: [standby]", "x-hafen: expected a mapping, got a list"),
        (
            "x-hafen: {standby: 101}",
            "x-hafen.standby: expected a whole number from 0 to 100, got 101",
        ),
        ("x-hafen: {standby: -1}", "x-hafen.standby: expected a whole number, got -1"),
        ("x-hafen: {exclusive: yes}", 'x-hafen.exclusive: expected true or false, got "yes"'),
        ("deploy: {x-hafen: {}}", "deploy.x-hafen: hafen does not know this key yet"),
        (
            "x-hafen: {exclusive: true}\ndeploy: {replicas: 2}",
            (
                "x-hafen.exclusive: at most one copy may run, but deploy.replicas is 2; write "
                "replicas: 1, and standby: 1 here for a spare copy"
            ),
        ),
    ],
)
def test_what_is_wrong_below_x_hafen_is_refused_by_name(body: str, line: str) -> None:
    assert web_problems(body) == [line]


def test_routes_arrive_with_the_port_that_is_meant() -> None:
    found = web(
        "ports: ['8080:80']\nx-hafen: {routes: [shop.example.org/api/, {host: '*.Example.org', "
        "port: 81, tls: redirect, hsts: 24h}, {host: a.example.org, tls: true}]}"
    )
    assert found.routes == (
        HttpRoute(host="shop.example.org", path="/api", port=80),
        HttpRoute(host="*.example.org", port=81, tls=RouteTls.REDIRECT, hsts_s=86400),
        HttpRoute(host="a.example.org", port=80, tls=RouteTls.ON),
    )
    assert found.workload.exposed == (81,)


def test_how_requests_are_treated_arrives() -> None:
    found = web(
        "x-hafen: {hold: 20s, timeout: 5m, idempotency_header: X-Once, max_body: 1m, "
        "send_proxy: v2, access_log: true, affinity: cookie, resend: false}"
    )
    assert found.traffic == Traffic(
        hold_s=20,
        timeout_s=300,
        idempotency_header="x-once",
        max_body_bytes=1 << 20,
        send_proxy=SendProxy.V2,
        access_log=True,
        resend=False,
    )
    assert found.affinity is Affinity.COOKIE


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("x-hafen: {routes: [a.org]}", "publishes no port, so say which one in the container"),
        ("ports: ['1:1', '2:2']\nx-hafen: {routes: [a.org]}", "publishes 2 ports, so say which"),
        ("x-hafen: {routes: [{host: a.org, port: 0}]}", "from 1 to 65535, got 0"),
        ("x-hafen: {routes: [{port: 80}]}", "host is missing"),
        (f"x-hafen: {{routes: [{{host: {'a' * 64}.org, port: 80}}]}}", "has 64 characters; 63"),
        ("x-hafen: {routes: [{host: a_.org, path: b, port: 80}]}", "is no path for a route"),
        ("x-hafen: {routes: [{host: a.org, tls: maybe, port: 80}]}", "true, false, redirect or"),
        ("x-hafen: {routes: [{host: a.org, hsts: 1h, port: 80}]}", "hsts is for routes with tls"),
        ("x-hafen: {hold: 6m}", "expected 0s to 300s"),
        ("x-hafen: {timeout: 0s}", "expected 1s to 86400s"),
        ("x-hafen: {idempotency_header: 'a b'}", "a header's name such as"),
        ("x-hafen: {send_proxy: v3}", "expected no, v1 or v2"),
        ("x-hafen: {affinity: port}", "expected none, address or cookie"),
    ],
)
def test_a_route_that_cannot_be_is_refused(body: str, said: str) -> None:
    (problem,) = web_problems(body)
    assert said in problem


def test_a_route_that_is_there_twice_is_named_with_both_lines() -> None:
    file = "services:\n"
    for name in "ab":
        file += f"  {name}:\n    image: app:1\n    x-hafen:\n      routes:\n"
        file += "        - {host: x.org, path: /a, port: 80}\n"
    (problem,) = problems(file)
    assert problem.startswith("a.yaml:11: ")
    assert problem.endswith("x.org/a is a route in a.yaml:6 too")


def test_later_files_override_x_hafen_key_by_key_and_lines_are_named() -> None:
    first = "services:\n  db:\n    image: app:1\n    x-hafen: {standby: 1}\n"
    second = "services:\n  db:\n    x-hafen:\n      exclusive: true\n"
    found = services(first, second)["db"]
    assert (found.standby, found.workload.exclusive) == (1, True)
    wrong = "services:\n  db:\n    x-hafen:\n      exclusiv: true\n"
    line = "b.yaml:4: services.db.x-hafen.exclusiv: hafen does not know this key yet"
    assert problems(first, wrong) == [f"{line}; did you mean exclusive?"]
