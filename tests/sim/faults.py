"""What goes wrong in a simulated run: drawn from the seed, options with units."""

import random
from collections.abc import Callable
from typing import Final

import msgspec

from shared.model import Stack, StackName
from tests.build import MIB, service, stack
from tests.fakes.store import FakeStore, WriteFate
from tests.sim.cluster import SimCluster, SimNode


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """Which faults a run has, and how many.

    Attributes:
        events: faults in the run.
        pause_s_max: longest time between two faults.
        down_s_max: longest time that a host is off or cut.
        kinds: names of the kinds drawn.
        lost_answers: share of writes whose answer, or which themselves, are lost.
        latency_s_max: longest way of a call to the store.
    """

    events: int
    pause_s_max: float
    down_s_max: float
    kinds: tuple[str, ...]
    lost_answers: float
    latency_s_max: float


def draw(rng: random.Random) -> Faults:
    """Return the faults of one run; which kinds there are is drawn as well."""
    kinds = sorted(KINDS)
    return Faults(
        events=rng.randint(3, 12),
        pause_s_max=rng.choice((0.5, 3.0, 10.0)),
        down_s_max=rng.choice((1.0, 5.0, 20.0)),
        kinds=tuple(rng.sample(kinds, rng.randint(1, len(kinds)))),
        lost_answers=rng.choice((0.0, 0.0, 0.05, 0.2)),
        latency_s_max=rng.choice((0.0, 0.005, 0.1)),
    )


def unreliable(rng: random.Random, faults: Faults) -> Callable[[FakeStore], None]:
    """Return what makes a client's calls slow and its writes uncertain."""

    def fate() -> WriteFate:
        if rng.random() >= faults.lost_answers:
            return WriteFate.NORMAL
        return rng.choice((WriteFate.ANSWER_LOST, WriteFate.REQUEST_LOST, WriteFate.REFUSED))

    def prepare(store: FakeStore) -> None:
        store.latency_s = lambda: rng.random() * faults.latency_s_max
        store.watch_delay_s = lambda: rng.random() * faults.latency_s_max
        store.write_fate = fate

    return prepare


async def inject(cluster: SimCluster, faults: Faults) -> None:
    """Let the drawn faults happen, one after the other; what is broken may stay so."""
    for _ in range(faults.events):
        await cluster.clock.sleep(cluster.rng.random() * faults.pause_s_max)
        kind = cluster.rng.choice(faults.kinds)
        node = cluster.rng.choice(cluster.nodes)
        cluster.note(f"{kind} {node.name}")
        KINDS[kind](cluster, node, cluster.rng.random() * faults.down_s_max)


def heal_all(cluster: SimCluster) -> None:
    """Mend everything: from here on the cluster must come to rest."""
    cluster.prepare = lambda _: None
    for node in cluster.nodes:
        node.heal()
        if not node.is_on:
            node.boot()
        for store in node.stores.values():
            store.latency_s = store.watch_delay_s = lambda: 0.001
            store.write_fate = lambda: WriteFate.NORMAL


def _kill_host(cluster: SimCluster, node: SimNode, down_s: float) -> None:
    if node.is_on and sum(each.is_on for each in cluster.nodes) > 1:
        node.power_loss()
        cluster.later(down_s, lambda: None if node.is_on else node.boot())


def _cut_host(cluster: SimCluster, node: SimNode, down_s: float) -> None:
    node.cut()
    cluster.later(down_s, node.heal)


def _crash_agent(_: SimCluster, node: SimNode, __: float) -> None:
    node.crash("agent")


def _crash_scheduler(_: SimCluster, node: SimNode, __: float) -> None:
    node.crash("scheduler")


def _cut_scheduler(cluster: SimCluster, node: SimNode, down_s: float) -> None:
    store = node.stores.get("scheduler")
    if store is not None:
        store.cut()
        cluster.later(down_s, store.heal)


def _drop_watches(_: SimCluster, node: SimNode, __: float) -> None:
    for store in node.stores.values():
        store.drop_watches()


def _compact(cluster: SimCluster, _: SimNode, __: float) -> None:
    if cluster.revision() > cluster.server.compacted:
        cluster.server.compact(cluster.revision())


def _crash_container(cluster: SimCluster, node: SimNode, _: float) -> None:
    running = node.running()
    if running:
        node.runtime.crash(cluster.rng.choice(running))


def _deploy(cluster: SimCluster, _: SimNode, __: float) -> None:
    before = cluster.stacks[StackName("shop")]
    cluster.deploy(draw_stack(cluster.rng, before.generation + 1))


def draw_stack(rng: random.Random, generation: int) -> Stack:
    """Return a stack that three small nodes can hold."""
    return stack(
        "shop",
        service(
            "web",
            replicas=rng.randint(1, 4),
            image=rng.choice(("app:1", "app:2")),
            memory_bytes=64 * MIB,
            port=8080,
        ),
        service("lone", replicas=1, memory_bytes=512 * MIB, port=8081),
        generation=generation,
    )


KINDS: Final[dict[str, Callable[[SimCluster, SimNode, float], None]]] = {
    "kill_host": _kill_host,
    "cut_host": _cut_host,
    "crash_agent": _crash_agent,
    "crash_scheduler": _crash_scheduler,
    "cut_scheduler": _cut_scheduler,
    "drop_watches": _drop_watches,
    "compact": _compact,
    "crash_container": _crash_container,
    "deploy": _deploy,
}
