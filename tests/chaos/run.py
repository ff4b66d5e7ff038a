"""`python -m tests.chaos.run`: breaks a real lab many times and looks for two copies of one thing.

Safety: no two containers of the exclusive service ever lived at once, by their own logs. Liveness:
after everything is mended, the cluster is whole again within a bound. Writes bench/out/chaos.json
after every run; exits with 1 if one of them went wrong.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench.overlap import Overlap, Run, by_service, overlaps
from bench.rig import STACK, Rig, rig, spec_of
from shared.errors import ConvergenceError
from shared.model import Record, Want
from tests.chaos.draw import Fault, draw
from tests.chaos.inflict import arranged, inflict

NAME: Final = "chaos"
OUT: Final = Path(__file__).parents[2] / "bench" / "out" / "chaos.json"
SERVICES: Final = ("exclusive", "single", "standby")
# A boot takes 4 s, a lost majority some more, and a host that flapped is mistrusted for up to 60 s;
# on a busy machine all but the last takes several times as long.
WHOLE_S: Final = 150.0
# etcd's data alone is some 130 MB; what is left is soon full.
DISK_MIB: Final = 512


class ChaosRun(Record, frozen=True, kw_only=True):
    """One run.

    Attributes:
        lives: of the exclusive service's containers, by their logs; none: nothing is proved.
        moves: replicas that were placed anew.
        false_moves: of them, those whose host had no fault.
        whole_after_s: from the last mending; None: not within the bound.
        problem: what was missing then.
    """

    seed: int
    nodes: int
    faults: tuple[Fault, ...]
    overlaps: tuple[Overlap, ...]
    lives: tuple[Run, ...]
    moves: int
    false_moves: int
    whole_after_s: float | None
    problem: str = ""

    @property
    def is_good(self) -> bool:
        """Say whether safety and liveness held."""
        return bool(self.lives) and not self.overlaps and self.whole_after_s is not None

    def line(self) -> str:
        """Return it as one line for a person."""
        whole = "NOT WHOLE" if self.whole_after_s is None else f"whole after {self.whole_after_s} s"
        faults = "; ".join(fault.text() for fault in self.faults)
        bad = "".join(f" OVERLAP {each}" for each in self.overlaps)
        moves = f"{len(self.lives)} lives, {self.moves} moves, {self.false_moves} false"
        return f"seed {self.seed}: {faults}: {whole}, {moves}{bad} {self.problem}".rstrip()


async def one_run(rig_: Rig, seed: int) -> ChaosRun:
    """Break what the seed says, mend it, wait, judge."""
    faults = await arranged(rig_, draw(seed, rig_.lab.nodes))
    await rig_.whole(WHOLE_S)
    before = _places(rig_)
    await inflict(rig_, faults)
    mended_s = time.monotonic()
    whole_after_s, problem = None, ""
    try:
        await rig_.whole(WHOLE_S)
        whole_after_s = round(time.monotonic() - mended_s, 2)
    except ConvergenceError as error:
        problem = str(error)
    after = _places(rig_)
    broken = {fault.node for fault in faults} | {fault.sender for fault in faults}
    moved = {slot for slot, place in before.items() if after.get(slot, place) != place}
    runs = by_service(rig_.witness.runs()).get(f"{STACK}.exclusive", [])
    rig_.witness.forget()
    return ChaosRun(
        seed=seed,
        nodes=len(rig_.lab.nodes),
        faults=faults,
        overlaps=tuple(overlaps(runs)),
        lives=tuple(runs),
        moves=len(moved),
        false_moves=len({slot for slot in moved if before[slot] not in broken}),
        whole_after_s=whole_after_s,
        problem=problem,
    )


def _places(rig_: Rig) -> dict[tuple[str, int], str]:
    return {
        (each.service, each.slot): node for node, each in rig_.state.assignments(STACK, Want.RUN)
    }


async def chaos(seeds: Sequence[int], nodes: int, *, name: str = NAME) -> list[ChaosRun]:
    """Run every seed; one lab serves as long as it heals, then a new one does."""
    left, done = list(seeds), list[ChaosRun]()
    while left:
        async with rig(nodes, name, disk_mib=DISK_MIB) as one:
            await one.deploy([spec_of(kind, n) for n, kind in enumerate(SERVICES)])
            while left:
                done.append(await one_run(one, left.pop(0)))
                _say(done[-1].line())
                OUT.parent.mkdir(parents=True, exist_ok=True)
                OUT.write_bytes(msgspec.json.format(msgspec.json.encode(done)) + b"\n")
                if done[-1].whole_after_s is None:
                    break
    return done


def main(words: Sequence[str]) -> int:
    """Read the options and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.run", description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument(
        "--seed", type=int, default=1, help="of the first run; the next has one more"
    )
    parser.add_argument("--nodes", type=int, default=3)
    options = parser.parse_args(words)
    seeds = range(options.seed, options.seed + options.runs)
    done = asyncio.run(chaos(seeds, options.nodes))
    bad = [each for each in done if not each.is_good]
    false_moves = sum(each.false_moves for each in done)
    found = sum(len(each.overlaps) for each in done)
    _say(f"{len(done)} runs, {found} overlaps, {false_moves} false moves, {len(bad)} bad runs")
    return 1 if bad else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
