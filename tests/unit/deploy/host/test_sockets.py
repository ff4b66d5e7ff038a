"""Who holds a port, from the kernel's tables."""

import os
import socket

from deploy.host.sockets import Listener, holder_of, listening, parse

HEADER = "sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode"
NOBODY = "00000000:0000"
TCP = f"""{HEADER}
 0: 0100007F:094B {NOBODY} 0A 0:0 00:0 0 0 0 4711 1 0
 1: 0200000A:1F90 0300000A:C000 01 0:0 00:0 0 0 0 4712 1 0
"""
TCP6 = f"""{HEADER}
 0: 00000000000000000000000000000000:2116 {NOBODY} 0A 0:0 00:0 0 0 0 99 1
 1: 0000000000000000FFFF00000100007F:2117 {NOBODY} 0A 0:0 00:0 0 0 0 98 1
"""


def test_only_listening_sockets_are_read() -> None:
    assert parse(TCP) == [Listener("127.0.0.1", 2379, 4711)]


def test_version_6_sockets_are_read_and_mapped_ones_are_version_4() -> None:
    assert parse(TCP6) == [Listener("::", 8470, 99), Listener("127.0.0.1", 8471, 98)]


def test_a_listener_on_all_addresses_blocks_ours_and_one_elsewhere_does_not() -> None:
    ours = {"10.0.0.1", "127.0.0.1"}

    assert Listener("0.0.0.0", 80, 1).blocks(80, ours)
    assert Listener("::", 80, 1).blocks(80, ours)
    assert Listener("10.0.0.1", 80, 1).blocks(80, ours)
    assert not Listener("10.0.0.2", 80, 1).blocks(80, ours)
    assert not Listener("10.0.0.1", 81, 1).blocks(80, ours)


def test_the_holder_of_a_real_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = [each for each in listening() if each.port == port]

        assert [each.address for each in found] == ["127.0.0.1"]
        assert holder_of(found[0].inode).endswith(f"(pid {os.getpid()})")
    assert holder_of(found[0].inode) == ""
