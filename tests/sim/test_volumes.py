"""Volumes that are removed at random times: no data that somebody uses goes, every removal ends."""

import os
import random
from pathlib import Path
from typing import Final

import pytest

from tests.sim.checkers import SafetyError
from tests.sim.cluster import Machinery, SimCluster
from tests.sim.host import SimHost
from tests.sim.run import simulate
from tests.sim.volumes import NAME, Watch, a_day_with_volumes, draw_shop

# A tenth of the other days: they say more about less.
SEEDS: Final = max(int(os.environ.get("SEEDS", "100")) // 10, 10)


@pytest.mark.timeout(max(1200, 4 * SEEDS))
def test_days_with_volumes_are_survived(tmp_path: Path) -> None:
    wishes = removed = 0
    for seed in range(SEEDS):
        kept: list[Watch] = []

        async def scenario(cluster: SimCluster, kept: list[Watch] = kept) -> None:
            kept.append(await a_day_with_volumes(cluster))

        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            simulate(seed, scenario, folder)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        wishes += len(kept[0].wished_s)
        removed += kept[0].removed
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
