"""What people do to nodes in a simulated run: what a node may do, one forgotten, one moved."""

from typing import Final

import msgspec

from shared import codec, keys
from shared.model import Availability, NodeSpec
from shared.store import Delete, KeyValue, Put, exactly
from tests.fakes.store import Way
from tests.sim.cluster import SimCluster
from tests.sim.host import SimHost

# Where hosts move to: each place has an address for each host.
_PLACES: Final = 100


def _item(cluster: SimCluster, key: str) -> KeyValue | None:
    items = cluster.server.list(exactly(key)).items
    return items[0] if items else None


def allow(cluster: SimCluster, host: SimHost, availability: Availability) -> None:
    """Write what a node may do, as the API does."""
    item = _item(cluster, keys.node_spec(host.name))
    if item is not None:
        spec = codec.decode(NodeSpec, item.value, item.key)
        said = msgspec.structs.replace(spec, availability=availability)
        if said == spec:
            return
        cluster.server.txn([], [Put(item.key, codec.encode(said))])


def cordon(cluster: SimCluster, host: SimHost, down_s: float) -> None:
    """Let a node take nothing new for a while."""
    allow(cluster, host, Availability.CORDONED)
    cluster.later(down_s, lambda: allow(cluster, host, Availability.ACTIVE))


def drain(cluster: SimCluster, host: SimHost, down_s: float) -> None:
    """Empty a node for a while."""
    allow(cluster, host, Availability.DRAINING)
    cluster.later(down_s, lambda: allow(cluster, host, Availability.ACTIVE))


def forget(cluster: SimCluster, host: SimHost) -> None:
    """Remove a node that has no session, as the API does; sooner than the API would."""
    if _item(cluster, keys.node_alive(host.name)) is None:
        found = [keys.node_spec(host.name), keys.desired(host.name), keys.observed(host.name)]
        there = [Delete(key) for key in found if _item(cluster, key) is not None]
        cluster.server.txn([], there)


def forget_dead(cluster: SimCluster, host: SimHost, down_s: float) -> None:
    """Let a host lose its power, be forgotten, and come back as a new one."""
    if host.is_on and sum(each.is_on for each in cluster.hosts) > 1:
        host.power_loss()

        def come_back() -> None:
            if not host.is_on:
                forget(cluster, host)
                host.boot()

        cluster.later(down_s, come_back)


def forget_living(cluster: SimCluster, host: SimHost, down_s: float) -> None:
    """Let a host that goes on running be forgotten while only its way to the store is cut."""
    host.impede(Way.CUT)
    cluster.later(down_s, lambda: forget(cluster, host))
    cluster.later(down_s + cluster.rng.random(), host.heal)


def move(cluster: SimCluster, host: SimHost, down_s: float) -> None:
    """Let a host come back at another address, once its session has ended."""
    if host.is_on and sum(each.is_on for each in cluster.hosts) > 1:
        host.power_loss()

        def come_back() -> None:
            if host.is_on:
                return
            if _item(cluster, keys.node_alive(host.name)) is None:
                number = host.name.rpartition("-")[2]
                host.move(f"198.18.{cluster.rng.randint(1, _PLACES)}.{number}")
            host.boot()

        cluster.later(down_s, come_back)
