"""What a person sees of a demo: a live picture on a terminal, lines elsewhere, tables at the end.

Pure. A `Picture` is everything that is shown; how often it changes is the caller's business.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deploy.lab.moments import Moment
from deploy.lab.story import Scene, ServiceOutcome, outcomes
from deploy.lab.tally import LoadReport, TargetReport
from deploy.lab.updates import Update, sent
from shared.api import AllocationView, NodeView
from shared.model import Health, NodeName, Record, ServiceName
from shared.states import AllocState

# Every report would bury what matters in a log.
_LOAD_LINE_PERIOD_S: Final = 2.0
_COLOURS: Final = {
    "ready": "green",
    "healthy": "green",
    "cordoned": "yellow",
    "draining": "yellow",
    "suspect": "yellow",
    "starting": "yellow",
    "lost": "red",
    "unhealthy": "red",
    "power cut": "bold red",
}


class Picture(Record, frozen=True, kw_only=True):
    """A demo at one moment.

    Attributes:
        phase: what is being done, a few words for a person.
        elapsed_s: since the demo began.
        victim: the host whose power was cut; empty: none yet.
        load: the newest report; None: no load yet.
        note: what stands in the way at the moment, one sentence; empty: nothing.
    """

    phase: str
    elapsed_s: float = 0.0
    nodes: tuple[NodeView, ...] = ()
    allocations: tuple[AllocationView, ...] = ()
    victim: NodeName = NodeName("")
    load: LoadReport | None = None
    note: str = ""


def node_state(picture: Picture, node: NodeView) -> str:
    """Return what to say of a host: what the cluster thinks, and that its power is cut if it is."""
    if node.name != picture.victim:
        return node.state
    # Until its lease ends the cluster cannot know; the picture does not pretend otherwise.
    return "power cut" if node.state == "ready" else f"power cut, {node.state}"


def allocation_state(picture: Picture, allocation: AllocationView) -> str:
    """Return an allocation's state in one word: its health once it runs."""
    if allocation.node == picture.victim:
        return "off"  # whatever the cluster still thinks: it went with its host
    if allocation.draining:
        return "draining"
    if allocation.state is AllocState.RUNNING:
        return allocation.health.value
    return allocation.state.value


def render(picture: Picture) -> RenderableType:
    """Return the whole picture for a terminal."""
    title = Text.assemble(
        (f"{picture.elapsed_s:5.1f} s  ", "dim"), (picture.phase, "bold"), overflow="ellipsis"
    )
    parts: list[RenderableType] = [title, Text(picture.note, "yellow")]
    parts += [_nodes(picture), Text()] if picture.nodes else []
    parts += [_load(picture.load)] if picture.load else []
    return Group(*parts)


def _nodes(picture: Picture) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for column in ("HOST", "STATE", "REPLICAS"):
        table.add_column(column)
    for node in picture.nodes:
        state = node_state(picture, node)
        here = [each for each in picture.allocations if each.node == node.name]
        shown = [_replica(each, allocation_state(picture, each)) for each in here]
        replicas = Text("  ").join(shown) if shown else Text("-", "dim")
        colour = _COLOURS.get(state.partition(",")[0], "")
        name = f"{node.name} (leader)" if node.leader else str(node.name)
        table.add_row(name, Text(state, colour), replicas)
    return table


def _replica(allocation: AllocationView, state: str) -> Text:
    name = f"{allocation.service}.{allocation.slot} "
    return Text.assemble(name, (state, _COLOURS.get(state, "dim")))


def _load(load: LoadReport) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("SERVICE")
    for column in ("SENT", "ANSWERED", "FAILED", "HELD", "P50 MS", "P99 MS", "MAX MS"):
        table.add_column(column, justify="right")
    for target in load.targets:
        table.add_row(
            target.name,
            str(target.sent),
            str(target.ok),
            Text(str(target.failed), "bold red" if target.failed else "green"),
            Text(str(target.held), "yellow" if target.held else "dim"),
            f"{target.window_ms.p50:.1f}",
            f"{target.window_ms.p99:.1f}",
            f"{target.latency_ms.max:.0f}",
        )
    return table


def changes(before: Picture, after: Picture) -> list[str]:
    """Return a line for each thing that is different: what is shown where there is no terminal."""
    found = [after.phase] if after.phase != before.phase else []
    found += [after.note] if after.note not in {before.note, ""} else []
    old_nodes = {node.name: node_state(before, node) for node in before.nodes}
    for node in after.nodes:
        state = node_state(after, node)
        if old_nodes.get(node.name) != state:
            found.append(f"host {node.name}: {state}")
    old = {each.id: allocation_state(before, each) for each in before.allocations}
    for each in after.allocations:
        state = allocation_state(after, each)
        if old.get(each.id) != state:
            found.append(f"{each.service}.{each.slot} on {each.node}: {state}")
    left = {each.id for each in after.allocations}
    gone = [each for each in before.allocations if each.id not in left]
    found += [f"{each.service}.{each.slot} on {each.node}: gone" for each in gone]
    return [*found, *_load_changes(before.load, after.load)]


def _load_changes(before: LoadReport | None, after: LoadReport | None) -> Iterable[str]:
    if after is None or (before is not None and not _is_news(before, after)):
        return []
    return [f"load {_load_line(target)}" for target in after.targets]


def _is_news(before: LoadReport, after: LoadReport) -> bool:
    """Say whether a report is worth a line: something failed, or the last line is a while ago."""
    failed = [sum(target.failed for target in report.targets) for report in (before, after)]
    periods = [report.at_s // _LOAD_LINE_PERIOD_S for report in (before, after)]
    return failed[0] != failed[1] or periods[0] != periods[1]


def _load_line(target: TargetReport) -> str:
    return (
        f"{target.name}: sent {target.sent}, failed {target.failed}, held {target.held}, "
        f"p99 {target.window_ms.p99:.0f} ms, max {target.latency_ms.max:.0f} ms"
    )


def ready_replicas(allocations: Iterable[AllocationView]) -> Mapping[ServiceName, int]:
    """Return how many replicas of each service take requests; a service with none is not in it."""
    return Counter(each.service for each in allocations if _takes_requests(each))


def _takes_requests(allocation: AllocationView) -> bool:
    running = allocation.state is AllocState.RUNNING and not allocation.draining
    return running and allocation.health is Health.HEALTHY


def timeline_lines(moments: Sequence[Moment]) -> list[str]:
    """Return the timeline as aligned lines."""
    lines = []
    for moment in moments:
        after = "-  " if moment.after_s is None else f"{moment.after_s:+.2f} s"
        lines.append(f"  {after:>9}  {moment.what:<10} {moment.detail}")
    return lines


def result_lines(outcomes: Sequence[ServiceOutcome]) -> list[str]:
    """Return the table per service as aligned lines."""
    head = ("SERVICE", "REPLICAS", "SENT", "FAILED", "WORST LATENCY", "FAILOVER")
    return _table([head, *(_result_row(outcome) for outcome in outcomes)])


def address_line(scene: Scene) -> str:
    """Return what became of the floating address, and of connections to who had it."""
    after_s = scene.claimed_at_s - scene.killed_at_s
    count = sum(outcome.on_holder for outcome in outcomes(scene))
    return (
        f"  {scene.address}: {scene.victim} had it, {scene.holder} claimed it after"
        f" {after_s:.2f} s; {count} requests ended with their connections to {scene.victim}"
    )


def update_lines(updates: Sequence[Update]) -> list[str]:
    """Return the table per update as aligned lines."""
    head = ("UPDATE", "SENT", "FAILED", "WORST LATENCY", "TOOK", "EXIT CODE", "THEN")
    return _table([head, *(_update_row(update) for update in updates)])


def _update_row(update: Update) -> tuple[str, ...]:
    count, failed, latency_ms = sent(update)
    ready = update.samples[-1].ready if update.samples else {}
    return (
        f"{update.service} {update.before} -> {update.version}",
        str(count),
        str(failed),
        f"{latency_ms / 1000:.2f} s",
        f"{update.took_s:.1f} s",
        str(update.exit_code),
        ", ".join(f"{each} of {version}" for version, each in sorted(ready.items())) or "none",
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  " + _aligned(row, widths) for row in rows]


def _result_row(outcome: ServiceOutcome) -> tuple[str, ...]:
    return (
        outcome.service,
        f"{outcome.ready}/{outcome.replicas}",
        str(outcome.sent),
        str(outcome.failed),
        f"{outcome.latency_ms_max / 1000:.2f} s",
        "never" if outcome.failover_s is None else f"{outcome.failover_s:.2f} s",
    )


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = row
    numbers = [text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)]
    return "  ".join([first.ljust(widths[0]), *numbers]).rstrip()
