"""Seeded runs of a whole cluster in virtual time: always safe, and at rest once the faults end."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from shared import codec, keys
from shared.model import Manifest
from shared.store import Put
from tests.sim.checkers import SafetyError
from tests.sim.cluster import SimCluster
from tests.sim.faults import draw, draw_stack, heal_all, inject, unreliable
from tests.sim.loop import VirtualLoop

# `make sim SEEDS=10000` for the night; these run with every check.
SEEDS = int(os.environ.get("SEEDS", "60"))
# The longest way back: a lease, the grace of a mass loss, retries of a slot, one period.
REST_S = 120.0
QUIET_S = 30.0


def simulate(
    seed: int, folder: Path, scenario: Callable[[SimCluster], Awaitable[None]], nodes: int = 3
) -> SimCluster:
    loop = VirtualLoop()
    try:
        cluster = SimCluster(loop, seed, nodes, folder)
        loop.run_until_complete(cluster.run(scenario))
    finally:
        loop.close()
    return cluster


async def a_bad_day(cluster: SimCluster) -> None:
    """Deploy, let everything that was drawn go wrong, mend it, and demand rest."""
    faults = draw(cluster.rng)
    cluster.note(repr(faults))
    cluster.prepare = unreliable(cluster.rng, faults)
    cluster.deploy(draw_stack(cluster.rng, generation=1))
    await inject(cluster, faults)
    cluster.note("healed")
    heal_all(cluster)
    await cluster.until(cluster.is_converged, REST_S, "converged after the faults")
    await cluster.clock.sleep(QUIET_S)
    assert cluster.is_converged()
    before = cluster.revision()
    await cluster.clock.sleep(QUIET_S)
    assert cluster.revision() == before, "a cluster at rest writes nothing"


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_bad_day_is_survived(seed: int, tmp_path: Path) -> None:
    cluster = simulate(seed, tmp_path, a_bad_day)
    assert cluster.checkers.leader_writes > 0


def test_a_seed_replays_exactly(tmp_path: Path) -> None:
    first = simulate(7, tmp_path / "a", a_bad_day)
    second = simulate(7, tmp_path / "b", a_bad_day)
    assert first.story == second.story
    assert first.contents() == second.contents()


async def a_lost_host(cluster: SimCluster) -> None:
    """Take the power of the host that runs the only replica."""
    cluster.deploy(draw_stack(cluster.rng, generation=1))
    await cluster.until(cluster.is_converged, 30, "deployed")
    home = next(node for node in cluster.nodes if any(".lone." in id_ for id_ in node.running()))
    began = cluster.clock.monotonic_s()
    home.power_loss()
    await cluster.until(cluster.is_converged, 6, "replaced")
    cluster.note(f"replaced after {cluster.clock.monotonic_s() - began:.2f} s")
    home.boot()
    await cluster.clock.sleep(20)
    assert cluster.is_converged(), "the host that came back brought nothing with it"


@pytest.mark.parametrize("seed", range(5))
def test_a_lost_host_is_replaced_within_six_virtual_seconds(seed: int, tmp_path: Path) -> None:
    simulate(seed, tmp_path, a_lost_host)


async def a_store_that_is_away(cluster: SimCluster) -> None:
    """Cut every host from the store for a minute and let containers die meanwhile."""
    cluster.deploy(draw_stack(cluster.rng, generation=1))
    await cluster.until(cluster.is_converged, 30, "deployed")
    before = {node.name: node.running() for node in cluster.nodes}
    for node in cluster.nodes:
        node.cut()
    await cluster.clock.sleep(30)
    for node in cluster.nodes:
        for id_ in node.running():
            node.runtime.crash(id_)
    await cluster.clock.sleep(30)
    assert {node.name: node.running() for node in cluster.nodes} == before
    for node in cluster.nodes:
        node.heal()
    await cluster.clock.sleep(30)
    assert cluster.is_converged()


def test_without_the_store_what_dies_is_started_again_and_nothing_moves(tmp_path: Path) -> None:
    simulate(1, tmp_path, a_store_that_is_away)


def test_the_checkers_see_a_write_of_a_deposed_leader(tmp_path: Path) -> None:
    async def usurp(cluster: SimCluster) -> None:
        await cluster.until(lambda: cluster.leader() is not None, 30, "a leader")
        impostor = next(node for node in cluster.nodes if node.name != cluster.leader())
        manifest = Manifest(node=impostor.name, generation=99)
        write = Put(keys.desired(impostor.name), codec.encode(manifest))
        with pytest.raises(SafetyError, match="led"):
            await impostor.stores["scheduler"].txn([], [write])

    simulate(1, tmp_path, usurp)
