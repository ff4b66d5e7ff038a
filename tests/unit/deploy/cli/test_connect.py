"""Which scheduler a --host means."""

from pathlib import Path

import pytest

from deploy.cli.connect import Host, parse_host, tls_files
from deploy.cli.follow import parse_whose
from shared.errors import SpecError


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("unix:/run/hafen/api.sock", Host(socket=Path("/run/hafen/api.sock"))),
        ("unix:api.sock", Host(socket=Path("api.sock"))),
        ("https://node-1", Host(name="node-1", port=8470)),
        ("https://192.0.2.1:9000/", Host(name="192.0.2.1", port=9000)),
        ("https://[2001:db8::1]:9000", Host(name="2001:db8::1", port=9000)),
    ],
)
def test_a_host_is_a_socket_or_an_https_address(text: str, host: Host) -> None:
    assert parse_host(text) == host


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            text,
            f"--host {text}: write unix:/path/of/api.sock or https://HOST:8470",
        )
        for text in ("", "unix:", "node-1", "http://node-1", "https://", "https://node-1/v1")
    ]
    + [
        (
            "https://node-1:port",
            "--host https://node-1:port: Port could not be cast to integer value as 'port'",
        ),
        ("https://node-1:99999", "--host https://node-1:99999: Port out of range 0-65535"),
    ],
)
def test_a_host_that_is_neither_is_refused(text: str, line: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse_host(text)

    assert str(refused.value) == line


def test_the_operators_files_have_fixed_names() -> None:
    files = tls_files(Path("/tls"))

    assert (files.ca, files.cert, files.key) == (
        Path("/tls/ca.crt"),
        Path("/tls/operator.crt"),
        Path("/tls/operator.key"),
    )


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("web", {"service": "web"}),
        ("shop.web", {"stack": "shop", "service": "web"}),
        ("shop.web.1", {"allocation": "shop.web.1"}),
        ("shop.web.1.abc", {"allocation": "shop.web.1.abc"}),
    ],
)
def test_whose_logs_is_told_by_the_number_of_dots(text: str, meant: dict[str, str]) -> None:
    assert parse_whose(text) == meant


@pytest.mark.parametrize("text", ["", "a.b.c.d.e"])
def test_another_number_of_dots_means_nothing(text: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse_whose(text)

    assert str(refused.value) == (
        f"{text}: write SERVICE, STACK.SERVICE, STACK.SERVICE.SLOT or an allocation as "
        "`hafen ps` has"
    )
