"""Which failed requests a deletion explains, and what is left to explain.

Pure. All times are the wall clock of the one machine that a lab runs on.
"""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from deploy.lab.tally import Outcome
from shared.model import Record

# Whatever is missing is looked for every 5 s; the rest is one pass of a host that has work to do.
LIMIT_S: Final = 10.0
# What was under way when the thing came back ends by then.
AFTER_S: Final = 0.5


class Deleted(Record, frozen=True, kw_only=True):
    """One thing that was deleted.

    Attributes:
        kind, what, node: which thing, where.
        at_s: when.
        back_after_s: until the host was as before; None: not within the limit.
        look_s: how long the look took that said so: it was as before at its end, not at its start.
        lacking: what was different then.
        carries: whose requests it may carry, see net_things.
        failed: by its path, how many requests failed meanwhile that it may have carried.
    """

    kind: str
    what: str
    node: str
    at_s: float
    back_after_s: float | None
    carries: tuple[str, ...]
    look_s: float = 0.0
    lacking: str = ""
    failed: Mapping[str, int] = {}

    @property
    def until_s(self) -> float:
        """Return when requests may fail no more."""
        back_after_s = LIMIT_S if self.back_after_s is None else self.back_after_s
        return self.at_s + back_after_s + self.look_s + AFTER_S

    def line(self) -> str:
        """Return it as one line for a person."""
        back = "NOT BACK" if self.back_after_s is None else f"back after {self.back_after_s:.2f} s"
        failed = "".join(f", {count} {path} failed" for path, count in self.failed.items())
        return f"{self.node}: {self.what}: {back}{failed} {self.lacking}".rstrip()


class Failed(Record, frozen=True, kw_only=True):
    """A request that failed."""

    path: str
    target: str
    due_s: float
    ended_s: float
    failure: str
    during: str = ""

    def line(self) -> str:
        """Return it as one line for a person."""
        took = f"after {self.ended_s - self.due_s:.2f} s"
        return f"{self.path} {self.target}: {self.failure} {took}, during: {self.during or '-'}"


class Verdict(Record, frozen=True, kw_only=True):
    """The whole run.

    Attributes:
        requests: by path.
        deleted: in order, each with the failures that it explains.
        unexplained: failures outside of every window of a thing that carries them.
    """

    seed: int
    nodes: int
    requests: Mapping[str, int]
    deleted: tuple[Deleted, ...]
    unexplained: tuple[Failed, ...]

    @property
    def is_good(self) -> bool:
        """Say whether all came back in time, and nothing failed that need not have."""
        is_back = all(each.back_after_s is not None for each in self.deleted)
        return is_back and not self.unexplained and all(self.requests.values())

    def bad(self) -> list[str]:
        """Return a line for each thing that is wrong."""
        lost = [each.line() for each in self.deleted if each.back_after_s is None]
        silent = [f"no request {path}" for path, count in self.requests.items() if not count]
        return [*lost, *(each.line() for each in self.unexplained), *silent]


def failures(path: str, outcomes: Iterable[Outcome], began_at_s: float) -> Iterator[Failed]:
    """Yield the failed requests of a load run that began at a moment of the wall clock."""
    for each in outcomes:
        if each.failure:
            yield Failed(
                path=path,
                target=each.target,
                due_s=began_at_s + each.due_s,
                ended_s=began_at_s + each.ended_s,
                failure=each.failure,
            )


def judge(
    deleted: Sequence[Deleted], failed: Iterable[Failed]
) -> tuple[tuple[Deleted, ...], tuple[Failed, ...]]:
    """Return the deletions with the failures that they explain, and the failures that none does."""
    counts: list[dict[str, int]] = [{} for _ in deleted]
    unexplained = []
    for one in failed:
        during = [
            number
            for number, each in enumerate(deleted)
            if one.due_s <= each.until_s and one.ended_s >= each.at_s
        ]
        able = [number for number in during if one.path in deleted[number].carries]
        if able:
            own = counts[able[0]]
            own[one.path] = own.get(one.path, 0) + 1
        else:
            names = "; ".join(f"{deleted[n].node}: {deleted[n].what}" for n in during)
            unexplained.append(msgspec.structs.replace(one, during=names))
    explained = (
        msgspec.structs.replace(each, failed=own) for each, own in zip(deleted, counts, strict=True)
    )
    return tuple(explained), tuple(unexplained)


def table(verdict: Verdict) -> list[str]:
    """Return the figures by kind, as lines for a person."""
    lines = [f"{'KIND':12}  DELETED  BACK AFTER, MEDIAN  WORST  FAILED MEANWHILE"]
    for kind in sorted({each.kind for each in verdict.deleted}):
        ours = [each for each in verdict.deleted if each.kind == kind]
        back = [each.back_after_s for each in ours if each.back_after_s is not None]
        median = f"{statistics.median(back):.2f} s" if back else "-"
        worst = f"{max(back):.2f} s" if len(back) == len(ours) else "NEVER"
        failed: dict[str, int] = {}
        for each in ours:
            for path, count in each.failed.items():
                failed[path] = failed.get(path, 0) + count
        words = ", ".join(f"{count} {path}" for path, count in sorted(failed.items())) or "-"
        lines.append(f"{kind:12}  {len(ours):7}  {median:>18}  {worst:>6}  {words}")
    return lines
