"""Which ports the host's own programs have, from the kernel's tables."""

from node_agent.balance.listening import listening
from tests.balance_tables import FOUR, SIX

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"


def line(address: str, port: int, state: str) -> str:
    return f"   1: {address}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000\n"


def test_what_listens_where_published_ports_are() -> None:
    tables = {
        "udp": HEAD
        + line("00000000", 53, "07")  # every address
        + line("0100007F", 54, "07")  # 127.0.0.1
        + line("010113C6", 55, "07")  # 198.19.1.1, the containers' side of the node
        + line("010012C6", 56, "07")  # 198.18.0.1
        + line("010012C6", 57, "01"),  # connected: a client
        "tcp": HEAD + line("00000000", 80, "0A") + line("00000000", 81, "01"),
        "udp6": HEAD
        + line("0" * 32, 58, "07")  # every address, IPv4 as well
        + line("0000000000000000FFFF0000010012C6", 59, "07")  # 198.18.0.1
        + line("000080FE000000000000000001000000", 60, "07")  # fe80::1
        + line("00000000000000000000000001000000", 61, "07")  # ::1
        + line("680000FD0000000000000000010012C6", 62, "07")  # fd00:68::198.18.0.1
        + line("680000FD0000000000000000010113C6", 63, "07"),  # fd00:68::198.19.1.1, as 55
    }
    assert listening(tables, FOUR) == {"udp . 53", "udp . 56", "tcp . 80", "udp . 58", "udp . 59"}
    assert listening(tables, SIX) == {"udp . 58", "udp . 62"}


def test_a_kernel_without_ipv6_has_fewer_tables() -> None:
    assert listening({"udp": HEAD, "tcp": ""}, FOUR) == frozenset()
