"""What a person can delete on a host by hand, found in what the host says of itself.

Pure. Each thing knows the requests that it may carry: of clients outside, who come by the floating
address and its holder's gateway, and of the container that asks for the service by its name.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from shared.model import Record
from shared.settings import NetworkMode

OUTSIDE: Final = "outside"
INSIDE: Final = "inside"
SERVICE: Final = "web"
ASKER: Final = "asker"

RUN_DIR: Final = "/run/hafen"
# Maps and certificates are not among them: they are written anew before HAProxy reads them.
FILES: Final = (
    *(f"haproxy/{name}" for name in ("admin.sock", "master.sock", "metrics.sock", "haproxy.cfg")),
    "names/names.sock",
)
_HAPROXIES: Final = "pgrep -x haproxy"
_NAMES: Final = "pgrep -f -- '[-]m node_agent.names'"
_POLICY: Final = "nft -a list table inet hafen"
_SERVICES: Final = "nft -a list table ip hafen_services"
TUNNEL: Final = "tunnel"
# By kind: the command whose output says what there is to delete.
KINDS: Final[Mapping[str, str]] = {
    "link": "ip -br link show type veth",
    TUNNEL: "ip -br link show type vxlan",
    "bridge": "ip -br link show type bridge",
    "route": "ip -4 route show proto 72",
    "rule": f"{_POLICY}; {_SERVICES}",
    "set": f"{_POLICY}; {_SERVICES}",
    "table": "nft list tables",
    "map-element": _SERVICES,
    "address": "ip -4 -br address show dev eth0",
    "haproxy": _HAPROXIES,
    "name-server": _NAMES,
    "file": f"cd {RUN_DIR} && ls -d {' '.join(FILES)}",
}


def kinds_of(network: NetworkMode) -> tuple[str, ...]:
    """Return the kinds of things that hosts have in a network mode."""
    return tuple(kind for kind in KINDS if kind != TUNNEL or network == "vxlan")


class Thing(Record, frozen=True, kw_only=True):
    """One thing that can be deleted.

    Attributes:
        what: for a person.
        command: deletes it.
        part: whose work it does: a word of `carried`.
        to: of a link, the service whose container has it; of a route, the node it leads to.
    """

    what: str
    command: str
    part: str
    to: str = ""


class Places(Record, frozen=True, kw_only=True):
    """Where everything is at the moment.

    Attributes:
        holder: the node with the floating address.
        asker: the node with the container that asks.
        web: nodes with replicas.
        links: the name of a container's link -> its service.
        subnets: of every node -> its name.
        floating: the address.
    """

    holder: str
    asker: str
    web: frozenset[str]
    links: Mapping[str, str] = {}
    subnets: Mapping[str, str] = {}
    floating: str = ""


def things(kind: str, said: str, places: Places) -> tuple[Thing, ...]:
    """Return what of a kind can be deleted, by what the host said to the command in KINDS."""
    found = _FOUND[kind](said, places)
    return tuple(sorted(found, key=lambda thing: (thing.what, thing.command)))


def carried(thing: Thing, node: str, places: Places) -> tuple[str, ...]:
    """Return whose requests may fail while a thing is missing on a node."""
    is_asked, is_held = node == places.asker, node == places.holder
    has_web = node in places.web
    match thing.part:
        case "link":
            # A gateway sends what may be repeated to another replica; the kernel cannot.
            found = {OUTSIDE: thing.to == SERVICE, INSIDE: True}
        case "route":
            answers = has_web and thing.to == places.asker
            far = thing.to in places.web
            found = {OUTSIDE: is_held and far, INSIDE: (is_asked and far) or answers}
        case "tunnel":
            # All that is elsewhere: some replica always is.
            found = {OUTSIDE: is_held, INSIDE: is_asked or has_web}
        case "bridge":
            # It has the name server's address, and the gateway may speak to containers by it.
            found = {OUTSIDE: is_held and has_web, INSIDE: is_asked}
        case "policy":
            found = {OUTSIDE: is_held or has_web, INSIDE: is_asked or has_web}
        case "services" | "names":
            found = {INSIDE: is_asked}
        case _:
            found = {OUTSIDE: is_held}
    return tuple(path for path in (OUTSIDE, INSIDE) if found.get(path))


# ---------------------------------------------------------------- what there is


def _links(said: str, places: Places) -> Iterator[Thing]:
    for line in said.splitlines():
        name = line.split("@")[0].split()[0]
        if name in places.links:
            service = places.links[name]
            what = f"link {name} of {service}"
            yield Thing(what=what, command=f"ip link delete {name}", part="link", to=service)


def _bridges(said: str, _: Places) -> Iterator[Thing]:
    for line in said.splitlines():
        name = line.split()[0]
        yield Thing(what=f"bridge {name}", command=f"ip link delete {name}", part="bridge")


def _tunnels(said: str, _: Places) -> Iterator[Thing]:
    for line in said.splitlines():
        name = line.split()[0]
        yield Thing(what=f"tunnel {name}", command=f"ip link delete {name}", part=TUNNEL)


def _routes(said: str, places: Places) -> Iterator[Thing]:
    for line in said.splitlines():
        to, *words = line.split()
        if "via" in words and to in places.subnets:
            what = f"route to {to} of {places.subnets[to]}"
            command = f"ip route delete {to} proto 72"
            yield Thing(what=what, command=command, part="route", to=places.subnets[to])


_TABLE: Final = re.compile(r"^table (\w+ \w+)")
_BLOCK: Final = re.compile(r"^\t(chain|set|map) (\S+)")
_HANDLE: Final = re.compile(r"^\t\t(.+) # handle (\d+)$")
_ENTRY: Final = re.compile(r"([\d.]+) : goto ([^\s,]+)")


def _blocks(said: str) -> Iterator[tuple[str, str, str, list[str]]]:
    """Yield table, kind, name and lines of every chain, set and map."""
    table, lines = "", list[str]()
    for line in said.splitlines():
        if found := _TABLE.match(line):
            table = found[1]
        elif found := _BLOCK.match(line):
            lines = []
            yield table, found[1], found[2], lines
        else:
            lines.append(line)


def _rules(said: str, _: Places) -> Iterator[Thing]:
    for table, kind, name, lines in list(_blocks(said)):
        for line in lines if kind == "chain" else ():
            if found := _HANDLE.match(line):
                yield Thing(
                    what=f"rule {found[1]} of {name} in {table}",
                    command=f"nft delete rule {table} {name} handle {found[2]}",
                    part=_part(table),
                )


def _sets(said: str, _: Places) -> Iterator[Thing]:
    for table, kind, name, lines in list(_blocks(said)):
        if kind != "chain" and any("elements" in line for line in lines):
            yield Thing(
                what=f"all of {kind} {name} in {table}",
                command=f"nft flush {kind} {table} {name}",
                part=_part(table),
            )


def _tables(said: str, _: Places) -> Iterator[Thing]:
    for line in said.splitlines():
        if found := _TABLE.match(line):
            yield Thing(what=line, command=f"nft delete {line}", part=_part(found[1]))


def _elements(said: str, _: Places) -> Iterator[Thing]:
    for table, kind, name, lines in list(_blocks(said)):
        if (kind, name) == ("map", "vips"):
            text = " ".join(line.strip() for line in lines)
            for address, chain in _ENTRY.findall(text):
                yield Thing(
                    what=f"{address} of map {name}, to {chain}",
                    command=f"nft delete element {table} {name} '{{ {address} }}'",
                    part=_part(table),
                )


def _part(table: str) -> str:
    return "services" if table == "ip hafen_services" else "policy"


def _addresses(said: str, places: Places) -> Iterator[Thing]:
    for word in said.split():
        if word.partition("/")[0] == places.floating:
            command = f"ip address delete {word} dev eth0"
            yield Thing(what=f"floating address {word}", command=command, part="address")


def _haproxies(said: str, _: Places) -> Iterator[Thing]:
    for pid in said.split():
        yield Thing(what=f"process {pid} of HAProxy", command=f"kill -KILL {pid}", part="gateway")


def _name_servers(said: str, _: Places) -> Iterator[Thing]:
    for pid in said.split():
        yield Thing(what=f"name server {pid}", command=f"kill -KILL {pid}", part="names")


def _files(said: str, _: Places) -> Iterator[Thing]:
    for name in said.split():
        part = "names" if name.startswith("names") else "gateway"
        yield Thing(what=f"file {name}", command=f"rm {RUN_DIR}/{name}", part=part)


_FOUND: Final[Mapping[str, Callable[[str, Places], Iterator[Thing]]]] = {
    "link": _links,
    TUNNEL: _tunnels,
    "bridge": _bridges,
    "route": _routes,
    "rule": _rules,
    "set": _sets,
    "table": _tables,
    "map-element": _elements,
    "address": _addresses,
    "haproxy": _haproxies,
    "name-server": _name_servers,
    "file": _files,
}
