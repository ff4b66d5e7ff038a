"""What goes wrong in a simulated run: drawn from the seed, options with units."""

import random
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from shared import keys
from shared.model import Availability
from shared.store import exactly
from tests.fakes.runtime import Timings
from tests.fakes.store import FakeStore, Way, WriteFate
from tests.sim import people
from tests.sim.bugs import Bug
from tests.sim.cluster import Machinery, SimCluster
from tests.sim.host import PARTS, SimHost
from tests.sim.network import FAIR, Link, Weather
from tests.sim.stacks import draw_stack

# A write whose answer did not come may lie in some member's queue for about this long.
LATE_S_MAX: Final = 5.0


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """Which faults a run has, and how many.

    Attributes:
        events: faults in the run.
        pause_s_max: longest time between two faults.
        down_s_max: longest time that anything is off, cut, frozen or slow.
        kinds: names of the kinds drawn.
        lost_answers: share of writes whose answer, or which themselves, are lost or late.
        latency_s_max: longest way of a call to the store.
        climate: of the network between the nodes.
    """

    events: int
    pause_s_max: float
    down_s_max: float
    kinds: tuple[str, ...]
    lost_answers: float
    latency_s_max: float
    climate: Weather


# One day in ten has machines that stand still for seconds.
_PROFILES: Final = (*("lan",) * 6, *("wan",) * 3, "patient")


def draw_machinery(rng: random.Random, bug: Bug = Bug.NONE) -> Machinery:
    """Return what a run's cluster is made of."""
    nodes = rng.randint(3, 5)
    wrong = rng.choice((0.0, 0.0, 0.01))
    return Machinery(
        nodes=nodes,
        rates=tuple(1 + rng.choice((-wrong, wrong)) for _ in range(nodes)),
        timings=rng.choice((Timings(), Timings(pull_s=5.0, create_s=0.5, start_s=0.2))),
        profile=rng.choice(_PROFILES),
        bug=bug,
    )


def draw(rng: random.Random) -> Faults:
    """Return the faults of one run; which kinds there are is drawn as well."""
    kinds = sorted(KINDS)
    return Faults(
        events=rng.randint(3, 12),
        # The longest give a fault the time to end leases: in shorter days a fuse that burns late
        # is not found.
        pause_s_max=rng.choice((0.5, 3.0, 10.0)),
        down_s_max=rng.choice((1.0, 5.0, 20.0)),
        kinds=tuple(rng.sample(kinds, rng.randint(1, len(kinds)))),
        lost_answers=rng.choice((0.0, 0.0, 0.05, 0.2)),
        latency_s_max=rng.choice((0.0, 0.005, 0.1)),
        climate=rng.choice(
            (
                FAIR,
                Weather(delay_s_max=0.01),
                Weather(delay_s_max=0.1, lost=0.05, doubled=0.05),
            )
        ),
    )


def unreliable(rng: random.Random, faults: Faults) -> Callable[[FakeStore], None]:
    """Return what makes a client's calls slow and its writes uncertain."""
    lost = (WriteFate.ANSWER_LOST, WriteFate.REQUEST_LOST, WriteFate.REFUSED, WriteFate.LATE)

    def fate() -> WriteFate:
        return rng.choice(lost) if rng.random() < faults.lost_answers else WriteFate.NORMAL

    def prepare(store: FakeStore) -> None:
        store.latency_s = lambda: rng.random() * faults.latency_s_max
        store.watch_delay_s = lambda: rng.random() * faults.latency_s_max
        store.late_s = lambda: rng.random() * LATE_S_MAX
        store.write_fate = fate

    return prepare


async def inject(cluster: SimCluster, faults: Faults) -> None:
    """Let the drawn faults happen, one after the other; what is broken may stay so."""
    cluster.prepare = unreliable(cluster.rng, faults)
    for host in cluster.hosts:
        for store in host.stores:
            cluster.prepare(store)
    cluster.network.climate = faults.climate
    for _ in range(faults.events):
        await cluster.sleep(cluster.rng.random() * faults.pause_s_max)
        kind = cluster.rng.choice(faults.kinds)
        host = cluster.rng.choice(cluster.hosts)
        down_s = cluster.rng.random() * faults.down_s_max
        cluster.note(f"{kind} {host.name} {down_s:.3f}")
        KINDS[kind](cluster, host, down_s)


def heal_all(cluster: SimCluster) -> None:
    """Mend everything: from here on the cluster must come to rest."""
    cluster.prepare = lambda _: None
    cluster.network.mend_all()
    cluster.server.elect()
    for host in cluster.hosts:
        host.disk.stall_s, host.disk.is_full = 0.0, False
        host.gateway.trouble = ""
        host.heal()
        people.allow(cluster, host, Availability.ACTIVE)
        host.thaw()
        host.boot()
        for store in host.stores:
            store.latency_s = store.watch_delay_s = lambda: 0.001
            store.write_fate = lambda: WriteFate.NORMAL


# ---------------------------------------------------------------- hosts and parts


def _kill_host(cluster: SimCluster, host: SimHost, down_s: float) -> None:
    if host.is_on and sum(each.is_on for each in cluster.hosts) > 1:
        host.power_loss()
        cluster.later(down_s, host.boot)


def _crash_agent(_: SimCluster, host: SimHost, __: float) -> None:
    host.crash("agent")


def _crash_scheduler(_: SimCluster, host: SimHost, __: float) -> None:
    host.crash("scheduler")


def _freeze_agent(cluster: SimCluster, host: SimHost, down_s: float) -> None:
    host.freeze("agent", down_s, after_steps=cluster.rng.choice((0, cluster.rng.randint(1, 200))))


def _freeze_scheduler(cluster: SimCluster, host: SimHost, down_s: float) -> None:
    leads = [each for each in cluster.hosts if each.name == cluster.leader()]
    host = cluster.rng.choice([host, *leads])
    steps = cluster.rng.choice((0, cluster.rng.randint(1, 50)))
    host.freeze("scheduler", down_s, after_steps=steps)


def _freeze_host(_: SimCluster, host: SimHost, down_s: float) -> None:
    for part in PARTS:
        host.freeze(part, down_s)


def _slow_disk(cluster: SimCluster, host: SimHost, down_s: float) -> None:
    host.disk.stall_s = cluster.rng.random() * 3.0
    cluster.later(down_s, lambda: setattr(host.disk, "stall_s", 0.0))


def _full_disk(cluster: SimCluster, host: SimHost, down_s: float) -> None:
    host.disk.is_full = True
    cluster.later(down_s, lambda: setattr(host.disk, "is_full", False))


def _break_gateway(cluster: SimCluster, host: SimHost, down_s: float) -> None:
    host.gateway.trouble = "broken"
    cluster.later(down_s, lambda: setattr(host.gateway, "trouble", ""))


def _crash_container(cluster: SimCluster, host: SimHost, _: float) -> None:
    running = host.running()
    if running:
        host.runtime.crash(cluster.rng.choice(running))


# ---------------------------------------------------------------- the network


def _cut(cluster: SimCluster, links: list[Link], down_s: float) -> None:
    cluster.network.cut(links)
    cluster.later(down_s, lambda: cluster.network.mend(links))


def _links(cluster: SimCluster, host: SimHost) -> Iterator[tuple[Link, Link]]:
    """Yield (to the other, from the other) for each other host."""
    for other in cluster.hosts:
        if other is not host:
            yield (host.name, other.name), (other.name, host.name)


def _cut_host(cluster: SimCluster, host: SimHost, down_s: float) -> None:
    _cut(cluster, [link for pair in _links(cluster, host) for link in pair], down_s)
    _impede(cluster, host, Way.CUT, down_s)


def _cut_host_outwards(cluster: SimCluster, host: SimHost, down_s: float) -> None:
    _cut(cluster, [out for out, _ in _links(cluster, host)], down_s)
    _impede(cluster, host, Way.MUTE, down_s)


def _cut_host_inwards(cluster: SimCluster, host: SimHost, down_s: float) -> None:
    _cut(cluster, [back for _, back in _links(cluster, host)], down_s)
    _impede(cluster, host, Way.DEAF, down_s)


def _cut_peers(cluster: SimCluster, host: SimHost, down_s: float) -> None:
    _cut(cluster, [link for pair in _links(cluster, host) for link in pair], down_s)


def _cut_link(cluster: SimCluster, host: SimHost, down_s: float) -> None:
    pair = cluster.rng.choice(list(_links(cluster, host)))
    _cut(cluster, list(cluster.rng.choice((pair, pair[:1], pair[1:]))), down_s)


def _storm(cluster: SimCluster, _: SimHost, down_s: float) -> None:
    cluster.network.blow()
    cluster.later(down_s, cluster.network.clear_up)


# ---------------------------------------------------------------- the store


def _impede(cluster: SimCluster, host: SimHost, way: Way, down_s: float) -> None:
    host.impede(way)
    cluster.later(down_s, host.heal)


def _cut_store(cluster: SimCluster, host: SimHost, down_s: float) -> None:
    _impede(cluster, host, Way.CUT, down_s)


def _deaf_store(cluster: SimCluster, host: SimHost, down_s: float) -> None:
    _impede(cluster, host, Way.DEAF, down_s)


def _mute_store(cluster: SimCluster, host: SimHost, down_s: float) -> None:
    _impede(cluster, host, Way.MUTE, down_s)


def _cut_scheduler(cluster: SimCluster, host: SimHost, down_s: float) -> None:
    store = host.store_of("scheduler")
    if store is not None:
        store.cut()
        cluster.later(down_s, store.heal)


def _cut_all(cluster: SimCluster, _: SimHost, down_s: float) -> None:
    for host in cluster.hosts:
        _impede(cluster, host, Way.CUT, down_s)


def _store_leader(cluster: SimCluster, _: SimHost, __: float) -> None:
    cluster.server.lose_leader()
    cluster.later(cluster.rng.random() * 2.0, cluster.server.elect)


def _store_quorum(cluster: SimCluster, _: SimHost, down_s: float) -> None:
    cluster.server.lose_leader()
    cluster.later(down_s, cluster.server.elect)


def _drop_watches(_: SimCluster, host: SimHost, __: float) -> None:
    for store in host.stores:
        store.drop_watches()


def _compact(cluster: SimCluster, _: SimHost, __: float) -> None:
    if cluster.revision() > cluster.server.compacted:
        cluster.server.compact(cluster.revision())


def _depose(cluster: SimCluster, _: SimHost, __: float) -> None:
    items = cluster.server.list(exactly(keys.LEADER)).items
    if items and cluster.server.has_leader:
        cluster.server.revoke(items[0].lease)


def _deploy(cluster: SimCluster, _: SimHost, __: float) -> None:
    for stack in list(cluster.stacks.values()):
        cluster.deploy(draw_stack(cluster.rng, stack.generation + 1))


KINDS: Final[dict[str, Callable[[SimCluster, SimHost, float], None]]] = {
    "kill_host": _kill_host,
    "crash_agent": _crash_agent,
    "crash_scheduler": _crash_scheduler,
    "crash_container": _crash_container,
    "break_gateway": _break_gateway,
    "freeze_agent": _freeze_agent,
    "freeze_scheduler": _freeze_scheduler,
    "freeze_host": _freeze_host,
    "slow_disk": _slow_disk,
    "full_disk": _full_disk,
    "cut_host": _cut_host,
    "cut_host_outwards": _cut_host_outwards,
    "cut_host_inwards": _cut_host_inwards,
    "cut_peers": _cut_peers,
    "cut_link": _cut_link,
    "storm": _storm,
    "cut_store": _cut_store,
    "deaf_store": _deaf_store,
    "mute_store": _mute_store,
    "cut_all_from_store": _cut_all,
    "cut_scheduler": _cut_scheduler,
    "store_leader": _store_leader,
    "store_quorum": _store_quorum,
    "drop_watches": _drop_watches,
    "compact": _compact,
    "depose": _depose,
    "deploy": _deploy,
    "cordon": people.cordon,
    "drain": people.drain,
    "forget_dead": people.forget_dead,
    "forget_living": people.forget_living,
    "move": people.move,
}
