"""From bytes to bytes."""

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.names.answer import Forward, Reply, answer, host_servers
from node_agent.names.messages import UDP_BYTES_MAX
from node_agent.names.snapshot import Local
from shared.model import Network, Routes
from tests.build_names import OWN, local, question, replica, routes, service, table

ASKER, SHUT, OWN_DNS, STRANGER = "198.19.1.9", "198.19.1.8", "198.19.1.7", "198.19.1.99"
HOST = ("198.18.0.53",)
MANY = 150

# Of shop.back, which is on an internal network.
BACK6 = "fd00:68::c613:105"


def cluster(*more: Local) -> tuple[Routes, tuple[Local, ...]]:
    many = [replica(f"shop.many.{n}.a", f"198.19.2.{n}") for n in range(1, MANY + 1)]
    shop = routes(
        "shop",
        service("web", replica("shop.web.1.a", "198.19.1.2"), vip="198.19.254.1"),
        service("db", *(replica(f"shop.db.{n}.a", f"198.19.1.1{n}") for n in (1, 2, 3))),
        service("none"),
        service("many", *many),
        service("back", replica("shop.back.1.a", "198.19.1.5"), on=("in",)),
        networks=[Network(name="in", internal=True), Network(name="shop_default")],
    )
    containers = (
        local(ASKER, "shop_default"),
        local(SHUT, "in"),
        local(OWN_DNS, "shop_default", dns=("198.18.0.77", "127.0.0.1", "198.19.1.5", BACK6)),
        *more,
    )
    return shop, containers


SHOP, CONTAINERS = cluster()
TABLE = table(SHOP, containers=CONTAINERS)


def decided(
    wire: bytes, address: str = ASKER, *, turn: int = 0, tcp: bool = False
) -> Reply | Forward:
    return answer(TABLE, address, wire, host=HOST, turn=turn, tcp=tcp)


def reply(
    wire: bytes, address: str = ASKER, *, turn: int = 0, tcp: bool = False
) -> dns.message.Message:
    found = decided(wire, address, turn=turn, tcp=tcp)
    assert isinstance(found, Reply)
    assert found.wire is not None
    return dns.message.from_wire(found.wire)


def addresses(message: dns.message.Message) -> list[str]:
    return [str(each) for rrset in message.answer for each in rrset]


def test_an_answer_has_the_question_as_it_was_spelt() -> None:
    wire = question("wEb.SHOP")
    message = reply(wire)
    assert message.id == dns.message.from_wire(wire).id
    assert message.question[0].to_text() == "wEb.SHOP. IN A"
    assert message.answer[0].to_text() == "wEb.SHOP. 10 IN A 198.19.254.1"
    assert message.flags == dns.flags.QR | dns.flags.AA | dns.flags.RD | dns.flags.RA
    assert message.edns < 0


def test_a_question_for_ipv6_is_answered_with_the_addresses_that_go_with_those_of_ipv4() -> None:
    message = reply(question("web", "AAAA"))
    assert message.answer[0].to_text() == "web. 10 IN AAAA fd00:68::c613:fe01"
    firsts = [addresses(reply(question("db", "AAAA"), turn=turn))[0] for turn in range(3)]
    assert firsts == ["fd00:68::c613:10b", "fd00:68::c613:10c", "fd00:68::c613:10d"]


def test_what_exists_without_such_an_address_is_no_error_and_says_for_how_long() -> None:
    for name, rdtype in (("none", "AAAA"), ("web", "MX"), ("none", "A"), ("hafen.internal", "A")):
        message = reply(question(name, rdtype))
        assert (message.rcode(), message.answer) == (dns.rcode.NOERROR, [])
        assert [each.rdtype for each in message.authority] == [dns.rdatatype.SOA]
        assert message.authority[0].ttl == message.authority[0][0].minimum == 1


@pytest.mark.parametrize(
    ("name", "apex"), [("nosuch", "."), ("nosuch.hafen.internal", "hafen.internal.")]
)
def test_what_does_not_exist_is_said_not_to(name: str, apex: str) -> None:
    message = reply(question(name))
    assert message.rcode() == dns.rcode.NXDOMAIN
    assert [str(each.name) for each in message.authority] == [apex]


def test_replicas_take_turns_and_may_not_be_kept() -> None:
    firsts = [addresses(reply(question("db"), turn=turn))[0] for turn in range(3)]
    assert firsts == ["198.19.1.11", "198.19.1.12", "198.19.1.13"]
    message = reply(question("db"), turn=5)
    assert sorted(addresses(message)) == firsts
    assert message.answer[0].ttl == 0


def test_a_reverse_name_is_answered() -> None:
    message = reply(question("2.1.19.198.in-addr.arpa", "PTR"))
    assert addresses(message) == ["shop.web.1.a.hafen.internal."]


@pytest.mark.parametrize("rdtype", ["ANY", "AXFR", "IXFR"])
def test_whole_names_and_zones_are_refused(rdtype: str) -> None:
    message = reply(question("web", rdtype))
    assert (message.rcode(), message.answer) == (dns.rcode.REFUSED, [])


def test_other_classes_and_other_orders_are_refused() -> None:
    chaos = dns.message.make_query("version.bind", "TXT", rdclass=dns.rdataclass.CH)
    assert reply(chaos.to_wire()).rcode() == dns.rcode.REFUSED
    order = bytearray(question("web"))
    for opcode in (dns.opcode.NOTIFY, dns.opcode.UPDATE, dns.opcode.STATUS, 15):
        order[2] = opcode << 3
        message = reply(bytes(order))
        assert (message.rcode(), message.opcode()) == (dns.rcode.NOTIMP, opcode)


def test_a_later_edns_is_refused_with_the_version_there_is() -> None:
    query = dns.message.make_query("web", "A", use_edns=1)
    message = reply(query.to_wire())
    assert (message.rcode(), message.edns) == (dns.rcode.BADVERS, 0)


def test_edns_is_answered_with_edns() -> None:
    query = dns.message.make_query("web", "A", use_edns=0, payload=4096, want_dnssec=True)
    message = reply(query.to_wire())
    assert (message.edns, message.payload) == (0, UDP_BYTES_MAX)
    assert message.ednsflags & dns.flags.DO


@pytest.mark.parametrize("label", ["a" * 64, "a" * 200])
def test_a_label_that_is_too_long_is_an_error_not_a_crash(label: str) -> None:
    head = question("web")[:12]
    wire = head + bytes([len(label)]) + label.encode() + b"\0\0\1\0\1"
    assert reply(wire).rcode() == dns.rcode.FORMERR


def test_the_longest_label_and_name_there_can_be_are_answered() -> None:
    assert reply(question("a" * 63)).rcode() == dns.rcode.NXDOMAIN
    name = ".".join([*["a" * 63] * 3, "b" * 46, "hafen.internal"])
    assert len(name) == 253
    assert reply(question(name)).rcode() == dns.rcode.NXDOMAIN


def test_what_does_not_fit_is_cut_and_marked_and_whole_by_tcp() -> None:
    small, large = reply(question("many")), reply(question("many", payload=4096))
    whole = reply(question("many"), tcp=True)
    assert [bool(each.flags & dns.flags.TC) for each in (small, large, whole)] == [
        True,
        True,
        False,
    ]
    assert [len(addresses(each)) for each in (small, large, whole)] == [30, 74, MANY]
    for each, size in ((small, 512), (large, UDP_BYTES_MAX)):
        assert size - 16 < len(each.to_wire(max_size=size)) <= size


def test_what_is_small_enough_is_not_cut() -> None:
    assert not reply(question("db")).flags & dns.flags.TC


def test_strangers_are_refused_whatever_they_ask() -> None:
    for name in ("web", "web.shop.hafen.internal", "example.com"):
        assert reply(question(name), STRANGER).rcode() == dns.rcode.REFUSED


def test_the_node_itself_sees_everything_and_is_asked_nothing_further() -> None:
    assert addresses(reply(question("back.shop"), OWN)) == ["198.19.1.5"]
    assert addresses(reply(question("web.shop"), "127.0.0.1")) == ["198.19.254.1"]
    assert reply(question("example.com"), OWN).rcode() == dns.rcode.REFUSED


def servers(address: str, host: tuple[str, ...] = HOST) -> tuple[str, ...] | dns.rcode.Rcode:
    found = answer(TABLE, address, question("example.com"), host=host)
    if isinstance(found, Forward):
        return found.servers
    assert found.wire is not None
    return dns.message.from_wire(found.wire).rcode()


def test_the_rest_goes_to_the_nodes_servers() -> None:
    assert servers(ASKER) == HOST
    assert servers(ASKER, ()) == dns.rcode.SERVFAIL


def test_a_containers_own_servers_are_asked_unless_it_could_not_reach_them_itself() -> None:
    assert servers(OWN_DNS) == ("198.18.0.77",)


def test_no_question_leaves_from_internal_networks() -> None:
    assert servers(SHUT) == dns.rcode.REFUSED
    assert addresses(reply(question("back"), SHUT)) == ["198.19.1.5"]
    own = ("198.18.0.77", "198.19.1.5", BACK6)
    shop, containers = cluster(local("198.19.1.6", "in", dns=own))
    found = answer(
        table(shop, containers=containers),
        "198.19.1.6",
        question("example.com"),
        host=HOST,
    )
    assert isinstance(found, Forward)
    assert found.servers == ("198.19.1.5", BACK6)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nameserver 127.0.0.53\noptions edns0\n", ("127.0.0.53",)),
        (f"nameserver {OWN}\nnameserver 198.18.0.1\n", ("198.18.0.1",)),
        ("# nameserver 198.18.0.1\nnameserver\nnameserver x\nnameserver 0.0.0.0\n", ()),
        (
            "nameserver 198.18.0.1\nnameserver 198.18.0.1\nnameserver fd00::1",
            ("198.18.0.1", "fd00::1"),
        ),
        (
            "".join(f"nameserver 198.18.0.{n}\n" for n in range(1, 9)),
            ("198.18.0.1", "198.18.0.2", "198.18.0.3"),
        ),
    ],
)
def test_the_nodes_servers_are_read_but_never_ourselves(text: str, found: tuple[str, ...]) -> None:
    assert host_servers(text, (OWN,)) == found


# ------------------------------------------------------------ any bytes


@st.composite
def nearly_questions(draw: st.DrawFn) -> bytes:
    """Return a question with some bytes changed, cut or added."""
    wire = bytearray(
        question(
            draw(st.sampled_from(["web", "many", "x.y", "hafen.internal"])),
            payload=draw(st.sampled_from([0, 1232])),
        )
    )
    for _ in range(draw(st.integers(0, 6))):
        wire[draw(st.integers(0, len(wire) - 1))] = draw(st.integers(0, 255))
    return bytes(wire[: draw(st.integers(0, len(wire)))] if draw(st.booleans()) else wire) + draw(
        st.binary(max_size=20)
    )


@given(
    st.binary(max_size=200) | nearly_questions(),
    st.sampled_from([ASKER, SHUT, OWN, STRANGER]),
    st.booleans(),
)
def test_any_bytes_get_a_well_formed_answer_or_silence(
    wire: bytes,
    address: str,
    tcp: bool,  # noqa: FBT001 - Hypothesis gives it
) -> None:
    found = decided(wire, address, tcp=tcp)
    if isinstance(found, Forward):
        assert found.servers
        return
    if found.wire is None:
        assert len(wire) < 12 or wire[2] & 0x80
        return
    message = dns.message.from_wire(found.wire)
    assert message.id == int.from_bytes(wire[:2], "big")
    assert message.flags & dns.flags.QR
    assert tcp or len(found.wire) <= UDP_BYTES_MAX
    assert decided(found.wire, address) == Reply(None, "malformed")


@given(
    st.sampled_from([0, 600, 1232, 4096]),
    st.integers(0, 20),
    st.sampled_from(["many", "tasks.many.shop"]),
)
def test_no_answer_is_larger_than_who_asks_can_take(payload: int, turn: int, name: str) -> None:
    found = decided(question(name, payload=payload), turn=turn)
    assert isinstance(found, Reply)
    assert found.wire is not None
    assert len(found.wire) <= min(max(payload, 512), UDP_BYTES_MAX)
