"""What is deleted, where and when: drawn from a seed, so that a seed says all.

Pure. What there is on a host is known only then; so which one of a kind is drawn as a share.
"""

import random
from collections.abc import Iterator, Sequence

from shared.model import Record

# Long enough for requests that waited to be answered, so that each failure has one cause.
PAUSE_S_MIN, PAUSE_S_MAX = 1.5, 4.0


class Deletion(Record, frozen=True, kw_only=True):
    """One deletion.

    Attributes:
        kind: of net_things.KINDS.
        nodes: where, in this order of preference: the first that has any such thing.
        share: which one of those, 0 to 1.
        pause_s: how long all is left alone before.
    """

    kind: str
    nodes: tuple[str, ...]
    share: float
    pause_s: float

    def choose(self, count: int) -> int:
        """Return which of `count` things it is."""
        return int(self.share * count)


def draw(seed: int, nodes: Sequence[str], kinds: Sequence[str]) -> Iterator[Deletion]:
    """Yield deletions without end; every kind comes once before any comes again."""
    rng = random.Random(seed)  # noqa: S311 - a replayable choice
    while True:
        for kind in rng.sample(list(kinds), len(kinds)):
            yield Deletion(
                kind=kind,
                nodes=tuple(rng.sample(list(nodes), len(nodes))),
                share=rng.random(),
                pause_s=round(rng.uniform(PAUSE_S_MIN, PAUSE_S_MAX), 2),
            )
