"""hafen logs --access: what is refused before anybody is asked, and what a request looks like."""

import pytest
from click.testing import CliRunner

from deploy.cli.follow import logs
from deploy.render_edge import access_line
from shared.api import AccessEntry
from shared.errors import SpecError
from shared.model import NodeName


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["shop.web.1", "--access"], "--access is of a whole service"),
        (["web", "--since", "10m"], "--since is for --access"),
        (["web", "--access", "--since", "soon"], "--since soon: expected a duration such as"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], why: str) -> None:
    result = CliRunner().invoke(logs, words)
    assert isinstance(result.exception, SpecError)
    assert str(result.exception).startswith(why)


def test_a_request_is_one_line_that_steers_no_terminal() -> None:
    entry = AccessEntry(
        node=NodeName("node-1"),
        at_ms=1_800_000_000_123,
        client="198.18.0.250",
        service="shop.web",
        method="GET",
        host="shop.example.org",
        path="/a\x1b[2J\n",
        replica="s2",
        address="198.19.2.7",
        status=200,
        bytes=512,
        answer_ms=11,
        connect_ms=-1,
        all_ms=12,
    )
    assert access_line(entry) == (
        "2027-01-15T08:00:00.123Z node-1 | shop.web 198.18.0.250 GET"
        " shop.example.org/a\\x1b[2J\\x0a 200 from s2 198.19.2.7, 512 B in 12 ms (answered 11)"
    )
