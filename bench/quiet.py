"""`python -m bench.quiet`: does anyone cry wolf when nothing is wrong?

A lab with one service of each kind stands for a while, quiet or with all cores busy; every
suspicion, every verdict on a node and every re-placement is then a false one, and every election of
etcd is one too many. Writes bench/out/quiet.json or busy.json.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import DEVNULL
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench import members
from bench.cluster import State
from bench.rig import KINDS, STACK, Rig, rig, spec_of
from deploy.lab.programs import Program, find
from shared import keys
from shared.model import Want

OUT: Final = Path(__file__).parent / "out"
# What follows a deploy, such as the last reports, is over well within this.
_SETTLE_S: Final = 10.0
# On every core, and then some, at the priority of any program: what a careless neighbour does.
_LOOPS_PER_CORE: Final = 2
_LOOP: Final = "import time\nend = time.monotonic() + {seconds}\nwhile time.monotonic() < end: pass"
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def ticks(one: Rig, node: str, program: Program) -> int:
    """Return the CPU time of a program of a host so far, in the kernel's ticks."""
    total = 0
    for pid in find(one.lab.paths, node, program):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total


def false_alarms(state: State, since_s: float) -> dict[str, Any]:
    """Return what was said and done about nodes that were well."""
    later = [each for each in state.seen if each.at_s >= since_s]
    suspicions = [e for e in later if e.value and e.key.startswith(keys.SUSPECTS)]
    ended = [e for e in later if e.value is None and e.key.endswith("/alive")]
    kinds = Counter(event.kind for event in state.events(since_s))
    return {
        "suspicions": len(suspicions),
        "sessions_ended": len(ended),
        "leader_changes": sum(1 for e in later if e.key == keys.LEADER and e.value),
        "writes": len(later),
        "events": dict(sorted(kinds.items())),
    }


async def busy(seconds: float) -> None:
    """Keep every core busy; the loops end by themselves, and with this."""
    script = _LOOP.format(seconds=seconds)
    loops = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdin=DEVNULL)
        for _ in range(_LOOPS_PER_CORE * (os.cpu_count() or 1))
    ]
    try:
        for loop in loops:
            await loop.wait()
    finally:
        for loop in loops:
            await members.end(loop)


async def run(minutes: float, nodes: int, *, is_busy: bool) -> dict[str, Any]:
    """Return the figures of so many minutes."""
    seconds = minutes * 60
    async with rig(nodes, "quiet") as one:
        await one.deploy([spec_of(kind, number) for number, kind in enumerate(KINDS)])
        await asyncio.sleep(_SETTLE_S)
        before = _placed(one)
        spent = {node: ticks(one, node, Program.AGENT) for node in one.lab.nodes}
        term = await members.term(one.lab)
        began_s = time.time()  # noqa: TID251 - lined up with the events of the same machine
        await (busy(seconds) if is_busy else asyncio.sleep(seconds))
        alarms = false_alarms(one.state, began_s)
        after, elections = _placed(one), await members.term(one.lab) - term
        percent = {
            node: round(
                (ticks(one, node, Program.AGENT) - spent[node]) / _TICKS_PER_S / seconds * 100, 2
            )
            for node in one.lab.nodes
        }
    return {
        "minutes": minutes,
        "nodes": nodes,
        "busy": is_busy,
        "cores": os.cpu_count(),
        **alarms,
        "etcd_elections": elections,
        "re_placements": len(after - before),
        "agent_cpu_percent": percent,
    }


def _placed(one: Rig) -> set[str]:
    return {each.id for _, each in one.state.assignments(STACK, Want.RUN)}


def main(words: Sequence[str]) -> int:
    """Read the options and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.quiet", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--busy", action="store_true")
    options = parser.parse_args(words)
    figures = asyncio.run(run(options.minutes, options.nodes, is_busy=options.busy))
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / ("busy.json" if options.busy else "quiet.json")
    path.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
