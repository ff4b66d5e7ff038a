"""Records -> tables, lines and JSON; the only place that formats for people.

Pure. A table is rows of text with an alignment; who prints it decides on colours and boxes.
"""

import datetime as dt
import enum
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from shared.api import (
    AllocationView,
    ClusterView,
    Finding,
    FloatingView,
    LogEntry,
    ServiceView,
    VolumeView,
)
from shared.model import Event, Record, RolloutPhase
from shared.states import AllocState

_MINUTE_S: Final = 60
_HOUR_S: Final = 60 * _MINUTE_S
_DAY_S: Final = 24 * _HOUR_S
_STEP: Final = 1024
_GAP: Final = "  "


class Column(msgspec.Struct, frozen=True):
    """A column's title; numbers are set to the right."""

    title: str
    is_number: bool = False


class Table(msgspec.Struct, frozen=True):
    """Rows of text below titles; every row has one cell per column."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


def plain(table: Table) -> list[str]:
    """Return the table as aligned lines without colours or boxes, titles first."""
    lines = [tuple(column.title for column in table.columns), *table.rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(table.columns))]
    return [_line(table.columns, widths, line) for line in lines]


def _line(columns: Sequence[Column], widths: Sequence[int], cells: Sequence[str]) -> str:
    set_ = (
        cell.rjust(width) if column.is_number else cell.ljust(width)
        for column, width, cell in zip(columns, widths, cells, strict=True)
    )
    return _GAP.join(set_).rstrip()


def as_json(record: Record) -> str:
    """Return a record as one line of JSON with every field, defaults too: scripts rely on it."""
    return json.dumps(_tree(record), ensure_ascii=False)


def _tree(value: object) -> object:
    match value:
        case msgspec.Struct():
            return {name: _tree(getattr(value, name)) for name in value.__struct_fields__}
        case enum.Enum():
            return value.value
        case Mapping():
            return {str(key): _tree(item) for key, item in value.items()}
        case tuple():
            return [_tree(item) for item in value]
        case _:
            return value


# ---------------------------------------------------------------- single values


def age(since_s: float, now_s: float) -> str:
    """Return how long ago something was, such as "45s", "3m" or "2d"; "-" if nobody knows."""
    if since_s <= 0:
        return "-"
    # Two machines' clocks differ: what began "in the future" began just now.
    seconds = max(int(now_s - since_s), 0)
    for unit_s, letter in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "m")):
        if seconds >= unit_s:
            return f"{seconds // unit_s}{letter}"
    return f"{seconds}s"


def size(count: int) -> str:
    """Return bytes for people, such as "512 B", "64 MiB" or "1.5 GiB"."""
    if count < _STEP:
        return f"{count} B"
    amount = float(count)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        amount /= _STEP
        if amount < _STEP:
            return f"{amount:.1f}".removesuffix(".0") + f" {unit}"
    return f"{amount / _STEP:.1f}".removesuffix(".0") + " PiB"


def cpus(millis: int) -> str:
    """Return processors for people, such as "2" or "0.25"."""
    return f"{millis / 1000:.3f}".rstrip("0").rstrip(".")


def clock_time(at_s: float) -> str:
    """Return a wall-clock moment as UTC, such as "2031-05-06 07:08:09.012"."""
    moment = dt.datetime.fromtimestamp(at_s, dt.UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1000:03d}"


# ---------------------------------------------------------------- tables


def service_table(services: Iterable[ServiceView]) -> Table:
    """Return services with how many replicas are ready, and what is in the way."""
    columns = (
        Column("STACK"),
        Column("SERVICE"),
        Column("IMAGE"),
        Column("READY", is_number=True),
        Column("PORTS"),
        Column("NOTES"),
    )
    rows = tuple(
        (
            one.stack,
            one.service,
            one.image,
            f"{one.ready}/{one.replicas}",
            ", ".join(one.ports),
            "; ".join([*_extras(one), *one.waiting]),
        )
        for one in services
    )
    return Table(columns, rows)


def _extras(one: ServiceView) -> Iterable[str]:
    """Yield what a service has besides replicas: an update, standbys, a claim if exclusive."""
    if one.stopped:
        yield "stopped"
    if one.phase not in {"", RolloutPhase.DONE}:
        yield f"update {one.phase}" + (f": {one.reason}" if one.reason else "")
    if one.standby:
        yield f"standby {one.prepared}/{one.standby}"
    if one.exclusive:
        holder = f"{one.holder} holds its claim" if one.holder else "nobody holds its claim"
        yield f"exclusive: {holder}" + (f", epoch {one.epoch}" if one.epoch else "")


def allocation_table(allocations: Iterable[AllocationView], now_s: float) -> Table:
    """Return allocations with where they run and how they are."""
    columns = (
        Column("ALLOCATION"),
        Column("NODE"),
        Column("IMAGE"),
        Column("STATE"),
        Column("AGE", is_number=True),
        Column("RESTARTS", is_number=True),
        Column("ADDRESS"),
        Column("NOTES"),
    )
    rows = tuple(
        (
            one.id,
            one.node,
            one.image,
            state_of(one),
            age(one.since_s, now_s),
            str(one.restarts),
            one.address,
            "; ".join(filter(None, [f"epoch {one.epoch}" if one.epoch else "", one.reason])),
        )
        for one in allocations
    )
    return Table(columns, rows)


def state_of(one: AllocationView) -> str:
    """Return an allocation's state in one word, with its health while it runs."""
    if one.draining:
        return "draining"
    if one.standby and one.state is not AllocState.LOST:
        is_prepared = one.state is AllocState.PREPARING and one.address
        return "standby" if is_prepared else f"standby {one.state}"
    return one.health.value if one.state is AllocState.RUNNING else one.state.value


# ---------------------------------------------------------------- lines


def status_lines(view: ClusterView) -> list[str]:
    """Return the cluster at a glance."""
    ready = sum(node.state == "ready" for node in view.nodes)
    return [
        f"etcd      {etcd_line(view)}",
        f"leader    {leader_line(view)}",
        f"nodes     {ready} of {len(view.nodes)} ready",
        f"stacks    {view.stacks}",
        f"replicas  {view.replicas_ready} of {view.replicas_wanted} ready",
    ]


def outage_lines(outages: Sequence[str]) -> list[str]:
    """Return what does not work, one line each, below a title."""
    return ["Not working now:", *(f"- {outage}" for outage in outages)]


def leader_line(view: ClusterView) -> str:
    """Return which scheduler leads, as far as anybody can know while etcd is away."""
    if not view.leader:
        return f"nobody leads since {view.leaderless_s:.0f} s"
    return view.leader if view.etcd_reachable else f"{view.leader}, when etcd last answered"


def etcd_line(view: ClusterView) -> str:
    """Return how etcd is, member by member where one is not well, and what that means."""
    bad = [f"{one.endpoint}: {one.problem}" for one in view.members if one.problem]
    leader = next((one.endpoint for one in view.members if one.leader), "")
    answering = sum(one.answers for one in view.members)
    counts = [f"{answering} of {len(view.members)} members answer"] if view.members else []
    if view.etcd_reachable:
        leads = [f"{leader} leads"] if leader else []
        return "; ".join(["reachable", *counts, *leads, *bad])
    # Who led is as old as the picture: the answers that count are those of who is left.
    picture = f"what follows is as of {view.age_s:.0f} s ago"
    return "; ".join(["NOT REACHABLE", *(counts if bad else []), *bad, picture])


def volume_table(volumes: Iterable[VolumeView]) -> Table:
    """Return named volumes with where their data is and who uses it."""
    columns = (
        Column("VOLUME"),
        Column("NODE"),
        Column("STACK"),
        Column("USED BY"),
        Column("NOTES"),
    )
    rows = tuple(
        (
            one.name,
            one.node,
            one.stack or "-",
            ", ".join(one.used_by) or "-",
            "; ".join(filter(None, ["leaving" if one.is_leaving else "", one.problem])),
        )
        for one in volumes
    )
    return Table(columns, rows)


def floating_table(addresses: Iterable[FloatingView], now_s: float) -> Table:
    """Return floating addresses with who answers them."""
    columns = (
        Column("ADDRESS"),
        Column("HOLDER"),
        Column("SINCE"),
        Column("ELIGIBLE"),
        Column("PROBLEM"),
    )
    rows = tuple(
        (
            f"{one.address}/{one.prefix_length}" if one.prefix_length else one.address,
            one.holder or "-",
            age(one.since_s, now_s) if one.holder else "-",
            ", ".join(one.eligible) or "-",
            one.problem or "-",
        )
        for one in addresses
    )
    return Table(columns, rows)


def finding_table(findings: Iterable[Finding]) -> Table:
    """Return what `hafen doctor` found."""
    columns = (Column("LEVEL"), Column("WHERE"), Column("WHAT"), Column("WHAT TO DO"))
    rows = tuple((one.level.value, one.where, one.what, one.advice) for one in findings)
    return Table(columns, rows)


def remaining_message(stack: str, timeout_s: float, services: Sequence[str]) -> str:
    """Return what a person reads when a removed stack is not gone in time."""
    left = f"; still there: {', '.join(services)}" if services else ""
    return (
        f"{stack} is not gone after {timeout_s:g} s{left}\n"
        f"The removal is stored and hafen keeps at it; `hafen ps {stack}` shows what is left."
    )


def event_line(event: Event) -> str:
    """Return one sentence of the cluster's story with its time (UTC)."""
    return f"{clock_time(event.at_s)}  {event.kind:<14}  {event.subject}: {event.reason}".rstrip()


def log_line(entry: LogEntry) -> str:
    """Return one line of a container's output with whose it is."""
    service_and_slot = ".".join(entry.allocation.split(".")[1:3]) or entry.allocation
    return f"{service_and_slot} {entry.node} | {entry.text}"
