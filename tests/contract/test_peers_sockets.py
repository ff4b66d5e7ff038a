"""The sockets of peers where they cannot be had: one clear line, and nothing stays open."""

import os
import socket
from collections.abc import Generator

import pytest

from node_agent.peers.net import Way
from node_agent.peers.sockets import SocketNet
from shared.errors import HostError
from tests.waiting import until

pytestmark = pytest.mark.real

HERE = "127.0.0.1"
# TEST-NET-3 (RFC 5737): never an address of this host.
FOREIGN = "203.0.113.9"
_NOBODY = 65534


@pytest.fixture
def taken() -> Generator[int, None, None]:
    """Return a UDP port that somebody has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((HERE, 0))
        yield other.getsockname()[1]


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.bind((HERE, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((HERE, 0))
        port: int = one.getsockname()[1]
    return port


async def test_a_port_that_is_taken_is_named_with_how_to_find_its_owner(taken: int) -> None:
    with pytest.raises(HostError, match=f"UDP port {taken} of {HERE} is taken; `ss -lnup` says"):
        SocketNet(HERE, taken).open(lambda *_: None)


async def test_an_address_of_another_host_is_named(taken: int) -> None:
    with pytest.raises(HostError, match=f"of {FOREIGN}: .*`address` must be one of this host's"):
        SocketNet(FOREIGN, taken).open(lambda *_: None)


async def test_without_the_right_to_icmp_the_port_is_let_go_too() -> None:
    port = free_port()
    os.seteuid(_NOBODY)
    try:
        with pytest.raises(HostError, match="ICMP needs root or CAP_NET_RAW"):
            SocketNet(HERE, port).open(lambda *_: None)
    finally:
        os.seteuid(0)
    assert is_free(port)


async def test_what_is_closed_hears_and_sends_no_more_and_can_be_opened_again() -> None:
    port, heard = free_port(), set[Way]()
    net = SocketNet(HERE, port)
    net.close()
    for _ in range(2):
        heard.clear()
        net.open(lambda way, _address, _data: heard.add(way))
        for way in Way:
            net.send(way, HERE, b"x" * 82)
        await until(lambda: heard == set(Way), 10.0)
        net.close()
        net.send(Way.AGENT, HERE, b"x")
        assert is_free(port)
