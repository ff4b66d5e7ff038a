"""The nftables table of services: what is in it, and the script that takes it from one to another.

There is one of each family that the node balances in, by the same name.

Pure. Every rule carries a mark of its own text as its comment, so that what `nft -j list` says can
be compared with what is wanted without understanding how nft writes rules down again.

    prerouting, output      a virtual address, or a port of the node's own -> the service's chain
    vip.<stack>.<service>   rewrites to one of the ready endpoints, or drops where there is none
    udp.<port>.<stack>...   the same for one published port
    postrouting             endpoints whose answers would not come back this way see this node
    refuse, refuse_own      an open connection that is no longer known is reset
    untracked               what this agent sends to make a client speak, see conntrack.py
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from node_agent.balance.family import Family

NAME: Final = "hafen_services"
# On what the agent itself sends to clients: "hafe". No other table may give it a meaning.
MARK: Final = 0x68616665
# Set elements on a line of a script; keeps lines readable when one of them is refused.
_ELEMENTS_MAX: Final = 500

# By name, what their keys are; "address" stands for the family's.
MAPS: Final[Mapping[str, str]] = {"vips": "address", "ports": "inet_proto . inet_service"}
SETS: Final[Mapping[str, str]] = {
    "virtual": "address",
    "hairpin": "address . address",
    "far": "address . inet_proto . inet_service",
}


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted.

    Attributes:
        family: IPv4 or IPv6.
        chains: of services: name -> rules, without their comments.
        vips: virtual address -> chain.
        leaving: what was a virtual address until now: its clients must still be told.
        ports: "udp . 53" -> chain.
        hairpin: "A . A" of each endpoint of this node, which may be balanced to itself.
        far: "A . udp . 53" of endpoints on other nodes that this node's published ports lead to.
    """

    family: Family
    chains: Mapping[str, tuple[str, ...]] = {}
    vips: Mapping[str, str] = {}
    leaving: frozenset[str] = frozenset()
    ports: Mapping[str, str] = {}
    hairpin: frozenset[str] = frozenset()
    far: frozenset[str] = frozenset()


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel has.

    Attributes:
        frame: what base chains, maps and sets are, see `frame_of`; empty: no table at all.
        chains: of services: name -> the marks of their rules.
        maps: name -> key -> chain.
        sets: name -> elements.
    """

    frame: frozenset[str] = frozenset()
    chains: Mapping[str, tuple[str, ...]] = {}
    maps: Mapping[str, Mapping[str, str]] = {}
    sets: Mapping[str, frozenset[str]] = {}


NOTHING: Final = Found()


def found_of(table: Table) -> Found:
    """Return what the kernel has once `table` is in it."""
    return Found(
        frame=frame_of(table.family),
        chains={name: tuple(mark(rule) for rule in rules) for name, rules in table.chains.items()},
        maps=_maps(table),
        sets=_sets(table),
    )


def change(found: Found, table: Table) -> str:
    """Return the input of `nft -f -` that makes the kernel's table `table`; empty: it is already.

    One transaction. Only what differs is named, unless the frame itself does: then all is new.
    """
    if found.frame != frame_of(table.family):
        return whole(table)
    there = found_of(table)
    place = _place(table.family)
    lines = [
        *_chains(place, found.chains, table.chains, there.chains),
        *_elements(place, found, there),
        *(
            f"{verb} chain {place} {name}"
            for verb in ("flush", "delete")
            for name in sorted(found.chains.keys() - table.chains.keys())
        ),
    ]
    return "".join(f"{line}\n" for line in lines)


def whole(table: Table) -> str:
    """Return the input of `nft -f -` that makes the table new, whatever was there."""
    bare, place = found_of(Table(family=table.family)), _place(table.family)
    frame = [f"add table {place}", f"delete table {place}", *_frame(table.family)]
    return "".join(f"{line}\n" for line in frame) + change(bare, table)


def mark(rule: str) -> str:
    """Return a rule's comment."""
    return hashlib.blake2s(rule.encode(), digest_size=8).hexdigest()


def base_chains(family: Family) -> Mapping[str, tuple[str, tuple[str, ...]]]:
    """Return the chains that packets come through: name -> (hook, rules)."""
    ip, aside = family.keyword, ", ".join(family.aside)
    to_vip = f"{ip} daddr vmap @vips"
    to_port = (
        f"{ip} daddr != {{ {aside} }} fib daddr type local"
        " meta l4proto { tcp, udp } meta l4proto . th dport vmap @ports"
    )
    # A client would wait for ever on a connection whose endpoint is gone. It is told as soon as it
    # sends something, and conntrack.py sees to it that it does.
    refuse = (
        f"ct state new {ip} daddr @virtual"
        " tcp flags & (fin|syn|rst|ack) != syn reject with tcp reset"
    )
    # Its answers go to whoever asked, and would pass this node by.
    far = (
        f"ct status dnat ct original {ip} daddr != @virtual"
        f" {ip} daddr . meta l4proto . th dport @far"
        f" {f'snat to {family.inner}' if family.inner else 'masquerade'}"
    )
    return {
        "prerouting": ("nat prerouting -100", (to_vip, to_port)),
        "output": ("nat output -100", (to_vip, to_port)),
        "refuse": ("filter prerouting -101", (refuse,)),
        "refuse_own": ("filter output -101", (refuse,)),
        "untracked": ("filter output -300", (f"meta mark {MARK:#x} notrack",)),
        "postrouting": (
            "nat postrouting 100",
            (f"ct status dnat {ip} saddr . {ip} daddr @hairpin masquerade", far),
        ),
    }


def frame_of(family: Family) -> frozenset[str]:
    """Return one line for each base chain, map and set: they are made once and never change."""
    return frozenset(
        (
            *(
                frame_line(name, hook, [mark(rule) for rule in rules])
                for name, (hook, rules) in base_chains(family).items()
            ),
            *(f"{name} {_type(key, family)}" for name, key in (*MAPS.items(), *SETS.items())),
        )
    )


def frame_line(name: str, hook: str, marks: Iterable[str]) -> str:
    """Return how `frame_of` writes a base chain down."""
    return f"{name} {hook} {' '.join(marks)}"


def _place(family: Family) -> str:
    return f"{family.keyword} {NAME}"


def _type(key: str, family: Family) -> str:
    return key.replace("address", family.kind)


def _frame(family: Family) -> Iterator[str]:
    place = _place(family)
    yield f"add table {place}"
    for name, key in MAPS.items():
        yield f"add map {place} {name} {{ type {_type(key, family)} : verdict; }}"
    for name, key in SETS.items():
        yield f"add set {place} {name} {{ type {_type(key, family)}; }}"
    for name, (hook, rules) in base_chains(family).items():
        type_, where, priority = hook.split()
        yield f"add chain {place} {name} {{ type {type_} hook {where} priority {priority}; }}"
        yield from (_add(place, name, rule) for rule in rules)


def _add(place: str, chain: str, rule: str) -> str:
    return f'add rule {place} {chain} {rule} comment "{mark(rule)}"'


def _chains(
    place: str,
    before: Mapping[str, tuple[str, ...]],
    wanted: Mapping[str, tuple[str, ...]],
    marks: Mapping[str, tuple[str, ...]],
) -> Iterator[str]:
    for name, rules in sorted(wanted.items()):
        if name not in before:
            yield f"add chain {place} {name}"
        elif before[name] == marks[name]:
            continue
        else:
            yield f"flush chain {place} {name}"
        yield from (_add(place, name, rule) for rule in rules)


def _elements(place: str, before: Found, after: Found) -> Iterator[str]:
    for name, wanted in after.maps.items():
        had = before.maps.get(name, {})
        leaving = [f"{key} : goto {had[key]}" for key in had if wanted.get(key) != had[key]]
        coming = [f"{key} : goto {wanted[key]}" for key in wanted if had.get(key) != wanted[key]]
        yield from _say(place, "delete", name, leaving)
        yield from _say(place, "add", name, coming)
    for name, members in after.sets.items():
        yield from _say(place, "delete", name, before.sets.get(name, frozenset()) - members)
        yield from _say(place, "add", name, members - before.sets.get(name, frozenset()))


def _say(place: str, verb: str, name: str, elements: Iterable[str]) -> Iterator[str]:
    ordered = sorted(elements)
    for first in range(0, len(ordered), _ELEMENTS_MAX):
        some = ", ".join(ordered[first : first + _ELEMENTS_MAX])
        yield f"{verb} element {place} {name} {{ {some} }}"


def _maps(table: Table) -> Mapping[str, Mapping[str, str]]:
    return {"vips": table.vips, "ports": table.ports}


def _sets(table: Table) -> Mapping[str, frozenset[str]]:
    virtual = table.leaving.union(table.vips)
    return {"virtual": virtual, "hairpin": table.hairpin, "far": table.far}
