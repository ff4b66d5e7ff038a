"""Routes, tables and what a kernel may have, drawn by Hypothesis; and a kernel that is a dict."""

from hypothesis import strategies as st

from node_agent.balance.family import Family, families
from node_agent.balance.table import Found, Table, frame_of
from shared.model import (
    Affinity,
    AllocId,
    Endpoint,
    EndpointState,
    NodeName,
    Protocol,
    PublishedPort,
    Revision,
    Routes,
    ServiceName,
    ServiceRoutes,
    StackName,
)
from shared.subnets import Pools

POOLS = Pools(pool="198.19.0.0/16", pool6="fd00:68::/96")
FOUR, SIX = families(POOLS, has_six=True)
FAMILY_OF = {one.keyword: one for one in (FOUR, SIX)}
NODES = ("node-1", "node-2", "node-3")

_ports = st.builds(
    PublishedPort,
    published=st.integers(5000, 5003),
    target=st.integers(80, 83),
    protocol=st.sampled_from(Protocol),
    is_host=st.booleans(),
)
_endpoints = st.builds(
    lambda node, last, state, slot, targets: Endpoint(
        allocation=AllocId(f"s.w.{slot}.{node}{last}"),
        node=NodeName(f"node-{node}"),
        address=f"198.19.{node}.{last}" if last else "",
        state=state,
        slot=slot,
        targets=targets,
    ),
    st.integers(1, 3),
    st.integers(0, 6),
    st.sampled_from(EndpointState),
    st.integers(0, 3),
    st.dictionaries(st.integers(5000, 5003), st.integers(80, 83), max_size=1),
)


def _service(name: str) -> st.SearchStrategy[ServiceRoutes]:
    return st.builds(
        ServiceRoutes,
        service=st.just(ServiceName(name)),
        ports=st.lists(_ports, max_size=3, unique_by=lambda one: one.published).map(tuple),
        endpoints=st.lists(_endpoints, max_size=5, unique_by=lambda one: one.address).map(tuple),
        vip=st.sampled_from(("", "198.18.200.1", "198.18.200.2", "198.18.200.3", "garbage")),
        affinity=st.sampled_from(Affinity),
    )


def _routes(name: str) -> st.SearchStrategy[tuple[Revision, Routes]]:
    services = st.tuples(_service("web"), _service("db-1"))
    return services.map(lambda found: (Revision(1), Routes(stack=StackName(name), services=found)))


all_routes = st.fixed_dictionaries({}, optional={StackName(name): _routes(name) for name in "ab"})


@st.composite
def tables(draw: st.DrawFn, family: Family) -> Table:
    """Draw any table: only what its elements lead to must be there."""
    of = family.of_container
    leading = [f"dnat to {of(address)}" for address in ("198.19.1.2", "198.19.1.3")]
    rules = st.lists(st.sampled_from(("drop", "accept", *leading)), max_size=2).map(tuple)
    chains = draw(st.dictionaries(st.sampled_from(("vip.a", "vip.b-1", "udp.5.a.b")), rules))
    targets = st.sampled_from(sorted(chains) or ["none"])
    vips = st.sampled_from([family.of_service(f"198.18.200.{last}") for last in (1, 2)])
    ports = st.sampled_from(("udp . 17", "tcp . 6"))
    own, there = of("198.19.1.2"), of("198.19.2.2")
    far = st.sampled_from((f"{there} . udp . 17", f"{there} . tcp . 6"))
    return Table(
        family=family,
        chains=chains,
        vips=draw(st.dictionaries(vips, targets, max_size=2 if chains else 0)),
        leaving=draw(st.frozensets(vips)),
        ports=draw(st.dictionaries(ports, targets, max_size=2 if chains else 0)),
        hairpin=draw(st.frozensets(st.just(f"{own} . {own}"))),
        far=draw(st.frozensets(far)),
    )


def obey(found: Found, script: str) -> Found:
    """Return what a kernel has that did what `script` says, line by line."""
    kernel = _Kernel(Found() if "\ndelete table " in script else found)
    for line in script.splitlines():
        verb, kind, keyword, _, *rest = line.split(maxsplit=5)
        match kind:
            case "map":
                kernel.maps[rest[0]] = {}
            case "set":
                kernel.sets[rest[0]] = set()
            case "chain":
                kernel.chain(keyword, verb, *rest)
            case "rule":
                kernel.rule(*rest)
            case "element":
                kernel.elements(verb, *rest)
            case _:
                assert kind == "table"
    return kernel.found


class _Kernel:
    """Refuses what nft would refuse."""

    def __init__(self, found: Found) -> None:
        self._frame = found.frame
        self._chains = {name: list(marks) for name, marks in found.chains.items()}
        self.maps = {name: dict(entries) for name, entries in found.maps.items()}
        self.sets = {name: set(members) for name, members in found.sets.items()}

    def chain(self, keyword: str, verb: str, name: str, hook: str = "") -> None:
        if hook:
            self._frame = frame_of(FAMILY_OF[keyword])
        elif verb == "add":
            assert name not in self._chains
            self._chains[name] = []
        elif verb == "flush":
            self._chains[name].clear()
        else:
            assert not self._chains.pop(name)

    def rule(self, chain: str, text: str) -> None:
        if chain in self._chains:
            self._chains[chain].append(text.rpartition(" comment ")[2].strip('"'))

    def elements(self, verb: str, name: str, text: str) -> None:
        for element in text.strip("{} ").split(", "):
            key, _, target = element.partition(" : goto ")
            if verb == "delete" and name in self.maps:
                assert self.maps[name].pop(key) == target
            elif verb == "delete":
                self.sets[name].remove(key)
            elif name in self.maps:
                assert key not in self.maps[name], "nft refuses a second element of that key"
                self.maps[name][key] = target
            else:
                self.sets[name].add(key)

    @property
    def found(self) -> Found:
        targets = {target for entries in self.maps.values() for target in entries.values()}
        assert targets <= self._chains.keys(), "an element leads to a chain that is gone"
        return Found(
            frame=self._frame,
            chains={name: tuple(marks) for name, marks in self._chains.items()},
            maps=self.maps,
            sets={name: frozenset(members) for name, members in self.sets.items()},
        )
