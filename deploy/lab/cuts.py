"""One-way cuts: frames that the lab's switch drops, while every cable stays plugged in.

A switch port that is down is noticed at once by the kernel beside it; a frame that is lost is not.
The rules are in the switch's own network namespace and go with it.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from deploy.lab import command
from deploy.lab.plan import NETNS_ROOT, Host, Paths, Way

_TABLE: Final = "bridge hafen_lab"
_PAIRS: Final = "pairs"
# Evaluated for every frame that the switch passes from one port to another, ARP and floods too.
_RULES: Final = f"""
add table {_TABLE}
add set {_TABLE} {_PAIRS} {{ type ifname . ifname; }}
add set {_TABLE} {Way.IN} {{ type ifname; }}
add set {_TABLE} {Way.OUT} {{ type ifname; }}
add chain {_TABLE} cuts {{ type filter hook forward priority 0; policy accept; }}
flush chain {_TABLE} cuts
add rule {_TABLE} cuts iifname . oifname @{_PAIRS} drop
add rule {_TABLE} cuts oifname @{Way.IN} drop
add rule {_TABLE} cuts iifname @{Way.OUT} drop
"""


class Pair(msgspec.Struct, frozen=True):
    """Two ports, as nft prints an element of `pairs`."""

    concat: tuple[str, str]


class SetOf(msgspec.Struct, frozen=True):
    """A set with its elements, as nft prints it."""

    name: str
    elem: tuple[str | Pair, ...] = ()


class _Item(msgspec.Struct, frozen=True):
    set: SetOf | None = None


class _Listing(msgspec.Struct, frozen=True):
    nftables: tuple[_Item, ...]


async def drop_way(paths: Paths, host: Host, way: Way) -> None:
    """Drop every frame into a host, or every frame out of it."""
    await _nft(paths, f"{_RULES}add element {_TABLE} {way} {{ {host.port} }}\n")


async def drop_from(paths: Paths, host: Host, sender: Host) -> None:
    """Drop every frame that `sender` sends to `host`; the other way stays open."""
    await _nft(paths, f"{_RULES}add element {_TABLE} {_PAIRS} {{ {sender.port} . {host.port} }}\n")


async def restore(paths: Paths, host: Host) -> None:
    """Let all frames from and to a host pass again."""
    await _nft(paths, forgetting(host.port, await _sets(paths)))


async def described(paths: Paths, hosts: Sequence[Host]) -> dict[str, tuple[str, ...]]:
    """Return what is dropped on its way to or from every host, a few words each."""
    found = await _sets(paths)
    names = {host.port: host.name for host in hosts}
    return {host.name: words(host.port, names, found) for host in hosts}


def forgetting(port: str, found: Sequence[SetOf]) -> str:
    """Return the commands that remove every element that names a port. Pure."""
    lines = []
    for each in found:
        for element in each.elem:
            ports = (element,) if isinstance(element, str) else element.concat
            if port in ports:
                text = " . ".join(ports)
                lines.append(f"delete element {_TABLE} {each.name} {{ {text} }}\n")
    return "".join(lines)


def words(port: str, names: dict[str, str], found: Sequence[SetOf]) -> tuple[str, ...]:
    """Return what a port does not get or send, as a person says it. Pure."""
    said = []
    for each in found:
        for element in each.elem:
            if element == port:
                said.append(f"nothing {each.name}")
            elif isinstance(element, Pair) and element.concat[1] == port:
                said.append(f"nothing from {names.get(element.concat[0], element.concat[0])}")
    return tuple(said)


async def _sets(paths: Paths) -> tuple[SetOf, ...]:
    if not (NETNS_ROOT / paths.switch).exists():
        return ()
    out = await command.run(
        ["ip", "netns", "exec", paths.switch, "nft", "--json", "list", "ruleset"]
    )
    items = msgspec.json.decode(out, type=_Listing).nftables
    return tuple(item.set for item in items if item.set is not None)


async def _nft(paths: Paths, text: str) -> None:
    if text:
        await command.run(["ip", "netns", "exec", paths.switch, "nft", "-f", "-"], text=text)
