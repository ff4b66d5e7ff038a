"""`python -m bench.picture`: draws where the time of a median failover goes, for the docs.

Reads bench/out/failover_runs.json, writes docs/pictures/failover.png and .svg. Needs matplotlib,
which only `make bench-failover` installs.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl

from bench.phases import PHASES, median_run, phases
from bench.results import RunRecord, read

ROOT: Final = Path(__file__).parents[1]
RUNS: Final = ROOT / "bench" / "out" / "failover_runs.json"
PICTURES: Final = ROOT / "docs" / "pictures"
# Told apart also in grey and by those who see few colours; the order is that of the phases.
_COLOURS: Final = (
    *("#1b4965", "#5fa8d3", "#f4a261", "#e76f51", "#8d5a97", "#c2b5d9", "#84a98c", "#bcbcbc"),
)
# What clients ask, where it is not a living host's own address.
_WAYS: Final = {"vip": " · floating address", "holder": " · floating address of the victim"}
_BAR: Final = 0.62
# What most were measured with goes without saying.
_NODES, _RATE = 3, 150
_INCHES_WIDE: Final = 9.0
_INCHES_A_BAR: Final = 0.42


def main() -> int:
    """Draw every combination that was measured."""
    runs = read(RUNS, RunRecord)
    if not runs:
        print(f"{RUNS} has no runs: `make bench-failover` makes them", file=sys.stderr)
        return 2
    # The same figures give the same file, byte for byte.
    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "hafen"
    mpl.rcParams["svg.fonttype"] = "none"
    PICTURES.mkdir(parents=True, exist_ok=True)
    draw(by_combination(runs))
    return 0


def by_combination(runs: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Return the runs by what a person calls their combination."""
    found: dict[str, list[RunRecord]] = {}
    for run in runs:
        name = f"{run.fault} · {run.service}{_WAYS.get(run.via, '')}"
        name += f" · {run.nodes} hosts" if run.nodes != _NODES else ""
        name += f" · {run.rate}/s" if run.rate != _RATE else ""
        found.setdefault(name, []).append(run)
    return found


def draw(found: dict[str, list[RunRecord]]) -> None:
    """Draw one bar for the median run of each combination."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - after the back end is chosen

    figure = Figure(figsize=(_INCHES_WIDE, 1.6 + _INCHES_A_BAR * len(found)), layout="constrained")
    axes = figure.subplots()
    for row, (name, runs) in enumerate(found.items()):
        median = median_run(runs)
        if median is None:
            continue
        for phase in phases(median.moments):
            colour = _COLOURS[PHASES.index(phase.name)]
            axes.barh(row, phase.seconds, _BAR, left=phase.began_s, color=colour)
        answering = median.moments.answering or 0.0
        axes.annotate(f" {answering:.2f} s  (n={len(runs)})", (answering, row), va="center")
        axes.text(-0.01, row, name, ha="right", va="center", transform=axes.get_yaxis_transform())
    for number, name in enumerate(PHASES):
        axes.barh(0, 0, color=_COLOURS[number], label=name)
    axes.set_yticks([])
    axes.invert_yaxis()
    axes.margins(x=0.24)
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds since the fault, median run")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.savefig(PICTURES / "failover.png", dpi=150, metadata={"Software": None})
    figure.savefig(PICTURES / "failover.svg", metadata={"Date": None})
    print(f"docs/pictures/failover.png and .svg: {len(found)} combinations")


if __name__ == "__main__":
    sys.exit(main())
