"""Which hosts and paths routes can have, and which route a request takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.hosts import host_problem, path_problem
from shared.model import HttpRoute, choose

LONG = "a" * 64


@pytest.mark.parametrize("host", ["shop.example.org", "*.example.org", "shop", "a-b.x_y.z1"])
def test_a_host_is_let_pass(host: str) -> None:
    assert host_problem(host) == ""


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (f"{LONG}.example.org", "has 64 characters; 63 are the most"),
        (".".join(["a" * 60] * 5), "a host name of 304 characters; 253 are the most"),
        ("", "is no host name"),
        ("*", "is no host name"),
        ("a.*.org", "is no host name"),
        ("-a.org", "is no host name"),
        ("a..org", "is no host name"),
        ("Shop.org", "is no host name"),
        ("a b.org", "is no host name"),
        ("a;b", "is no host name"),
    ],
)
def test_a_host_that_cannot_be_is_told(host: str, said: str) -> None:
    assert said in host_problem(host)


@pytest.mark.parametrize("path", ["/", "/api", "/a/b-c_d.e~f@g+h:i%20"])
def test_a_path_is_let_pass(path: str) -> None:
    assert path_problem(path) == ""


@pytest.mark.parametrize("path", ["", "api", "/a b", "/a;b", "/a//b", "/../b", "/a|b", "/a#", "/ä"])
def test_a_path_that_cannot_be_is_told(path: str) -> None:
    assert "no path for a route" in path_problem(path)


SEGMENTS = st.lists(st.sampled_from(["a", "b", "ab"]), max_size=3)
PATHS = SEGMENTS.map(lambda parts: "/" + "/".join(parts))
HOSTS = st.sampled_from(["x.org", "a.x.org", "b.a.x.org", "*.x.org", "*.a.x.org", "*.org"])
ROUTES = st.lists(st.builds(lambda host, path: HttpRoute(host=host, path=path), HOSTS, PATHS))


@given(ROUTES, HOSTS.map(lambda host: host.replace("*", "w")), PATHS)
def test_the_choice_is_of_the_own_host_first_and_whole_segments(
    routes: list[HttpRoute], host: str, path: str
) -> None:
    found = choose(routes, host, path)
    parts = [part for part in path.split("/") if part]

    def fits(one: HttpRoute) -> bool:
        own = [part for part in one.path.split("/") if part]
        wildcard = "*." + host.partition(".")[2]
        return one.host in {host, wildcard} and parts[: len(own)] == own

    fitting = [one for one in routes if fits(one)]
    assert (found is None) == (not fitting)
    if found is not None:
        assert found in fitting
        ranks = [(one.host == host, len(one.path.rstrip("/"))) for one in fitting]
        assert (found.host == host, len(found.path.rstrip("/"))) == max(ranks)


def test_letters_of_a_host_are_alike() -> None:
    assert choose([HttpRoute(host="x.org")], "X.Org", "/") is not None
