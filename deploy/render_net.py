"""What passes between nodes, and who may talk to whom -> tables, a tree, a graph for Graphviz.

Pure.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from deploy.render import Column, Table
from shared.api import EntryView, NetCell, NetDiagnosis, NetView, ReachView, ServiceNetView
from shared.words import listed

# More columns than these no terminal has room for: then only pairs that fail are listed.
MATRIX_MAX: Final = 8
_LOST_SHOWN: Final = 2
_ADDRESSES_SHOWN: Final = 4
_NOTHING: Final = "-"


# ---------------------------------------------------------------- hafen net doctor


def pair_table(found: NetDiagnosis) -> Table:
    """Return what passes from each node to each other one; of many nodes only what does not."""
    if len(found.nodes) > MATRIX_MAX:
        return _failing(found.cells)
    cells = {(cell.source, cell.target): cell for cell in found.cells}
    columns = (Column("FROM"), *(Column(f"TO {node}") for node in found.nodes))
    rows = tuple(
        (source, *(cell_text(cells.get((source, target))) for target in found.nodes))
        for source in found.nodes
    )
    return Table(columns, rows)


def _failing(cells: Sequence[NetCell]) -> Table:
    rows = tuple(
        (cell.source, cell.target, cell_text(cell))
        for cell in cells
        if cell.lost or (cell.unknown and not cell.passed)
    )
    return Table((Column("FROM"), Column("TO"), Column("FAILS")), rows)


def cell_text(cell: NetCell | None) -> str:
    """Return "ok", what fails, "?" where nobody can tell, or "-" where nothing was tried."""
    if cell is None:
        return _NOTHING
    if "hosts" in cell.lost:
        return "hosts"  # everything else goes by them
    if cell.lost:
        telling = [one for one in cell.lost if one.partition("-")[0] not in set(cell.lost) - {one}]
        more = len(telling) - _LOST_SHOWN
        return ", ".join(telling[:_LOST_SHOWN]) + (f" +{more}" if more > 0 else "")
    if cell.unknown and not cell.passed:
        return "?"
    return "ok"


def doctor_lines(found: NetDiagnosis) -> list[str]:
    """Return how much was tried and what was not."""
    pairs = sum(cell.source != cell.target for cell in found.cells)
    nodes = "1 node" if len(found.nodes) == 1 else f"{len(found.nodes)} nodes"
    lines = [f"{found.probes} probes on {nodes}, {pairs // 2} pairs, both ways."]
    lines += [f"Not tried: {one}." for one in found.skipped]
    return lines if found.findings else [*lines, "Nothing found that is wrong."]


# ---------------------------------------------------------------- hafen net show


def of_service(view: NetView, service: str) -> NetView:
    """Return the part of the picture that is about one service, or all of a name in any stack.

    Empty where there is no such service.
    """
    mine = {
        one.service
        for one in view.services
        if service in {one.service, one.service.partition(".")[2]}
    }
    networks = tuple(
        one for one in view.networks if any(member.service in mine for member in one.members)
    )
    seen = mine | {member.service for one in networks for member in one.members}
    return NetView(
        networks=networks if mine else (),
        services=tuple(one for one in view.services if mine and one.service in seen),
        entries=tuple(one for one in view.entries if one.service in mine),
    )


class _Branch(msgspec.Struct, frozen=True):
    text: str
    leaves: tuple[str, ...] = ()


def tree_lines(view: NetView) -> list[str]:
    """Return networks with who is on them, then the ways in, as a tree."""
    lines = ["Networks"]
    lines += _drawn([_network(one) for one in view.networks]) or [f"{_NOTHING} none"]
    lines += ["", "Ways in"]
    return lines + (_drawn([_Branch(_entry(one)) for one in view.entries]) or [f"{_NOTHING} none"])


def _drawn(branches: Sequence[_Branch]) -> list[str]:
    lines: list[str] = []
    for number, branch in enumerate(branches, 1):
        is_last = number == len(branches)
        lines.append(("└─ " if is_last else "├─ ") + branch.text)
        stem = "   " if is_last else "│  "
        for leaf_number, leaf in enumerate(branch.leaves, 1):
            lines.append(stem + ("└─ " if leaf_number == len(branch.leaves) else "├─ ") + leaf)
    return lines


def _network(one: ReachView) -> _Branch:
    notes = [
        *(["internal: no way out"] if one.internal else []),
        *([one.subnet] if one.subnet else []),
    ]
    text = network_name(one.name) + (f" ({', '.join(notes)})" if notes else "")
    width = max((len(member.service) for member in one.members), default=0)
    leaves = tuple(
        f"{member.service.ljust(width)}  {_addresses(list(member.addresses.values()))}"
        + (f"  also {', '.join(member.names)}" if member.names else "")
        for member in one.members
    )
    return _Branch(text, leaves or ("nobody",))


def network_name(name: str) -> str:
    """Return how a network is called; that of all who name none has no name."""
    return name or "(all that name no network)"


def _addresses(found: Sequence[str]) -> str:
    return listed(found, _ADDRESSES_SHOWN) or "runs nowhere"


def _entry(one: EntryView) -> str:
    where = "on nodes with a replica" if one.is_host else "on every node"
    return f"{one.published}/{one.protocol} {where} -> {one.service} at {one.target}"


def service_net_table(services: Sequence[ServiceNetView]) -> Table:
    """Return each service's virtual address and what requests go to."""
    columns = (
        Column("SERVICE"),
        Column("VIRTUAL ADDRESS"),
        Column("READY", is_number=True),
        Column("NETWORKS"),
    )
    rows = tuple(
        (
            one.service,
            one.vip or _NOTHING,
            str(len(one.endpoints)),
            f"the node's own ({one.mode})"
            if one.mode == "host"
            else one.mode or ", ".join(one.networks) or _NOTHING,
        )
        for one in services
    )
    return Table(columns, rows)


def shared_table(view: NetView) -> Table:
    """Return which services share which networks: a matrix, of many services a list of pairs."""
    names = [one.service for one in view.services]
    shared = {(a, b): _shared(view, a, b) for a in names for b in names if a != b}
    if len(names) <= MATRIX_MAX:
        rows = tuple(
            (a, *("." if a == b else shared[a, b] or _NOTHING for b in names)) for a in names
        )
        return Table((Column(""), *(Column(name) for name in names)), rows)
    pairs = tuple((a, b, common) for (a, b), common in shared.items() if a < b and common)
    return Table((Column("SERVICE"), Column("REACHES"), Column("OVER")), pairs)


def _shared(view: NetView, a: str, b: str) -> str:
    both = [
        one.name or "all"
        for one in view.networks
        if {a, b} <= {member.service for member in one.members}
    ]
    return ", ".join(both)


def dot(view: NetView) -> str:
    """Return the picture as a graph in Graphviz' language, for `dot -Tsvg`."""
    return "\n".join(["graph hafen {", *(f"  {line}" for line in _dot_lines(view)), "}"])


def _dot_lines(view: NetView) -> Iterator[str]:
    yield "node [fontname=sans, fontsize=10]; edge [fontname=sans, fontsize=9];"
    yield "overlap=false;"
    for one in view.networks:
        style = "rounded,dashed" if one.internal else "rounded"
        label = network_name(one.name) + ("\ninternal" if one.internal else "")
        yield f'{_id("net", one.name)} [shape=box, style="{style}", label={_quoted(label)}];'
    for service in view.services:
        label = service.service + (f"\n{service.vip}" if service.vip else "")
        yield f"{_id('service', service.service)} [label={_quoted(label)}];"
    for network in view.networks:
        for member in network.members:
            names = ", ".join(member.names)
            ends = f"{_id('net', network.name)} -- {_id('service', member.service)}"
            yield ends + (f" [label={_quoted(names)}];" if names else ";")
    if view.entries:
        yield 'outside [shape=plaintext, label="outside"];'
    for entry in view.entries:
        label = f"{entry.published}/{entry.protocol}"
        yield f"outside -- {_id('service', entry.service)} [label={_quoted(label)}];"


def _id(kind: str, name: str) -> str:
    return _quoted(f"{kind}:{name}")


def _quoted(text: str) -> str:
    """Return a string of Graphviz' language: names are people's, and may hold anything."""
    return json.dumps(text, ensure_ascii=False)
