"""Whether two containers of one exclusive slot ever lived at once, read from their own logs.

Pure. The lines are those of the `tick` image, in which each container writes down the machine's
boot clock while it lives. Records play no part: what ran, ran.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

from shared.model import Record


class Run(Record, frozen=True, kw_only=True):
    """One life of a container, from its first line to its last, on the boot clock."""

    node: str
    container: str
    epoch: int
    first_s: float
    last_s: float


class Overlap(Record, frozen=True, kw_only=True):
    """Two lives of one slot that were not one after the other.

    `seconds` is how long both lived; negative: they did not meet, but the older epoch came later.
    """

    earlier: Run
    later: Run
    seconds: float


def runs(node: str, container: str, lines: Iterable[str]) -> list[Run]:
    """Return the lives in a container's log; lines that `tick` did not write do not count."""
    found: list[Run] = []
    for line in lines:
        # conmon puts time, stream and a flag in front.
        words = line.split()[3:]
        if len(words) != 3 or words[0] not in {"begin", "tick"}:
            continue
        at_s, epoch = float(words[1]), int(words[2])
        if words[0] == "begin" or not found:
            found.append(
                Run(node=node, container=container, epoch=epoch, first_s=at_s, last_s=at_s)
            )
        else:
            last = found.pop()
            found.append(
                Run(
                    node=node,
                    container=container,
                    epoch=epoch,
                    first_s=last.first_s,
                    last_s=max(last.last_s, at_s),
                )
            )
    return found


def overlaps(all_runs: Sequence[Run]) -> list[Overlap]:
    """Return every pair of lives of different containers that met, or whose epochs went back.

    Two lives of one container follow each other by the kernel's own rule.
    """
    found = []
    for one, other in combinations(sorted(all_runs, key=lambda run: run.first_s), 2):
        if (one.node, one.container) == (other.node, other.container):
            continue
        both_s = min(one.last_s, other.last_s) - other.first_s
        went_back = 0 < other.epoch < one.epoch
        if both_s > 0 or went_back:
            found.append(Overlap(earlier=one, later=other, seconds=round(both_s, 3)))
    return found


def by_service(all_runs: Iterable[Run]) -> Mapping[str, list[Run]]:
    """Return the lives by stack and service, which is by slot where a service has one replica."""
    found: dict[str, list[Run]] = {}
    for run in all_runs:
        found.setdefault(".".join(run.container.split(".")[:2]), []).append(run)
    return found
