"""Failed probes -> findings: the broken hop, the likely cause, and what to do.

Pure. From the bottom up: nodes, the hosts' segment, kernels' settings, containers' ways, what runs
on them. A rule sees only failures that none before it has explained, so that one broken thing is
one finding.
"""

from collections.abc import Callable, Iterator
from typing import Final

from scheduler.net import higher
from scheduler.net.causes import (
    Cause,
    between,
    both,
    crosses,
    fail,
    one_way,
    takes_route,
    touches,
    towards,
    undirected,
)
from scheduler.net.plan import Asked, Leg
from scheduler.net.seen import CONTAINER_LEGS, Pair, Seen
from shared.api import Finding, Level
from shared.model import NodeName
from shared.settings import AGENT_PORT
from shared.words import listed

# Below this share of the table new connections still find room.
_TRACKED_SHARE_MAX: Final = 0.9
Rule = Callable[[Seen], Iterator[Cause]]


def diagnose(seen: Seen) -> tuple[Finding, ...]:
    """Return what is wrong; empty: every probe passed, and no kernel is set against them."""
    findings: list[Finding] = []
    for rule in _RULES:
        for cause in rule(seen):
            findings.append(cause.finding)
            seen = seen.without(cause.explains)
    return tuple(findings)


def _cut_off_here(seen: Seen) -> Iterator[Cause]:
    """Nobody but the asking node answers: then it is that node, or all others at once."""
    others = [name for name in seen.nodes if name != seen.here]
    lost = [one for one in seen.asked(Leg.HOSTS) if one.node == seen.here]
    is_alone = seen.here in seen.answers and not seen.answers.keys() - {seen.here}
    if len(others) > 1 and is_alone and lost and not any(map(seen.passed, lost)):
        yield Cause(
            fail(
                seen.here,
                f"it reaches none of the {len(others)} other nodes",
                "look at this host's cable, link and address; ask another node's scheduler "
                "with --host",
            ),
            seen.ids(lambda _: True),
        )


def _silent(seen: Seen) -> Iterator[Cause]:
    """Nodes whose agent did not answer: down as a whole, or the agent alone."""
    for node, why in sorted(seen.silent.items()):
        probes = [one for one in seen.asked(Leg.HOSTS) if one.target == node]
        reached = [one for one in probes if seen.passed(one)]
        if probes and all(one.id in seen.explained for one in probes):
            continue
        if probes and not reached:
            yield Cause(
                fail(
                    node,
                    f"neither its agent nor its kernel answers {listed(_sources(probes))}: it is "
                    "down or cut off",
                    "start the host, or look at its cable and its switch",
                ),
                _about(seen, node),
            )
            continue
        taken = [one for one in seen.asked(Leg.HOSTS_TCP) if one.target == node]
        if any(map(seen.passed, taken)) and _is_lost(seen, seen.here, node):
            continue  # the way from here to it is broken, which the next rule says
        yield Cause(
            fail(
                node,
                f"its kernel answers, its agent does not: {why}",
                f"see whether `hafen serve` runs there, and whether port {AGENT_PORT} is filtered",
            ),
            frozenset(one.id for one in taken),
        )


def _sources(probes: list[Asked]) -> list[str]:
    return sorted({str(one.node) for one in probes})


def _is_lost(seen: Seen, a: NodeName, b: NodeName) -> bool:
    probe = seen.one(Leg.HOSTS, a, b)
    return probe is not None and seen.failed(probe)


def _hosts(seen: Seen) -> Iterator[Cause]:
    """Ways between hosts that lose everything, one way or both."""
    yield from _ways(
        seen,
        Leg.HOSTS,
        "nothing that one host sends comes back from the other",
        "look at the link, the switch and the hosts' firewalls between them",
        lambda pair: seen.ids(lambda one: touches(one, pair)),
    )


def _ways(
    seen: Seen,
    leg: Leg,
    what: str,
    advice: str,
    explains: Callable[[Pair], frozenset[int]],
) -> Iterator[Cause]:
    """Yield what is broken both ways, then what is broken one way only."""
    pairs, one_sided, two_sided = undirected(seen.unexplained(leg)), set[Pair](), set[Pair]()
    for a, b in pairs:
        there, back = seen.way(leg, a, b), seen.way(leg, b, a)
        if there is False and back:
            one_sided.add((a, b))
        elif back is False and there:
            one_sided.add((b, a))
        else:
            two_sided.add((a, b))
    for where, own in between(two_sided, undirected(seen.counted(leg))):
        accounted = frozenset().union(*map(explains, own))
        yield Cause(fail(where, what, advice), accounted)
    tried = {(one.node, one.target) for one in seen.counted(leg)}
    for where, own in towards(one_sided, tried | {(b, a) for a, b in tried}):
        subject = _one_way_words(where, own)
        yield Cause(fail(where, subject, advice), frozenset().union(*map(explains, own)))


def _one_way_words(where: str, own: frozenset[Pair]) -> str:
    (source, target) = min(own)
    if len(own) == 1:
        return f"one way only: what {source} sends does not reach {target}; the other way works"
    if where == source:
        return "one way only: nothing that it sends arrives anywhere; it hears the others"
    return "one way only: nothing reaches it; what it sends arrives"


def _forwarding(seen: Seen) -> Iterator[Cause]:
    """Kernels that do not forward, or forget where to."""
    for node in seen.nodes:
        facts = seen.facts(node)
        if facts is None:
            continue
        known = {route.subnet for route in facts.routes}
        if not facts.is_forwarding:
            what = "ip_forward is 0: its kernel passes nothing on to containers or from them"
            advice = "hafen sets it every few seconds: find what sets it back (sysctl.d, another "
            advice += "tool), and set net.ipv4.ip_forward = 1"
            yield Cause(fail(node, what, advice), _crossing(seen, node))
        if facts.connections_max and (
            facts.connections > facts.connections_max * _TRACKED_SHARE_MAX
        ):
            what = f"its kernel tracks {facts.connections} of at most {facts.connections_max} "
            what += "connections: new ones are dropped"
            yield Cause(
                fail(node, what, "raise net.netfilter.nf_conntrack_max"), _crossing(seen, node)
            )
        for spec in seen.plan.scene.nodes:
            if spec.name != node and spec.subnet not in known:
                yield Cause(
                    fail(
                        one_way(node, spec.name),
                        f"route to {spec.subnet} is missing on {node}",
                        f"hafen puts it back within seconds: see {node}'s log for no_route, and "
                        "what removes it",
                    ),
                    _routed(seen, node, spec.name),
                )


def _firewalls(seen: Seen) -> Iterator[Cause]:
    """Firewalls of others, where what has to be forwarded is lost."""
    for node in seen.nodes:
        facts = seen.facts(node)
        suspects = [one for one in facts.filters if one.hook == "forward"] if facts else []
        if not suspects:
            continue
        crossing = [one for one in seen.plan.asked if crosses(one, node) and _is_forward(one)]
        sent = [one for one in crossing if one.id in seen.results]
        if not any(map(seen.is_open, sent)) or any(map(seen.passed, sent)):
            continue
        what = "; ".join(
            f"{'policy drop' if one.is_policy else 'a rule that drops'} in {one.where}"
            for one in suspects
        )
        yield Cause(
            fail(
                node,
                f"a firewall of the host drops forwarded packets ({what})",
                f"let it accept what comes from and goes to {_pool(seen)}",
            ),
            _crossing(seen, node),
        )


def _is_forward(one: Asked) -> bool:
    return one.leg in {*CONTAINER_LEGS, Leg.HOST_TO_CONTAINER, Leg.CONTAINER_TO_HOST}


def _pool(seen: Seen) -> str:
    return listed([spec.subnet for spec in seen.plan.scene.nodes])


def _links(seen: Seen) -> Iterator[Cause]:
    """Containers that do not reach even their own node."""
    for one in seen.unexplained(Leg.LINK, Leg.HOST_TO_CONTAINER):
        if one.node != one.target or not seen.is_open(one):
            continue
        sample = seen.plan.scene.samples[one.node]
        explains = _crossing(seen, one.node) | _local(seen, one.node)
        seen = seen.without(explains)
        yield Cause(
            fail(
                one.node,
                f"container {sample.id} ({sample.address}) and its own node do not reach each "
                "other",
                "its link is gone or down: `hafen restart` its service; see that nothing else "
                "changes hafen's links and rules",
            ),
            explains,
        )


def _reach_of_containers(seen: Seen) -> Iterator[Cause]:
    """Hosts that do not reach another node's containers, though they reach that node."""
    broken = seen.unexplained(Leg.HOST_TO_CONTAINER)
    tried = {(one.node, one.target) for one in seen.counted(Leg.HOST_TO_CONTAINER)}
    for node in sorted({one.target for one in broken}):
        own = [one for one in broken if one.target == node]
        out = [one for one in seen.counted(Leg.CONTAINER_TO_HOST) if one.node == node]
        sources = {pair for pair in tried if pair[1] == node and pair[0] != node}
        is_all = len(own) == len(sources) and len(own) > 1
        if (out and not any(map(seen.passed, out))) or (not out and is_all):
            yield Cause(
                fail(
                    node,
                    "it passes nothing on to its containers or from them, though others reach it",
                    "look at its firewall (nft list ruleset) and at net.ipv4.ip_forward",
                ),
                _crossing(seen, node),
            )
            continue
        for one in own:
            subnet = next(s.subnet for s in seen.plan.scene.nodes if s.name == one.target)
            yield Cause(
                fail(
                    one_way(one.node, one.target),
                    f"containers unreachable, hosts reachable: {one.node}'s way to {subnet} is "
                    "broken",
                    f"compare `ip route get` for that subnet on {one.node} with the other nodes",
                ),
                _routed(seen, one.node, one.target),
            )


def _containers(seen: Seen) -> Iterator[Cause]:
    """Containers that do not reach each other, though hosts reach them."""
    yield from _ways(
        seen,
        Leg.CONTAINERS,
        "containers do not reach each other, though the other node's host reaches them",
        "look at hafen's own rules (nft list ruleset) and at reverse path filters on both nodes",
        lambda pair: seen.ids(
            lambda one: one.leg in {*CONTAINER_LEGS, Leg.VIP} and touches(one, pair)
        ),
    )


def _rest(seen: Seen) -> Iterator[Cause]:
    """Say what no rule explains, too: a failure is never silent."""
    for one in seen.plan.asked:
        if not seen.is_open(one):
            continue
        same = _alike(seen, one)
        seen = seen.without(same)
        why = seen.results[one.id].why
        words = f"probe {one.leg} to {one.probe.address} fails" + (f": {why}" if why else "")
        finding = Finding(
            level=Level.WARN,
            where=both(one.node, one.target) if one.node != one.target else one.node,
            what=words,
            advice="no cause is known: run it again; if it stays, look with tcpdump at both ends",
        )
        yield Cause(finding, same)


def _about(seen: Seen, node: NodeName) -> frozenset[int]:
    return seen.ids(lambda one: node in {one.node, one.target} | one.homes)


def _crossing(seen: Seen, node: NodeName) -> frozenset[int]:
    return seen.ids(lambda one: crosses(one, node))


def _routed(seen: Seen, source: NodeName, target: NodeName) -> frozenset[int]:
    return seen.ids(lambda one: takes_route(one, source, target))


def _local(seen: Seen, node: NodeName) -> frozenset[int]:
    return seen.ids(lambda one: one.node == one.target == node)


def _alike(seen: Seen, than: Asked) -> frozenset[int]:
    ends = {than.node, than.target}
    return seen.ids(lambda one: one.leg is than.leg and {one.node, one.target} == ends)


_RULES: Final[tuple[Rule, ...]] = (
    _cut_off_here,
    _silent,
    _hosts,
    _forwarding,
    _links,
    _firewalls,
    _reach_of_containers,
    _containers,
    *higher.RULES,
    _rest,
)
