"""Running seeds: one at a time with its story, or many on all cores."""

import ctypes
import gc
import logging
import os
import random
import signal
import tempfile
import traceback
from collections.abc import Awaitable, Callable, Generator, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import structlog

from shared import keys
from shared.model import RolloutPhase
from shared.store import under
from shared.timing import PROFILES
from tests.sim.bugs import RESTLESS, Bug
from tests.sim.cluster import Machinery, SimCluster
from tests.sim.faults import KINDS, LATE_S_MAX, draw, draw_machinery, heal_all, inject
from tests.sim.loop import VirtualLoop
from tests.sim.rest import complaint, rollouts
from tests.sim.stacks import BAD, draw_stack, good_again

# The longest way back: leases, the grace of a mass loss, retries of a slot, one period of
# everything; what flapped is mistrusted for a while on top of it.
REST_S: Final = 180.0
# Addresses are level minutes after all else is at rest: more time than a whole day takes.
_LEVEL_SHARE: Final = 0.03
# One period of everything.
QUIET_S: Final = 11.0
# Less than real hosts, whose time is real.
_NICE: Final = 15
_PR_SET_PDEATHSIG: Final = 1
# A folder in memory, where there is one: a run waits for no disk.
FOLDERS: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None

T = TypeVar("T")
Scenario = Callable[[SimCluster], Awaitable[None]]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one seed.

    Attributes:
        error: "" when all was well.
        story: what happened, line by line.
        kinds: the kinds of faults that did happen.
    """

    seed: int
    error: str = ""
    story: tuple[str, ...] = ()
    kinds: frozenset[str] = frozenset()
    exclusive_starts: int = 0
    leader_writes: int = 0

    def __str__(self) -> str:
        """Return what a person needs to see."""
        lines = [f"seed {self.seed}: {self.error or 'well'}", *self.story]
        return "\n  ".join(lines)


def simulate(
    seed: int, scenario: Scenario, folder: Path, made: Machinery | None = None, bug: Bug = Bug.NONE
) -> SimCluster:
    """Run a scenario in a cluster that is drawn from the seed, unless it is given.

    Raises:
        Exception: whatever went wrong; its notes tell the story.
    """
    rng = random.Random(seed)  # noqa: S311 - replays exactly
    loop = VirtualLoop()
    strays: list[str] = []
    loop.set_exception_handler(lambda _, context: strays.append(_describe(context)))
    cluster = SimCluster(loop, rng, folder, made or draw_machinery(rng, bug))
    try:
        loop.run_until_complete(cluster.run(scenario))
        assert not strays, strays
    except BaseException as error:
        error.add_note("\n".join(cluster.story))
        raise
    finally:
        loop.close()
    return cluster


def _describe(context: dict[str, Any]) -> str:
    error = context.get("exception")
    return "".join(traceback.format_exception(error)) if error else str(context["message"])


def run_seed(seed: int, bug: Bug = Bug.NONE) -> Outcome:
    """Return what comes of a bad day; with a bug that breaks safety, of its worse half."""
    # A cluster with a bug may never come to rest, and waiting for it takes most of the time.
    day = a_bad_day if bug in RESTLESS else all_goes_wrong
    with tempfile.TemporaryDirectory(dir=FOLDERS) as folder:
        kept: list[SimCluster] = []

        async def scenario(cluster: SimCluster) -> None:
            kept.append(cluster)
            await day(cluster)

        error = ""
        try:
            simulate(seed, scenario, Path(folder), bug=bug)
        except Exception as found:  # noqa: BLE001 - whatever it is, it is what we look for
            error = last_words(found)
    (cluster,) = kept
    return Outcome(
        seed=seed,
        error=error,
        story=tuple(cluster.story),
        kinds=frozenset(line.split()[1] for line in cluster.story) & KINDS.keys(),
        exclusive_starts=cluster.checkers.exclusive_starts,
        leader_writes=cluster.checkers.leader_writes,
    )


def last_words(error: BaseException) -> str:
    """Return the errors at the bottom of groups of groups, and where they come from."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(last_words(each) for each in error.exceptions))
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


def run_many(seeds: Iterable[int], bug: Bug = Bug.NONE) -> Generator[Outcome, None, None]:
    """Yield the outcome of every seed, in order, from one process for each core."""
    yield from on_all_cores(partial(run_seed, bug=bug), seeds)


def on_all_cores(run: Callable[[int], T], seeds: Iterable[int]) -> Generator[T, None, None]:
    """Yield what `run`, a function of a module, returns for every seed, in order."""
    pool = ProcessPoolExecutor(os.cpu_count(), initializer=_be_quiet)
    try:
        # One at a time: who has seen enough waits for those that have begun.
        yield from pool.map(partial(_run_and_clean, run), seeds, chunksize=1)
    finally:
        pool.shutdown(cancel_futures=True)


def _run_and_clean(run: Callable[[int], T], seed: int) -> T:
    """Return what comes of a seed; a cluster that has ended is one circle of objects."""
    outcome = run(seed)
    gc.collect()
    return outcome


def _be_quiet() -> None:
    """Let production code log nothing, and run when nothing else does: virtual time can wait."""
    os.nice(_NICE)
    # Else one whose parent was killed waits for work for ever.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        cache_logger_on_first_use=True,
    )
    # A run is short and makes few circles: they are looked for after it, and only in what it made,
    # unless it goes on and on.
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)


async def a_bad_day(cluster: SimCluster) -> None:
    """Deploy, let everything that was drawn go wrong, mend it, and demand rest."""
    await all_goes_wrong(cluster)
    await recovers(cluster)


async def all_goes_wrong(cluster: SimCluster) -> None:
    """Deploy, let everything that was drawn go wrong, mend it, and watch what comes late."""
    faults = draw(cluster.rng)
    cluster.note(repr(faults))
    cluster.deploy(draw_stack(cluster.rng, generation=1))
    cluster.answers.ask()
    await inject(cluster, faults)
    cluster.note("healed")
    cluster.checkers.deploys_are_kept()
    heal_all(cluster)
    await cluster.sleep(LATE_S_MAX)


def _under_way(cluster: SimCluster) -> str:
    """Return which update has neither come to an end nor said that it cannot."""
    for update in rollouts(cluster):
        asked = {each.name: each for each in cluster.stacks[update.stack].services}
        is_over = update.is_settled or update.phase is RolloutPhase.FAILED
        if update.target != asked[update.service] or not is_over:
            return f"{update.service} is {update.phase}"
    return "" if rollouts(cluster) else "nothing has begun"


async def recovers(cluster: SimCluster) -> None:
    """Demand rest of a cluster in which nothing is wrong any more."""
    timing = PROFILES[cluster.made.profile]
    rest_s = REST_S + timing.flap_limit_s
    await cluster.until(lambda: _under_way(cluster), rest_s)
    for update in rollouts(cluster):
        if update.phase is RolloutPhase.FAILED and update.spec.workload.image in BAD:
            # Nothing before it ever came up: only a person can mend that.
            cluster.deploy(good_again(cluster.stacks[update.stack]))
    await cluster.until(lambda: complaint(cluster), rest_s)
    waits_for_level = cluster.rng.random() < _LEVEL_SHARE
    if waits_for_level:
        # Three addresses are level after two moves.
        await cluster.until(cluster.answers.uneven, rest_s + 2 * timing.level_s)
    cluster.note("at rest")
    await cluster.sleep(1.0)
    assert not complaint(cluster), complaint(cluster)
    before = cluster.revision()
    await cluster.sleep(QUIET_S)
    batch = cluster.server.replay(under(keys.ROOT), before)
    written = [
        change.key
        for change in (batch.changes if batch is not None else ())
        if waits_for_level or not change.key.startswith(keys.VIPS)
    ]
    assert not written, f"a cluster at rest writes nothing, not {written}"
    cluster.checkers.deploys_are_kept()
