"""What breaks in a run of chaos: drawn from its seed, so that a seed says all.

Pure.
"""

import random
from collections.abc import Sequence

from deploy.lab.plan import Way
from deploy.lab.programs import Program
from shared.model import Record

# Shorter than a suspicion takes, up to well past lease, margin and grace.
SECONDS_MIN, SECONDS_MAX = 0.5, 6.0
_LATER_S = 1.5
# Two at once are where assumptions meet; three hosts have no majority left to judge by then.
_TWO_AT_ONCE = 0.35


class Fault(Record, frozen=True, kw_only=True):
    """One thing that breaks, and when it is mended.

    Attributes:
        kind: vanish, cut, one-way, all-in-one, stop, crash or full-disk.
        node: the host; empty: the one that leads etcd and the schedulers and has the exclusive
            service, which is arranged before.
        way, sender: of a one-way cut.
        program: what is stopped or crashes.
        after_s: since the run began.
        seconds: how long it lasts.
    """

    kind: str
    node: str = ""
    way: Way | None = None
    sender: str | None = None
    program: Program | None = None
    after_s: float = 0.0
    seconds: float = 0.0

    def text(self) -> str:
        """Return it as one line for a person."""
        words = [self.kind, self.node, self.way or "", self.program or ""]
        words += [f"from {self.sender}"] if self.sender else []
        when = f"at {self.after_s:.2f} s for {self.seconds:.2f} s"
        return " ".join([*filter(None, words), when])


# How often each is drawn.
KINDS = {
    "vanish": 3,
    "cut": 3,
    "one-way": 3,
    "stop": 4,
    "crash": 2,
    "all-in-one": 2,
    "full-disk": 1,
}


def draw(seed: int, nodes: Sequence[str]) -> tuple[Fault, ...]:
    """Return the faults of a run, in the order they happen; no host has two."""
    rng = random.Random(seed)  # noqa: S311 - a replayable choice
    count = 2 if rng.random() < _TWO_AT_ONCE else 1
    victims = rng.sample(list(nodes), count)
    faults = []
    for number, victim in enumerate(victims):
        (kind,) = rng.choices([*KINDS], [*KINDS.values()])
        if kind == "all-in-one" and count > 1:
            kind = "vanish"  # whose host is not known before
        after_s = rng.uniform(0.0, _LATER_S) if number else 0.0
        seconds = rng.uniform(SECONDS_MIN, SECONDS_MAX)
        faults.append(_fault(kind, victim, nodes, rng, (round(after_s, 2), round(seconds, 2))))
    return tuple(faults)


def _fault(
    kind: str, node: str, nodes: Sequence[str], rng: random.Random, times: tuple[float, float]
) -> Fault:
    after_s, seconds = times
    way: Way | None = None
    sender: str | None = None
    program: Program | None = None
    match kind:
        case "all-in-one":
            node = ""
        case "one-way":
            way = rng.choice([Way.IN, Way.OUT, None])
            others = [each for each in nodes if each != node]
            sender = rng.choice(others) if way is None else None
        case "stop":
            program = rng.choice([Program.AGENT, Program.SCHEDULER, Program.ETCD])
        case "crash":
            program = rng.choice([Program.AGENT, Program.SCHEDULER])
        case _:
            pass
    return Fault(
        kind=kind,
        node=node,
        way=way,
        sender=sender,
        program=program,
        after_s=after_s,
        seconds=seconds,
    )
