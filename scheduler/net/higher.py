"""What is wrong above the way itself: sizes, ports, names, virtual addresses, gateways.

Pure. Its rules run after those of `diagnose` about the way, on what these leave unexplained.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from scheduler.net.causes import Cause, between, fail, nodes_of, touches, towards, undirected
from scheduler.net.plan import Asked, Leg
from scheduler.net.seen import Pair, Seen
from shared.model import NodeName
from shared.words import listed

# The link that wraps what containers of different nodes send each other.
TUNNEL: Final = "hafen.vx"
_CHECKSUMMED: Final = frozenset({Leg.CONTAINERS_TCP, Leg.CONTAINERS_UDP, Leg.VIP})


def _mtu_hosts(seen: Seen) -> Iterator[Cause]:
    """Find hosts between which large packets vanish without a word."""
    for where, own, passing in _too_large(seen, Leg.HOSTS_MTU):
        yield Cause(
            fail(
                where,
                f"packets above {passing} bytes are lost between hosts, and nobody says so",
                f"give both ends' links an MTU of {passing}, or let ICMP type 3 code 4 pass",
            ),
            _sized(seen, own),
        )


def _mtu_containers(seen: Seen) -> Iterator[Cause]:
    """Find containers between which large packets vanish, though hosts' own do not."""
    for where, own, passing in _too_large(seen, Leg.CONTAINERS_MTU):
        yield Cause(
            fail(
                where,
                f"packets above {passing} bytes are lost between containers: the tunnel needs "
                f"MTU {passing}",
                f"set the MTU of the containers' links and of the tunnel to {passing}",
            ),
            _sized(seen, own),
        )


def _sized(seen: Seen, pairs: frozenset[Pair]) -> frozenset[int]:
    legs = {Leg.HOSTS_MTU, Leg.CONTAINERS_MTU}
    return seen.ids(lambda one: one.leg in legs and bool(undirected([one]) & pairs))


def _too_large(seen: Seen, leg: Leg) -> Iterator[tuple[str, frozenset[Pair], int]]:
    """Yield where, between whom, and how many bytes still pass."""
    lost = seen.unexplained(leg)
    for where, own in between(undirected(lost), undirected(seen.counted(leg))):
        sizes = [seen.results[one.id].mtu for one in lost if undirected([one]) <= own]
        yield where, own, min(sizes, default=0)


def _host_ports(seen: Seen) -> Iterator[Cause]:
    """Find agents' ports that a filter keeps from others."""

    def what(one: Asked) -> str:
        return f"port {one.probe.port}/{one.probe.kind} does not answer, though ICMP does"

    def advice(where: str) -> str:
        return f"let the host's firewall accept it{_filters(seen, where)}"

    for leg in (Leg.HOSTS_TCP, Leg.HOSTS_UDP):
        yield from _by_way(seen, leg, what, advice)


def _filters(seen: Seen, node: str) -> str:
    facts = seen.facts(NodeName(node.rpartition(" ")[2]))
    found = [one.where for one in facts.filters if one.hook == "input"] if facts else []
    return f": see {listed(found)}" if found else ""


def _checksums(seen: Seen) -> Iterator[Cause]:
    """Find wrapped TCP that is lost both ways without a word, while ICMP passes.

    What network cards do wrong they do with checksums; those of ICMP the kernel makes.
    """
    tried = seen.counted(Leg.CONTAINERS_TCP)
    lost = {
        (one.node, one.target): one
        for one in seen.unexplained(Leg.CONTAINERS_TCP)
        if not seen.results[one.id].why and _passes(seen, Leg.CONTAINERS, one)
    }
    both = {pair for pair in undirected(lost.values()) if {pair, pair[::-1]} <= lost.keys()}
    for where, own in between(both, undirected(tried)):
        leaving = sorted(
            name
            for name in nodes_of(own)
            if (facts := seen.facts(name)) is not None and facts.leaves_checksums
        )
        if not leaving:
            continue
        yield Cause(
            fail(
                where,
                "TCP between containers is lost, ICMP passes: a network card likely fills in "
                "wrong checksums of what is wrapped into VXLAN",
                f"try `ethtool -K {TUNNEL} tx off` on {listed(leaving)}; if that helps, set "
                "vxlan_offload = false there",
            ),
            _checksummed(seen, where, own),
        )


def _checksummed(seen: Seen, where: str, own: frozenset[Pair]) -> frozenset[int]:
    # What a node's card spoils is lost also on ways that were not tried by themselves.
    return seen.ids(
        lambda one: (
            one.leg in _CHECKSUMMED
            and (where in {one.node, *one.homes} or any(touches(one, pair) for pair in own))
        )
    )


def _passes(seen: Seen, leg: Leg, beside: Asked) -> bool:
    found = seen.one(leg, beside.node, beside.target)
    return found is not None and seen.passed(found)


def _container_ports(seen: Seen) -> Iterator[Cause]:
    """Find containers whose kernel answers and whose port does not."""

    def what(one: Asked) -> str:
        return f"{one.listener} answers ICMP, but not at port {one.probe.port}/{one.probe.kind}"

    for leg in (Leg.CONTAINERS_TCP, Leg.CONTAINERS_UDP):
        yield from _by_way(
            seen,
            leg,
            what,
            lambda _: "see whether its process listens there on all addresses, and what filters it",
        )


def _by_way(
    seen: Seen, leg: Leg, what: Callable[[Asked], str], advice: Callable[[str], str]
) -> Iterator[Cause]:
    lost = seen.unexplained(leg)
    tried = {(one.node, one.target) for one in seen.counted(leg)}
    for where, own in towards({(one.node, one.target) for one in lost}, tried):
        mine = [one for one in lost if (one.node, one.target) in own]
        why = next((seen.results[one.id].why for one in mine if seen.results[one.id].why), "")
        words = what(mine[0]) + (f" ({why})" if why else "")
        yield Cause(fail(where, words, advice(where)), _ids(mine))


def _ids(asked: Iterable[Asked]) -> frozenset[int]:
    return frozenset(one.id for one in asked)


def _names(seen: Seen) -> Iterator[Cause]:
    """Find nodes whose containers get no answer about names."""
    for one in seen.unexplained(Leg.DNS):
        result = seen.results[one.id]
        what = f"DNS on {one.node} does not answer its containers"
        if result.why:
            what = f"DNS on {one.node} at {one.probe.address}: {result.why}"
        yield Cause(
            fail(
                one.node,
                what,
                f"see its agent's log; nothing else may listen at {one.probe.address}:53",
            ),
            frozenset({one.id}),
        )


def _virtual_addresses(seen: Seen) -> Iterator[Cause]:
    """Find services whose virtual address leads nowhere, on some nodes or on all."""
    for subject, lost, tried in _subjects(seen, Leg.VIP):
        nodes = sorted(one.node for one in lost)
        address = lost[0].probe.address
        if len(lost) == len(tried) and len(lost) > 1:
            what = f"its virtual address {address} leads nowhere on any node that was tried"
            yield Cause(
                fail(subject, what, "see whether its replicas listen: `hafen why` shows them"),
                _ids(lost),
            )
            continue
        for node in nodes:
            yield Cause(
                fail(
                    node,
                    f"the virtual address of {subject}, {address}, leads nowhere there",
                    "see that node's problems in `hafen node ls`: its rules are not in force",
                ),
                _ids(one for one in lost if one.node == node),
            )


def _published(seen: Seen) -> Iterator[Cause]:
    """Find gateways that do not listen; one that lost several ports is one finding."""
    places: dict[str, tuple[list[str], frozenset[int]]] = {}
    for subject, lost, tried in _subjects(seen, Leg.PUBLISHED):
        pairs = {(one.node, one.target) for one in lost}
        for where, own in towards(pairs, {(one.node, one.target) for one in tried}):
            subjects, ids = places.get(where, ([], frozenset()))
            mine = _ids(one for one in lost if (one.node, one.target) in own) | _ids(
                # What containers are refused there too has the same cause.
                one
                for one in seen.unexplained(Leg.CONTAINER_TO_HOST)
                if (one.node, one.target) in own and one.probe.port in {p.probe.port for p in lost}
            )
            places[where] = ([*subjects, subject], ids | mine)
    for where, (subjects, ids) in places.items():
        yield Cause(
            fail(
                where,
                f"{listed(subjects)}: nothing answers there",
                "see that node's problems in `hafen node ls`: its gateway may not run, or a "
                "firewall keeps the port",
            ),
            ids,
        )


def _subjects(seen: Seen, leg: Leg) -> Iterator[tuple[str, tuple[Asked, ...], tuple[Asked, ...]]]:
    """Yield each thing that is asked for with its failures and all its probes."""
    lost, tried = seen.unexplained(leg), seen.counted(leg)
    for subject in dict.fromkeys(one.subject for one in lost):
        yield (
            subject,
            tuple(one for one in lost if one.subject == subject),
            tuple(one for one in tried if one.subject == subject),
        )


RULES: Final = (
    _mtu_hosts,
    _mtu_containers,
    _host_ports,
    _checksums,
    _container_ports,
    _names,
    _virtual_addresses,
    _published,
)
