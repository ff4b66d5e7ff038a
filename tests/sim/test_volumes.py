"""Volumes that are removed at random times: no data that somebody uses goes, every removal ends."""

import os
import random
import tempfile
from pathlib import Path
from typing import Final

import pytest

from tests.sim.checkers import SafetyError
from tests.sim.cluster import Machinery, SimCluster
from tests.sim.host import SimHost
from tests.sim.run import FOLDERS, last_words, on_all_cores, simulate
from tests.sim.volumes import NAME, Watch, a_day_with_volumes, draw_shop

# A tenth of the other days: they say more about less.
SEEDS: Final = max(int(os.environ.get("SEEDS", "100")) // 10, 10)


def _a_day(seed: int) -> tuple[str, int, int]:
    """Return what went wrong, how many removals were wished for, and how many there were."""
    kept: list[Watch] = []

    async def scenario(cluster: SimCluster) -> None:
        kept.append(await a_day_with_volumes(cluster))

    with tempfile.TemporaryDirectory(dir=FOLDERS) as folder:
        try:
            simulate(seed, scenario, Path(folder))
        except Exception as error:  # noqa: BLE001 - not every error finds its way out of a process
            story = "\n".join(getattr(error, "__notes__", ()))
            return f"seed {seed}: {last_words(error)}\n{story}", 0, 0
    return "", len(kept[0].wished_s), kept[0].removed


@pytest.mark.timeout(max(1200, 4 * SEEDS))
def test_days_with_volumes_are_survived() -> None:
    wishes = removed = 0
    for error, wished_for, gone in on_all_cores(_a_day, range(SEEDS)):
        assert not error, error
        wishes += wished_for
        removed += gone
    # Days on which nothing is removed prove nothing.
    assert removed > SEEDS // 4
    assert wishes > SEEDS // 4


def test_the_watch_sees_data_that_goes_without_a_wish(tmp_path: Path) -> None:
    async def scenario(cluster: SimCluster) -> None:
        Watch(cluster)
        cluster.deploy(draw_shop(random.Random(1), 1, uses=True))  # noqa: S311 - replays exactly
        await cluster.until(lambda: "" if _homes(cluster) else "no data yet", 30)
        (home,) = _homes(cluster)
        for container in home.runtime.all():
            await home.runtime.remove(container.id)
        await home.runtime.remove_volume(NAME)

    with pytest.raises(SafetyError, match="younger than any removal"):
        simulate(1, scenario, tmp_path, Machinery())


def _homes(cluster: SimCluster) -> list[SimHost]:
    return [host for host in cluster.hosts if NAME in host.runtime.volumes()]
