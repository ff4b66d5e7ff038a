"""What test_separation.py runs, one case a process: what comes back, and what is refused."""

import difflib
import os
import random
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from node_agent.network.fabric import Topology
from node_agent.network.node import NodeNetwork
from node_agent.network.offload import leaves_checksums
from node_agent.network.plan import BRIDGE, VXLAN
from node_agent.nftables import Nftables
from shared.errors import AddressTakenError, RuntimeFailureError
from shared.model import AllocId
from tests.contract.network_rig import SHOP, Container, Machine, Node, Rig, reaches
from tests.contract.separation_cases import MODES, all_ways, talks

_ROUNDS: Final = 6
_LINK: Final = "link show"


def busy(rig: Rig) -> list[Container]:
    """Give the rig something of everything."""
    rig.network("front", subnet="198.18.20.0/24")
    rig.network("back", internal=True)
    made = [
        rig.attach("shop.web.1.a", 1, "front"),
        rig.attach("shop.db.1.a", 1, "front", "back", fixed=("198.18.20.5",)),
        rig.attach("shop.web.2.a", 2, "front"),
        rig.attach("shop.db.2.a", 2, "back", fixed=("198.18.20.6",)),
    ]
    rig.apply()
    return made


def picture(machine: Machine) -> str:
    """Return all of a namespace that matters, without numbers that change by themselves."""
    words: list[str] = []
    for command in (
        *(f"ip -br {_LINK} type {kind}" for kind in ("bridge", "veth", "vxlan")),
        "ip -4 route show",
        "ip -6 route show proto 72",
        "ip neigh show nud permanent",
        "bridge fdb show",
    ):
        lines = machine.run(command).splitlines()
        # Of forwarding entries only those that lead to nodes; the kernel makes others by itself.
        words += sorted(line for line in lines if "fdb" not in command or " dst " in line)
    words += [machine.run("ip -br addr show dev eth0")]
    words += sorted(_blocks(machine.run("nft list ruleset")))
    filters = [f"net.ipv4.conf.{name}.rp_filter" for name in sorted(_links(machine))]
    words += [machine.run(f"sysctl {name}") for name in (*_SYSCTLS, *filters)]
    return "\n".join(_steady(line) for line in "\n".join(words).splitlines())


def difference(was: str, is_: str) -> str:
    return "\n".join(difflib.unified_diff(was.split("\n"), is_.split("\n"), n=0, lineterm=""))


def _blocks(ruleset: str) -> list[str]:
    """Return the sets and chains, whose order says only which came first."""
    blocks = ruleset.removeprefix("table inet hafen {\n").removesuffix("}\n")
    return [block.strip("\n") for block in blocks.split("\n\n")]


_SYSCTLS: Final = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")


def _steady(line: str) -> str:
    """Leave out what the kernel chooses: the other end's number, its own addresses, the carrier.

    A bridge without ports loses its carrier some time after it was made.
    """
    kept = (word for word in line.split() if not word.startswith("fe80:"))
    words = (word.partition("@")[0].replace("NO-CARRIER,", "") for word in kept)
    return " ".join(word for word in words if word not in _CARRIER)


_CARRIER: Final = frozenset({"linkdown", "UP", "DOWN", "UNKNOWN", "LOWERLAYERDOWN"})


_ON_LINKS: Final = (
    "ip link del {}",
    "ip link set {} down",
    "ip addr flush dev {}",
    "ip link set {} mtu 1280",
    "ip neigh flush dev {} nud permanent",
)


_INSIDE: Final = (
    "ip route del default",
    "ip -6 route del default",
    "ip addr flush dev eth0 scope global",
    "ip link set eth0 down",
    "ip link del eth0",
    "ip link set eth0 address 02:00:00:00:00:01",
)


def breakable(node: Node, containers: list[Container]) -> list[list[tuple[Machine, str]]]:
    """Return every command that breaks something, by kind."""
    there = node.run(f"ip -br {_LINK}")
    names = [name for name in (BRIDGE, VXLAN, *_links(node)) if name in there]
    routes = [
        f"ip -{family} route del {line.split()[0]} proto 72"
        for family in (4, 6)
        for line in node.run(f"ip -{family} route show proto 72").splitlines()
    ]
    filters = [f"net.ipv4.conf.{name}.rp_filter" for name in _links(node)]
    return [
        [(node, command.format(name)) for name in names for command in _ON_LINKS],
        [(node, command) for command in routes],
        [(node, f"sysctl -q -w {name}=0") for name in (*_SYSCTLS, *filters)],
        [(node, f"nft {command}") for command in _on_rules(node)],
        [(each, command) for each in containers for command in _INSIDE],
    ]


def _on_rules(node: Node) -> Iterator[str]:
    yield "flush ruleset"
    yield "delete table inet hafen"
    yield "insert rule inet hafen forward accept"
    yield "add element inet hafen open4 { 198.18.0.250 }"
    for line in node.run("nft list table inet hafen").splitlines():
        kind, _, name = line.strip().rstrip(" {").partition(" ")
        if kind in {"chain", "set", "map"}:
            yield f"flush {kind} inet hafen {name}"


def _links(node: Machine) -> list[str]:
    found = node.run(f"ip -br {_LINK} type veth").split("\n")
    return [line.split("@")[0].split()[0] for line in found if line.startswith("h")]


def whatever_is_deleted_by_hand_is_back_after_the_next_pass(rig: Rig) -> None:
    containers = busy(rig)
    machines: list[Machine] = [*rig.nodes, *containers]
    before = [picture(each) for each in machines]
    seed = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
    rng = random.Random(seed)  # noqa: S311 - a test
    for _ in range(_ROUNDS):
        node = rng.choice(rig.nodes)
        here = [each for each in containers if each.node is node]
        kinds = rng.sample(breakable(node, here), rng.randint(1, 3))
        broken = [rng.choice(each) for each in kinds]
        for machine, command in broken:
            machine.try_run(command)
        rig.apply()
        for machine, was in zip(machines, before, strict=True):
            changed = difference(was, picture(machine))
            assert not changed, f"SEED={seed} {[c for _, c in broken]}\n{changed}"
    one, near, far, _ = containers
    assert talks(one, near) == all_ways(near)
    assert talks(one, far) == all_ways(far)


def a_pass_that_need_not_look_does_nothing_until_something_else_is_wanted(rig: Rig) -> None:
    busy(rig)
    here, far = rig.nodes
    before = here.run("ip route show proto 72")
    here.run("ip route flush proto 72")
    assert here.apply(rig.topology(), looks=False).acked == {SHOP: rig.revision}
    assert here.run("ip route show proto 72") == ""
    rig.attach("shop.web.3.a", 2, "front", fixed=("198.18.20.7",))
    here.apply(rig.topology(), looks=False)
    assert before.splitlines() == [
        line for line in here.run("ip route show proto 72").splitlines() if "20.7" not in line
    ]
    far.apply(rig.topology())


def whatever_a_container_lost_is_back(rig: Rig) -> None:
    one, *_ = busy(rig)
    before = picture(one)
    for command in _INSIDE:
        one.run(command)
        rig.apply()
        changed = difference(before, picture(one))
        assert not changed, f"{command}\n{changed}"
    one.run("ip route replace default via 198.19.1.99 dev eth0 onlink")
    rig.apply()
    assert "198.19.1.99" in one.run("ip route show default")  # its own doing


def a_new_agent_without_etcd_leaves_everything_as_it_is(rig: Rig) -> None:
    one, _, far, _ = busy(rig)
    before = [picture(each) for each in rig.nodes]
    for node in rig.nodes:
        node.move(node.address)
        node.set_up()
    for node, was in zip(rig.nodes, before, strict=True):
        changed = difference(was, picture(node))
        assert not changed, changed
    assert talks(one, far) == all_ways(far)


def a_member_that_comes_is_an_element_and_no_rule_is_written_anew(rig: Rig) -> None:
    busy(rig)
    here, far = rig.nodes
    before = handles(here)
    rig.attach("shop.web.3.a", 2, "front")
    here.apply(rig.topology())
    assert handles(here) == before
    assert "198.19.2.4" in here.run("nft list table inet hafen")
    far.apply(rig.topology())


def handles(node: Node) -> list[str]:
    text = node.run("nft -a list table inet hafen").splitlines()
    return [line for line in text if "# handle" in line]


def an_address_that_another_still_has_is_refused_by_name(rig: Rig) -> None:
    (node, *_) = rig.nodes
    first = rig.attach("shop.web.1.a", 1, "front", address="198.19.1.77", fixed=("198.18.20.5",))
    assert first.address == "198.19.1.77"
    for said in ({"address": "198.19.1.77"}, {"fixed": ("198.18.20.5",)}):
        with pytest.raises(AddressTakenError) as refused:
            rig.attach("shop.web.2.a", 1, "front", **said)
        assert "is still that of shop.web.1.a on node-1" in str(refused.value)
    with pytest.raises(RuntimeFailureError) as strange:
        rig.attach("shop.web.2.a", 1, "front", address="198.19.2.9")
    assert "198.19.2.9 is none of 198.19.1.0/24" in str(strange.value)
    node.does(lambda: node.network.detach(AllocId("shop.web.1.a")))
    rig.containers.clear()
    assert rig.attach("shop.web.2.a", 1, "front", address="198.19.1.77").address == "198.19.1.77"


def a_fixed_address_moves_to_who_takes_over_the_slot(rig: Rig) -> None:
    rig.network("front", subnet="198.18.20.0/24")
    web, standby = rig.attach("shop.web.1.a", 2, "front"), rig.attach("shop.db.1.b", 1, "front")
    rig.apply()
    standby.asked = msgspec.structs.replace(standby.asked, fixed=("198.18.20.5",))
    rig.apply()
    assert reaches(web, standby, "198.18.20.5") == web.address


def host_mode_is_the_nodes_own_and_none_is_loopback(rig: Rig) -> None:
    (node, *_) = rig.nodes
    own = rig.attach("shop.mon.1.a", 1, mode="host", address="198.19.1.9")
    assert (own.address, str(own.pin)) == (node.address, ".")
    alone = rig.attach("shop.job.1.a", 1, mode="none")
    assert alone.address == ""
    assert alone.run("ip -br link").split()[:2] == ["lo", "UNKNOWN"]
    assert alone.run("ip -br link").count("\n") == 1
    rig.containers.clear()
    rig.apply()


def a_route_of_somebody_else_is_left_alone_and_told(rig: Rig) -> None:
    busy(rig)
    here, _ = rig.nodes
    here.run("ip route flush proto 72")
    here.run("ip route add 198.19.2.0/24 via 198.18.0.9")
    status = here.apply(rig.topology())
    (problem,) = status.problems
    assert problem == (
        "the route to 198.19.2.0/24 via 198.18.0.9 dev eth0 is not hafen's and takes traffic for"
        " containers in 198.19.2.0/24: remove it, or give the cluster another pool"
    )
    assert status.acked == {}
    assert "via 198.18.0.9" in here.run("ip route show 198.19.2.0/24")
    here.run("ip route del 198.19.2.0/24")
    rig.apply()


def rules_that_the_kernel_does_not_have_are_not_acknowledged(rig: Rig) -> None:
    busy(rig)
    here, _ = rig.nodes
    path = os.environ["PATH"]
    rig.revision = 2
    rig.attach("shop.new.1.a", 2, "front")
    os.environ["PATH"] = str(rig.folder)
    (rig.folder / "nft").write_text("#!/bin/sh\necho no such thing >&2\nexit 1\n")
    (rig.folder / "nft").chmod(0o755)
    status = here.apply(rig.topology())
    assert status.acked == {SHOP: 1}
    assert status.problems == ("nft refused the rules of table hafen: no such thing",)
    os.environ["PATH"] = path
    rig.apply()


def a_disk_that_takes_nothing_is_told_and_the_rules_are_made(rig: Rig) -> None:
    busy(rig)
    here, far = rig.nodes
    (here.settings.run_dir / "network.cluster").unlink()
    (here.settings.run_dir / "network.cluster").mkdir()
    rig.revision = 2
    one, new = rig.containers[0], rig.attach("shop.web.3.a", 2, "front")
    (problem,) = here.apply(rig.topology()).problems
    assert "network.cluster, which the next agent starts with: " in problem
    assert far.apply(rig.topology()).problems == ()
    assert reaches(new, one, one.address) == new.address


def containers_of_the_bridged_layout_work_on(rig: Rig) -> None:
    """Make what an older agent made, by hand; the new one takes it over as it runs."""
    one, near, far, _ = busy(rig)
    here, _ = rig.nodes
    for each, mac in ((one, "3a:00:00:00:00:01"), (near, "3a:00:00:00:00:02")):
        each.run("ip addr flush dev eth0 scope global")
        each.run(f"ip link set eth0 address {mac}")
        each.run(f"ip addr add {each.address}/24 dev eth0")
        each.run(f"ip route add default via {here.gateway}")
        (here.settings.run_dir / "network" / each.id).write_text(each.address)
    here.run("ip route flush proto 72")
    for name in _links(here):
        here.run(f"ip link set {name} master {BRIDGE} group default")
    here.run("nft flush ruleset")
    here.run("nft add table ip hafen")
    (here.settings.run_dir / "network.cluster").unlink()
    here.move(here.address)
    here.set_up()
    rig.apply()
    assert "table ip hafen" not in here.run("nft list ruleset")
    assert "scope link" not in one.run("ip route")
    assert talks(one, near) == all_ways(near)
    assert talks(one, far) == all_ways(far)


def what_vxlan_needs_and_somebody_has_is_told(rig: Rig) -> None:
    here, _ = rig.nodes
    here.run(f"ip link del {VXLAN}")
    with here.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as taken:
        taken.bind(("0.0.0.0", here.settings.vxlan_port))
        (problem, *_) = here.apply(rig.topology()).problems
    assert problem.startswith("UDP port 4789 is taken on this node, VXLAN needs it: end what has")
    here.run(f"ip link del {VXLAN}")
    here.run(f"ip link add {VXLAN} type bridge")
    (problem, *_) = here.apply(rig.topology()).problems
    assert problem == "link hafen.vx is a bridge of somebody else: remove it"
    here.run(f"ip link del {VXLAN}")
    assert here.apply(Topology(nodes=tuple(node.spec for node in rig.nodes))).problems == ()


def checksums_are_the_kernels_own_where_a_host_says_so(rig: Rig) -> None:
    """Whoever switches offload on again, or removes the link, finds it off after the next pass."""
    one, _, far, _ = busy(rig)
    here, _ = rig.nodes
    assert [leaves(node) for node in rig.nodes] == [True, True]
    here.settings = msgspec.structs.replace(here.settings, vxlan_offload=False)
    here.network = NodeNetwork(here.settings, Nftables())
    here.set_up()
    rig.apply()
    assert [leaves(node) for node in rig.nodes] == [False, True]
    here.run(f"ip link del {VXLAN}")
    assert here.apply(rig.topology()).problems == ()
    assert [leaves(node) for node in rig.nodes] == [False, True]
    assert talks(one, far) == all_ways(far)


def leaves(node: Node) -> bool:
    """Say whether a node's card is left to fill in checksums."""
    return node.inside(lambda: leaves_checksums(VXLAN))


CASES: Final[dict[str, Callable[[Rig], None]]] = {
    case.__name__: case
    for case in (
        whatever_is_deleted_by_hand_is_back_after_the_next_pass,
        a_pass_that_need_not_look_does_nothing_until_something_else_is_wanted,
        whatever_a_container_lost_is_back,
        a_new_agent_without_etcd_leaves_everything_as_it_is,
        a_member_that_comes_is_an_element_and_no_rule_is_written_anew,
        an_address_that_another_still_has_is_refused_by_name,
        a_fixed_address_moves_to_who_takes_over_the_slot,
        host_mode_is_the_nodes_own_and_none_is_loopback,
        a_route_of_somebody_else_is_left_alone_and_told,
        rules_that_the_kernel_does_not_have_are_not_acknowledged,
        a_disk_that_takes_nothing_is_told_and_the_rules_are_made,
        containers_of_the_bridged_layout_work_on,
    )
}
VXLAN_CASES: Final[dict[str, Callable[[Rig], None]]] = {
    case.__name__: case
    for case in (
        what_vxlan_needs_and_somebody_has_is_told,
        checksums_are_the_kernels_own_where_a_host_says_so,
    )
}


if __name__ == "__main__":
    cases = {**CASES, **VXLAN_CASES}
    cases[sys.argv[1]](Rig(Path(sys.argv[3]), 2, **MODES[sys.argv[2]]))
