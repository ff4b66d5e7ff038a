"""What `nft -j list table` says, as what the kernel has.

Pure. Rules are known by their comments: a rule that somebody else wrote has none of ours.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

import msgspec

from node_agent.balance.table import MAPS, SETS, Found, frame_line

UNREADABLE: Final = Found(frame=frozenset({"unreadable"}))
# A host without /etc/protocols gets the numbers.
_PROTOCOLS: Final[Mapping[object, str]] = {6: "tcp", 17: "udp"}


class _Chain(msgspec.Struct, frozen=True):
    name: str
    type: str = ""
    hook: str = ""
    prio: int = 0


class _Rule(msgspec.Struct, frozen=True):
    chain: str
    comment: str = ""


class _Goto(msgspec.Struct, frozen=True):
    target: str


class _Verdict(msgspec.Struct, frozen=True):
    goto: _Goto | None = None


class _Concat(msgspec.Struct, frozen=True):
    concat: tuple[str | int, ...]


_Key = str | int | _Concat


class _Map(msgspec.Struct, frozen=True):
    name: str
    type: str | tuple[str, ...]
    elem: tuple[tuple[_Key, _Verdict], ...] = ()


class _Set(msgspec.Struct, frozen=True):
    name: str
    type: str | tuple[str, ...]
    elem: tuple[_Key, ...] = ()


class _Item(msgspec.Struct, frozen=True):
    chain: _Chain | None = None
    rule: _Rule | None = None
    map: _Map | None = None
    set: _Set | None = None


class _Listing(msgspec.Struct, frozen=True):
    nftables: tuple[_Item, ...]


_DECODER: Final = msgspec.json.Decoder(_Listing)


def found_in(text: str | bytes) -> Found:
    """Return what the kernel has, from the JSON of `nft`.

    What is not of a kind that we make is `UNREADABLE`: then the whole table is made new.
    """
    try:
        items = _DECODER.decode(text).nftables
    except msgspec.DecodeError:
        return UNREADABLE
    marks: dict[str, list[str]] = defaultdict(list)
    for item in items:
        if item.rule is not None:
            marks[item.rule.chain].append(item.rule.comment)
    chains = [item.chain for item in items if item.chain is not None]
    maps = [item.map for item in items if item.map is not None]
    sets = [item.set for item in items if item.set is not None]
    return Found(
        frame=frozenset(
            (
                *(
                    frame_line(one.name, f"{one.type} {one.hook} {one.prio}", marks[one.name])
                    for one in chains
                    if one.hook
                ),
                *(f"{one.name} {_type(one.type)}" for one in maps),
                *(f"{one.name} {_type(one.type)}" for one in sets),
            )
        ),
        chains={one.name: tuple(marks[one.name]) for one in chains if not one.hook},
        maps={
            one.name: {
                _key(key): verdict.goto.target if verdict.goto else "" for key, verdict in one.elem
            }
            for one in maps
            if one.name in MAPS
        },
        sets={
            one.name: frozenset(_key(key) for key in one.elem) for one in sets if one.name in SETS
        },
    )


def _type(type_: str | tuple[str, ...]) -> str:
    return type_ if isinstance(type_, str) else " . ".join(type_)


def _key(key: _Key) -> str:
    if not isinstance(key, _Concat):
        return str(key)
    *first, port = key.concat
    return " . ".join((*(_PROTOCOLS.get(part, str(part)) for part in first), str(port)))
