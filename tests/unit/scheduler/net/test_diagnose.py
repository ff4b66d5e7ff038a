"""One planted fault -> one finding, about that hop and no healthy one, in clusters of any size."""

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.net.causes import ALL_NODES
from scheduler.net.diagnose import diagnose
from scheduler.net.plan import PAIRS_ALL_NODES, NetPlan, plan
from shared.api import Level
from shared.model import NodeName
from tests.unit.scheduler.net.packets import ONE_NODE, ONE_WAY, TWO_NODES, Fault, run, scene

# Few nodes, each pair tried; and the fewest of which only some are.
COUNTS = st.sampled_from((3, 4, 5, PAIRS_ALL_NODES + 1))
ROLLS = st.integers(0, 2**32)


def name(number: int) -> NodeName:
    return NodeName(f"node-{number}")


def made(count: int, seed: int = 0) -> NetPlan:
    return plan(scene(count), random.Random(seed).randrange)  # noqa: S311 - no secret


def hop(fault: Fault) -> str:
    """Return how a person would name the place of a fault."""
    if fault.kind in ONE_WAY:
        return f"{fault.a} -> {fault.b}"
    return f"{fault.a} <-> {fault.b}" if fault.b else str(fault.a)


@given(COUNTS, ROLLS)
def test_where_nothing_is_broken_nothing_is_found(count: int, seed: int) -> None:
    assert diagnose(run(made(count, seed), name(1))) == ()


@given(st.sampled_from(ONE_NODE), COUNTS, ROLLS, st.data())
def test_a_node_that_is_broken_is_named_and_no_other(
    kind: str, count: int, seed: int, data: st.DataObject
) -> None:
    broken = data.draw(st.integers(2 if kind in {"down", "agent", "agent-port"} else 1, count))
    is_quiet = data.draw(st.booleans())
    fault = Fault(kind, name(broken), is_quiet=is_quiet)

    found = diagnose(run(made(count, seed), name(1), fault))

    assert [(one.where, one.level) for one in found] == [(hop(fault), Level.FAIL)], found


@given(st.sampled_from(TWO_NODES), COUNTS, ROLLS, st.data())
def test_a_way_that_is_broken_is_named_and_no_other(
    kind: str, count: int, seed: int, data: st.DataObject
) -> None:
    asked = made(count, seed)
    tried = sorted({(one.node, one.target) for one in asked.asked if one.node != one.target})
    a, b = data.draw(st.sampled_from(tried))
    if kind not in ONE_WAY:
        a, b = min(a, b), max(a, b)
    here = next(name(number) for number in (1, 2, 3) if name(number) not in {a, b})
    fault = Fault(kind, a, b, is_quiet=data.draw(st.booleans()))

    found = diagnose(run(asked, here, fault))

    assert [(one.where, one.level) for one in found] == [(hop(fault), Level.FAIL)], found


@given(st.sampled_from(("path", "path-both")), COUNTS, ROLLS, st.data())
def test_a_way_to_the_one_who_asks_is_named_too(
    kind: str, count: int, seed: int, data: st.DataObject
) -> None:
    asked = made(count, seed)
    tried = sorted({one.target for one in asked.asked if one.node == name(1)} - {name(1)})
    other = data.draw(st.sampled_from(tried))
    a, b = min(name(1), other), max(name(1), other)
    found = diagnose(run(asked, name(1), Fault(kind, a, b)))
    assert [finding.where for finding in found] == [f"{a} <-> {b}"], found


@given(st.data())
def test_two_faults_on_different_nodes_are_both_named(data: st.DataObject) -> None:
    kinds = st.sampled_from(("forward", "link", "dns", "gateway", "down", "mtu-node"))
    first = Fault(data.draw(kinds), name(2))
    second = Fault(data.draw(kinds), name(4))
    found = {one.where for one in diagnose(run(made(6), name(1), first, second))}
    assert {"node-2", "node-4"} <= found
    # Where both ends of a pair are broken alike, nobody can say which of them it is.
    assert found <= {"node-2", "node-4"}


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        ("down", "node-2"),
        ("route", "node-1 -> node-2"),
        ("forward", "node-1"),
        ("mtu", "node-1 <-> node-2"),
        ("gateway", "node-1 -> node-2"),
        ("path-both", "node-2"),
    ],
)
def test_two_nodes_are_enough(kind: str, where: str) -> None:
    a, b = (name(1), name(2)) if kind in {"route", "mtu", "path-both"} else (name(1), NodeName(""))
    if kind in {"down", "gateway"}:
        a = name(2)
    (found,) = diagnose(run(made(2), name(1), Fault(kind, a, b)))
    assert found.where == where


def test_the_one_who_asks_may_be_the_one_who_is_cut_off() -> None:
    faults = [Fault("path-both", name(1), name(number)) for number in (2, 3, 4)]
    (found,) = diagnose(run(made(4), name(1), *faults))
    assert (found.where, found.what) == ("node-1", "it reaches none of the 3 other nodes")


def test_a_tunnel_with_the_wrong_size_is_one_finding() -> None:
    faults = [
        Fault("mtu-containers", name(a), name(b)) for a in range(1, 5) for b in range(a + 1, 5)
    ]
    (found,) = diagnose(run(made(4), name(1), *faults))
    assert found.where == ALL_NODES
    assert "packets above 1400 bytes are lost between containers" in found.what


def test_what_no_rule_explains_is_said_all_the_same() -> None:
    found = diagnose(run(made(3), name(1), Fault("egress", name(2))))
    assert [(one.where, one.level) for one in found] == [
        ("node-1 <-> node-2", Level.WARN),
        ("node-2 <-> node-3", Level.WARN),
    ]
    assert found[0].what == "probe container-host to 198.18.0.1 fails"


def said(*faults: Fault) -> str:
    """Return what is found on three nodes: one thing."""
    (found,) = diagnose(run(made(3), name(1), *faults))
    return f"{found.where}: {found.what}"


def test_words_about_ways() -> None:
    one, two, three = name(1), name(2), name(3)
    assert said(Fault("route", two, three)) == (
        "node-2 -> node-3: route to 198.19.3.0/24 is missing on node-2"
    )
    assert said(Fault("route", two, three, is_quiet=True)) == (
        "node-2 -> node-3: containers unreachable, hosts reachable: node-2's way to 198.19.3.0/24 "
        "is broken"
    )
    assert said(Fault("path", two, three)) == (
        "node-2 -> node-3: one way only: what node-2 sends does not reach node-3; the other way "
        "works"
    )
    assert said(Fault("forward", two)).startswith("node-2: ip_forward is 0")
    assert said(Fault("firewall", two)) == (
        "node-2: a firewall of the host drops forwarded packets (policy drop in chain FORWARD in "
        "table ip filter)"
    )
    assert said(Fault("mtu", one, three)) == (
        "node-1 <-> node-3: packets above 1400 bytes are lost between hosts, and nobody says so"
    )
    assert said(Fault("rules-both", two, three)).startswith(
        "node-2 <-> node-3: containers do not reach each other"
    )
    assert said(Fault("mtu-containers", two, three)) == (
        "node-2 <-> node-3: packets above 1400 bytes are lost between containers: the tunnel needs "
        "MTU 1400"
    )


def test_tcp_that_is_lost_in_a_tunnel_is_laid_to_checksums() -> None:
    two, three = name(2), name(3)
    (found,) = diagnose(run(made(3), name(1), Fault("checksums", two, three)))
    assert found.where == "node-2 <-> node-3"
    assert found.what == (
        "TCP between containers is lost, ICMP passes: a network card likely fills in wrong "
        "checksums of what is wrapped into VXLAN"
    )
    assert found.advice == (
        "try `ethtool -K hafen.vx tx off` on node-2, node-3; if that helps, set vxlan_offload = "
        "false there"
    )


def test_where_the_kernel_fills_in_checksums_they_are_not_the_cause() -> None:
    seen = run(made(3), name(1), Fault("checksums", name(2), name(3)))
    answers = {
        node: msgspec.structs.replace(
            answer, facts=msgspec.structs.replace(answer.facts, leaves_checksums=False)
        )
        for node, answer in seen.answers.items()
    }
    found = diagnose(msgspec.structs.replace(seen, answers=answers))
    assert found
    assert not [one for one in found if "checksums" in one.what]


def test_words_about_what_is_on_a_node() -> None:
    two, three = name(2), name(3)
    assert said(Fault("dns", two)) == "node-2: DNS on node-2 does not answer its containers"
    assert said(Fault("down", three)).startswith(
        "node-3: neither its agent nor its kernel answers node-1, node-2"
    )
    assert said(Fault("agent", two)) == (
        "node-2: its kernel answers, its agent does not: it does not answer"
    )
    assert said(Fault("vip", two)) == (
        "node-2: the virtual address of shop.web, 198.19.255.1, leads nowhere there"
    )
    assert said(Fault("process", two)) == (
        "node-2: shop.web.2.a answers ICMP, but not at port 80/tcp"
    )
    assert said(Fault("peer-port", two)) == (
        "node-2: port 8472/udp does not answer, though ICMP does"
    )
    assert said(Fault("gateway", two)) == (
        "node-2: port 8080 of shop.web, port 8443 of shop.web: nothing answers there"
    )
