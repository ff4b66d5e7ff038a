"""Who may talk to whom on this node, as the sets and chains of an nftables table.

Pure. `rules` writes them down for nft. What changes with the cluster is in sets and maps, so that
one more container is one more element; there is one pair of chains for each combination of networks
that a container of this node is on, whoever its members are.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

import msgspec

from node_agent.network import cluster as clusters
from node_agent.network.addresses import six_net_of, six_of
from node_agent.network.cluster import Cluster, Local, networks_of
from node_agent.network.parts import Member
from shared.model import AllocId
from shared.subnets import gateway_of

_NAME_MAX: Final = 40
_HASH_BYTES: Final = 4
_NOT_A_NAME: Final = re.compile(r"[^A-Za-z0-9_]")

V4: Final = "ipv4_addr"
V6: Final = "ipv6_addr"
PORT: Final = "inet_service"


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """What of the rules is the same as long as the node's settings are.

    Attributes:
        address: this node's own.
        vxlan_port: 0: no VXLAN; else all traffic between nodes' containers takes it.
        host_ports: "tcp" or "udp" -> what containers reach at nodes' addresses besides.
    """

    pool: str
    subnet: str
    address: str = ""
    pool6: str = ""
    vxlan_port: int = 0
    host_ports: Mapping[str, tuple[int, ...]] = {}


class Elements(msgspec.Struct, frozen=True):
    """A set: what kind it holds, and what is in it."""

    kind: str
    items: frozenset[str] = frozenset()
    is_interval: bool = False


class Ruleset(msgspec.Struct, frozen=True, kw_only=True):
    """The whole table.

    Attributes:
        sets: by name.
        maps: by name; kind, and address -> the chain that judges it.
        chains: those of combinations, by name, with their rules.
    """

    frame: Frame
    sets: Mapping[str, Elements]
    maps: Mapping[str, tuple[str, Mapping[str, str]]]
    chains: Mapping[str, tuple[str, ...]]


class Own(msgspec.Struct, frozen=True, kw_only=True):
    """What this node's own containers make of the rules, whoever else there is.

    Attributes:
        used: the networks that they are on.
        sets, maps, chains: as in Ruleset.
    """

    used: frozenset[str]
    sets: Mapping[str, Elements]
    maps: Mapping[str, tuple[str, Mapping[str, str]]]
    chains: Mapping[str, tuple[str, ...]]


# By network, the sets of its members.
Members = Mapping[str, Mapping[str, Elements]]


def joined(frame: Frame, cluster: Cluster, own: Own, members: Members) -> Ruleset:
    """Return the table made of its parts."""
    sets = {
        "tcp_ports": _ports((*cluster.tcp, *frame.host_ports.get("tcp", ()))),
        "udp_ports": _ports((*cluster.udp, *frame.host_ports.get("udp", ()))),
        **_clusters((frame.pool, *cluster.subnets), frame),
        **_in_families("vips", cluster.vips, frame),
        **_in_families("nodes", _nodes(frame, cluster), frame),
        **own.sets,
    }
    for name in own.used:
        sets |= members[name]
    return Ruleset(frame=frame, sets=sets, maps=own.maps, chains=own.chains)


def combinations_of(locals_: Mapping[AllocId, Local]) -> frozenset[tuple[str, ...]]:
    """Return the combinations of networks that containers are on."""
    return frozenset(networks_of(each) for each in locals_.values() if each.address)


def own_of(
    frame: Frame, locals_: Mapping[AllocId, Local], shut: Mapping[tuple[str, ...], bool]
) -> Own:
    """Return what this node's containers make of the rules.

    Args:
        frame: what never changes.
        locals_: the containers.
        shut: for each combination of networks that they are on, whether it has no way out.
    """
    into, outof, ways_out = _verdicts([each for each in locals_.values() if each.address], shut)
    maps: dict[str, tuple[str, Mapping[str, str]]] = {}
    for stem, verdicts in (("into", into), ("outof", outof)):
        maps[f"{stem}4"] = (V4, verdicts)
        if frame.pool6:
            sixes = {six_of(frame.pool6, address): chain for address, chain in verdicts.items()}
            maps[f"{stem}6"] = (V6, sixes)
    return Own(
        used=frozenset(name for combo in shut for name in combo),
        sets=_in_families("open", ways_out, frame),
        maps=maps,
        chains={
            name: rules
            for combo, closed in shut.items()
            for name, rules in _chains(combo, frame, closed=closed).items()
        },
    )


def members_of(
    frame: Frame,
    members: Iterable[Member],
    locals_: Mapping[AllocId, Local],
    networks: Collection[str],
) -> dict[str, dict[str, Elements]]:
    """Return who is on each of `networks`, of all `members` that may be on one of them.

    This node knows its own containers best: `locals_`.
    """
    found: dict[str, set[str]] = {name: set() for name in networks}
    # There are few combinations of networks, and thousands of members.
    of_combo: dict[tuple[str, ...], tuple[set[str], ...]] = {}
    for member in members:
        sets = of_combo.get(member.networks)
        if sets is None:
            names = found.keys() & set(networks_of(member))
            sets = of_combo[member.networks] = tuple(found[name] for name in names)
        if sets and member.allocation not in locals_:
            for each in sets:
                each.update(member.addresses)
    for local in locals_.values():
        for name in networks_of(local) if local.address else ():
            if name in found:
                found[name].update(local.addresses)
    return {
        name: _in_families(f"net_{identifier(name)}_", addresses, frame)
        for name, addresses in found.items()
    }


def identifier(network: str) -> str:
    """Return a name for nft that people recognise and that no two networks share."""
    return f"{_NOT_A_NAME.sub('_', network)[:_NAME_MAX]}_{_digest(network)}"


def _digest(text: str) -> str:
    return hashlib.blake2s(text.encode(), digest_size=_HASH_BYTES).hexdigest()


def _verdicts(
    here: Iterable[Local], shut: Mapping[tuple[str, ...], bool]
) -> tuple[dict[str, str], dict[str, str], set[str]]:
    """Return the chains that judge what goes to and comes from each address; who has a way out."""
    into: dict[str, str] = {}
    outof: dict[str, str] = {}
    ways_out: set[str] = set()
    chains = {
        combo: (_chain("into", combo, closed=closed), _chain("outof", combo, closed=closed))
        for combo, closed in shut.items()
    }
    for local in here:
        combo = networks_of(local)
        for address in local.addresses:
            into[address], outof[address] = chains[combo]
        if not shut[combo]:
            ways_out.update(local.addresses)
    return into, outof, ways_out


def _chain(stem: str, combo: tuple[str, ...], *, closed: bool) -> str:
    return f"{stem}_{_digest(chr(0).join(combo))}_{'closed' if closed else 'open'}"


def _chains(combo: tuple[str, ...], frame: Frame, *, closed: bool) -> dict[str, tuple[str, ...]]:
    into, outof = [], []
    for name in combo:
        stem = f"net_{identifier(name)}_"
        into.append(f"ip saddr @{stem}4 accept")
        outof.append(f"ip daddr @{stem}4 return")
        if frame.pool6:
            into.append(f"ip6 saddr @{stem}6 accept")
            outof.append(f"ip6 daddr @{stem}6 return")
    return {
        _chain("into", combo, closed=closed): (*into, "drop"),
        _chain("outof", combo, closed=closed): (*outof, "drop" if closed else "goto beyond"),
    }


def _nodes(frame: Frame, cluster: Cluster) -> set[str]:
    """Return nodes' addresses and those of their bridges."""
    subnets = {site.subnet for site in cluster.sites} | {frame.subnet}
    own = {frame.address} if frame.address else set()
    return own | {site.address for site in cluster.sites} | {gateway_of(each) for each in subnets}


def _in_families(stem: str, addresses: Collection[str], frame: Frame) -> dict[str, Elements]:
    found = {f"{stem}4": Elements(V4, frozenset(addresses))}
    if frame.pool6:
        sixes = frozenset(six_of(frame.pool6, address) for address in addresses)
        found[f"{stem}6"] = Elements(V6, sixes)
    return found


def _clusters(networks: tuple[str, ...], frame: Frame) -> dict[str, Elements]:
    """Return all that containers' addresses are from, fixed ones too."""
    fours = clusters.collapsed(iter(networks))
    # nft prints a network of one address without its length.
    items = frozenset(each.removesuffix("/32") for each in fours)
    found = {"cluster4": Elements(V4, items, is_interval=True)}
    if frame.pool6:
        sixes = (six_net_of(frame.pool6, each).removesuffix("/128") for each in fours)
        found["cluster6"] = Elements(V6, frozenset(sixes), is_interval=True)
    return found


def _ports(numbers: tuple[int, ...]) -> Elements:
    return Elements(PORT, frozenset(map(str, numbers)))


def six_subnet(frame: Frame) -> str:
    """Return the IPv6 network of this node's containers; empty: none."""
    return six_net_of(frame.pool6, frame.subnet)
