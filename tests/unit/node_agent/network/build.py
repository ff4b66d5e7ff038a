"""Small clusters, drawn by Hypothesis, and what nft makes of a script."""

import re
from collections.abc import Mapping

from hypothesis import strategies as st

from node_agent.network.cluster import (
    Cluster,
    Local,
    Site,
    awaited_of,
    is_closed,
    with_awaited,
)
from node_agent.network.parts import Member
from node_agent.network.policy import (
    Frame,
    Ruleset,
    combinations_of,
    joined,
    members_of,
    own_of,
)
from shared.model import AllocId, NodeName

FRAME = Frame(pool="198.19.0.0/16", subnet="198.19.1.0/24", address="198.18.0.1", pool6="fd00::/96")
NETWORKS = ("", "back", "front", "shop_default")
SITES = tuple(Site(NodeName(f"node-{n}"), f"198.18.0.{n}", f"198.19.{n}.0/24") for n in (1, 2, 3))
_ELEMENT = re.compile(r"(add|delete) element inet hafen (\S+) \{ (.*) \}")
_CHAIN = re.compile(r"(add|flush|delete) chain inet hafen (\S+)")
_RULE = re.compile(r"add rule inet hafen (\S+) (.*)")
_SET = re.compile(r"(?:add|delete) set inet hafen (\S+)")


def _networks() -> st.SearchStrategy[tuple[str, ...]]:
    some = st.sets(st.sampled_from(NETWORKS[1:]), max_size=3)
    return some.map(lambda names: tuple(sorted(names)))


@st.composite
def clusters(draw: st.DrawFn) -> tuple[Cluster, dict[AllocId, Local]]:
    """Return a cluster and the containers of its first node."""
    stacks: dict[int, list[Member]] = {}
    locals_ = {}
    for number in range(draw(st.integers(0, 6))):
        site = draw(st.sampled_from(SITES))
        address = f"{site.subnet.removesuffix('.0/24')}.{number + 2}"
        networks, id_ = draw(_networks()), AllocId(f"shop.web.{number}.a")
        fixed = draw(st.sampled_from([(), (f"198.18.20.{number}",)]))
        stack = stacks.setdefault(draw(st.integers(1, 3)), [])
        stack.append(Member(id_, site.name, (address, *fixed), networks))
        if site.name == "node-1":
            locals_[id_] = Local(address=address, fixed=fixed, networks=networks)
    closed = draw(st.dictionaries(st.sampled_from(NETWORKS[1:]), st.booleans()))
    ports = st.lists(st.integers(1, 9), unique=True, max_size=3).map(tuple)
    by_stack = tuple(map(tuple, stacks.values()))
    cluster = Cluster(
        sites=SITES, by_stack=by_stack, closed=closed, tcp=draw(ports), udp=draw(ports)
    )
    return cluster, locals_


def ruleset_of(cluster: Cluster, locals_: Mapping[AllocId, Local]) -> Ruleset:
    """Return the rules of the first node, found anew."""
    shut = {combo: is_closed(cluster, combo) for combo in combinations_of(locals_)}
    own = own_of(FRAME, locals_, shut)
    members = members_of(FRAME, cluster.members, locals_, own.used)
    return joined(FRAME, cluster, own, members)


def with_all(cluster: Cluster, here: Mapping[AllocId, Local]) -> dict[AllocId, Local]:
    """Return the first node's containers, and those that are awaited there."""
    return with_awaited(awaited_of(cluster.members, NodeName("node-1")), here)


class Kernel:
    """Follows a script of changes as nft does: what is not there cannot be deleted or named."""

    def __init__(self, there: Ruleset) -> None:
        self.sets = {name: set(each.items) for name, each in there.sets.items()}
        self.maps = {name: dict(each) for name, (_, each) in there.maps.items()}
        self.chains = {name: list(rules) for name, rules in there.chains.items()}

    def follow(self, script: str) -> None:
        for line in script.splitlines():
            self._follow(line)

    def _follow(self, line: str) -> None:
        if found := _ELEMENT.fullmatch(line):
            self._elements(found[1], found[2], found[3].split(", "))
        elif found := _RULE.fullmatch(line):
            for name in re.findall(r"@(net_\w+)", found[2]):
                assert name in self.sets
            self.chains[found[1]].append(found[2])
        elif found := _CHAIN.match(line):
            self._chain(found[1], found[2])
        elif found := _SET.match(line):
            self._set(found[1], is_new=line.startswith("add"))
        else:
            raise AssertionError(line)

    def _elements(self, verb: str, name: str, items: list[str]) -> None:
        if name in self.maps:
            for item in items:
                self._entry(verb, self.maps[name], item)
        elif verb == "add":
            self.sets[name] |= set(items)
        else:
            assert set(items) <= self.sets[name]
            self.sets[name] -= set(items)

    def _entry(self, verb: str, entries: dict[str, str], item: str) -> None:
        key, _, chain = item.partition(" : goto ")
        if verb == "delete":
            del entries[key]
        else:
            assert key not in entries
            assert chain in self.chains
            entries[key] = chain

    def _chain(self, verb: str, name: str) -> None:
        if verb == "add":
            self.chains[name] = []
        elif verb == "flush":
            self.chains[name].clear()
        else:
            assert not self.chains.pop(name)
            assert all(name not in entries.values() for entries in self.maps.values())

    def _set(self, name: str, *, is_new: bool) -> None:
        if is_new:
            self.sets[name] = set()
            return
        del self.sets[name]
        assert all(f"@{name} " not in rule for rules in self.chains.values() for rule in rules)


def passes(ruleset: Ruleset, source: str, target: str) -> bool:
    """Say whether the chains of this node let a packet between two of its addresses pass."""
    into, outof = ruleset.maps["into4"][1], ruleset.maps["outof4"][1]
    return (
        source in outof
        and target in into
        and _says(ruleset, outof[source], target, "ip daddr", "return")
        and _says(ruleset, into[target], source, "ip saddr", "accept")
    )


def _says(ruleset: Ruleset, chain: str, address: str, what: str, verdict: str) -> bool:
    for rule in ruleset.chains[chain]:
        found = re.fullmatch(rf"{what} @(\S+) {verdict}", rule)
        if found and address in ruleset.sets[found[1]].items:
            return True
    return False


def shares(one: Local | Member, other: Local | Member) -> bool:
    """Say whether two containers are on one network; those without are on a nameless one."""
    return bool(set(one.networks or ("",)) & set(other.networks or ("",)))


def at(locals_: Mapping[AllocId, Local]) -> list[tuple[str, Local]]:
    """Return every address with its container."""
    return [(address, each) for each in locals_.values() for address in each.addresses]
