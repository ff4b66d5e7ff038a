"""What a container calls itself and others."""

import pytest

from node_agent.oci.naming import hosts_file, resolv_conf
from shared.errors import RuntimeFailureError
from shared.model import Naming

HOST = "nameserver 192.0.2.53\nsearch example\ndomain example\noptions ndots:1\n"


def test_others_are_added_and_the_gateway_is_the_nodes_address() -> None:
    naming = Naming(extra_hosts=("db=10.0.0.5", "node=host-gateway"), domainname="example")
    lines = hosts_file("web-1", "10.90.1.2", naming, "198.18.0.1").splitlines()
    assert lines[2:] == ["10.90.1.2\tweb-1.example web-1", "10.0.0.5\tdb", "198.18.0.1\tnode"]


@pytest.mark.parametrize("entry", ["db", "=10.0.0.5", "db=", "a b=1", "a=1\n10.0.0.1"])
def test_an_entry_that_is_none_is_refused(entry: str) -> None:
    with pytest.raises(RuntimeFailureError, match="write name=address"):
        hosts_file("web-1", "10.90.1.2", Naming(extra_hosts=(entry,)), "198.18.0.1")


def test_a_gateway_that_nobody_knows_is_refused() -> None:
    with pytest.raises(RuntimeFailureError, match="address is not known"):
        hosts_file("web-1", "10.90.1.2", Naming(extra_hosts=("node=host-gateway",)))


def test_what_the_service_says_replaces_only_what_it_says() -> None:
    assert resolv_conf(HOST, (), Naming(dns=("9.9.9.9",))) == (
        "nameserver 9.9.9.9\nsearch example\ndomain example\noptions ndots:1\n"
    )
    assert resolv_conf(HOST, (), Naming(dns_search=("a", "b"))) == (
        "search a b\nnameserver 192.0.2.53\noptions ndots:1\n"
    )
    assert resolv_conf(HOST, (), Naming(dns_options=("rotate",))) == (
        "nameserver 192.0.2.53\nsearch example\ndomain example\noptions rotate\n"
    )


def test_servers_that_the_service_names_are_asked_by_ours() -> None:
    naming = Naming(dns=("9.9.9.9",), dns_search=("a",))
    assert resolv_conf(HOST, ("10.90.1.1",), naming) == (
        "nameserver 10.90.1.1\nsearch a\noptions ndots:1\n"
    )


@pytest.mark.parametrize(
    ("naming", "options"),
    [
        (Naming(), "edns0 ndots:0"),
        (Naming(dns_options=("rotate",)), "rotate ndots:0"),
        (Naming(dns_options=("ndots:2",)), "ndots:2"),
    ],
)
def test_a_name_without_a_dot_is_asked_for_as_it_is_unless_somebody_says_otherwise(
    naming: Naming, options: str
) -> None:
    text = resolv_conf("search example\noptions edns0\n", ("10.90.1.1",), naming)
    assert text == f"nameserver 10.90.1.1\nsearch example\noptions {options}\n"
