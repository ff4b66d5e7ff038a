"""Days on which people remove volumes while services that use them come and go.

A scenario of its own: what is drawn here would change what every other seed means.
"""

import random
from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec

from scheduler.api.volumes import removal
from scheduler.reading import WorldReader
from shared import codec, keys
from shared.errors import ConflictError, HafenError
from shared.model import Event, Mount, MountKind, NodeName, Revision, ServiceSpec, Stack, Volume
from shared.store import Compare, Condition, Put, Unchanged, exactly, under
from tests.build import MIB, service, stack
from tests.sim.checkers import SafetyError
from tests.sim.cluster import SimCluster
from tests.sim.faults import KINDS, LATE_S_MAX, Faults, draw, heal_all, unreliable
from tests.sim.rest import complaint
from tests.sim.run import REST_S
from tests.sim.stacks import IMAGES

NAME: Final = "shop_data"
# Deploys come from here: those of other runs have no volumes.
_OTHERS: Final = tuple(sorted(KINDS.keys() - {"deploy"}))
_SHARE: Final = 0.5


class Watch:
    """Knows since when each node's data is there, and which wishes were accepted.

    Attributes:
        wished_s: when each removal was accepted, of true time.
        removed: how often data went.
    """

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster
        self._since_s: dict[NodeName, float] = {}
        self.wished_s: list[float] = []
        self.removed = 0
        for host in cluster.hosts:
            host.runtime.on_data(partial(self._data, host.name))

    def _data(self, node: NodeName, name: str, is_there: bool) -> None:  # noqa: FBT001 - a callback
        now_s = self._cluster.loop.now_s
        self._cluster.checkers.has_data(node, name, is_there=is_there)
        self._cluster.note(f"data of {name} {'comes to' if is_there else 'leaves'} {node}")
        if is_there:
            self._since_s[node] = now_s
            return
        self.removed += 1
        since_s = self._since_s.pop(node)
        # Whoever asked for a removal meant what was there; what came later is somebody's data.
        if not any(wished_s > since_s for wished_s in self.wished_s):
            error = SafetyError(f"{node} removed data of {name} that is younger than any removal")
            self._cluster.checkers.broken = self._cluster.checkers.broken or error
            raise error


def draw_shop(rng: random.Random, generation: int, *, uses: bool) -> Stack:
    """Return a stack whose database, if it has one, has a volume."""
    services: list[ServiceSpec] = [service("web", replicas=rng.randint(1, 3), memory_bytes=MIB)]
    if uses:
        spec = service("db", image=rng.choice(IMAGES), memory_bytes=64 * MIB)
        mount = Mount(kind=MountKind.VOLUME, source=NAME, target="/data")
        workload = msgspec.structs.replace(spec.workload, mounts=(mount,))
        services.append(msgspec.structs.replace(spec, workload=workload))
    return stack("shop", *services, generation=generation)


async def a_day_with_volumes(cluster: SimCluster) -> Watch:
    """Deploy with and without the volume, remove it, break things; then mend and demand rest."""
    watch, faults = Watch(cluster), draw(cluster.rng)
    cluster.note(repr(faults))
    cluster.deploy(draw_shop(cluster.rng, 1, uses=True))
    await _go_wrong(cluster, watch, faults)
    cluster.note("healed")
    heal_all(cluster)
    await cluster.sleep(LATE_S_MAX)
    # Nobody uses it at last in half of the runs, and then it is removed once more.
    uses = cluster.rng.random() < _SHARE
    _deploy(cluster, uses=uses)
    await cluster.until(lambda: _unfinished(cluster), REST_S)
    if not uses and remove(cluster, watch):
        await cluster.until(lambda: _unfinished(cluster) or _is_there(cluster), REST_S)
    await cluster.sleep(1.0)
    assert not _unfinished(cluster), _unfinished(cluster)
    return watch


async def _go_wrong(cluster: SimCluster, watch: Watch, faults: Faults) -> None:
    cluster.prepare = unreliable(cluster.rng, faults)
    for host in cluster.hosts:
        for store in host.stores:
            cluster.prepare(store)
    cluster.network.climate = faults.climate
    for _ in range(2 * faults.events):
        await cluster.sleep(cluster.rng.random() * faults.pause_s_max)
        what = cluster.rng.choice(("deploy", "remove", "remove", "break", "break"))
        if what == "deploy":
            _deploy(cluster, uses=cluster.rng.random() < _SHARE)
        elif what == "remove":
            # Somebody may deploy what uses it in the same moment, before any leader sees the wish.
            if remove(cluster, watch) and cluster.rng.random() < _SHARE:
                _deploy(cluster, uses=True)
        else:
            kind, host = cluster.rng.choice(_OTHERS), cluster.rng.choice(cluster.hosts)
            down_s = cluster.rng.random() * faults.down_s_max
            cluster.note(f"{kind} {host.name} {down_s:.3f}")
            KINDS[kind](cluster, host, down_s)


def _deploy(cluster: SimCluster, *, uses: bool) -> None:
    (before,) = cluster.stacks.values()
    cluster.deploy(draw_shop(cluster.rng, before.generation + 1, uses=uses))


def remove(cluster: SimCluster, watch: Watch) -> bool:
    """Ask for the removal as the API of some host does; say whether it was accepted."""
    view = cluster.rng.choice(cluster.hosts).view
    world = WorldReader().read(view)
    try:
        wish = removal(world, NAME, cluster.loop.now_s, is_forced=False)
        state, known = world.volumes.get(NAME), world.removals.get(NAME)
        conditions: list[Condition] = [
            Unchanged(keys.STACKS, world.revision),
            Compare(keys.volume(NAME), state.revision if state is not None else Revision(0)),
            Compare(keys.removal(NAME), known.revision if known is not None else Revision(0)),
        ]
        cluster.server.txn(conditions, [Put(keys.removal(NAME), codec.encode(wish))])
    except (HafenError, ConflictError) as error:
        cluster.note(f"remove {NAME}: {error}")
        return False
    cluster.note(f"remove {NAME}: accepted")
    watch.wished_s.append(cluster.loop.now_s)
    return True


# ---------------------------------------------------------------- what must be at rest


def _unfinished(cluster: SimCluster) -> str:
    """Return what is still under way: a removal that neither ended nor said why, or anything."""
    wishes = cluster.server.list(exactly(keys.removal(NAME))).items
    if wishes:
        return f"the removal of {NAME} has not ended"
    volume = _volume(cluster)
    if volume is not None and volume.is_leaving:
        return f"{NAME} is still leaving {volume.node}"
    return complaint(cluster) or _is_at_home(cluster, volume)


def _is_at_home(cluster: SimCluster, volume: Volume | None) -> str:
    """Say where a container has its volume and the record says another node."""
    for host in cluster.hosts:
        users = [id_ for id_ in host.running() if id_.split(".")[1] == "db"]
        if not users:
            continue
        if volume is None or volume.node != host.name or NAME not in host.runtime.volumes():
            return f"{users} run on {host.name}, and the record is {volume}"
    return ""


def _is_there(cluster: SimCluster) -> str:
    volume = _volume(cluster)
    if volume is not None:
        return f"{NAME} is removed and has a record: {volume}"
    kinds = [event.kind for event in _events(cluster)]
    return "" if "volume_removed" in kinds else f"nobody says that it is removed: {kinds}"


def _volume(cluster: SimCluster) -> Volume | None:
    items = cluster.server.list(exactly(keys.volume(NAME))).items
    return codec.decode(Volume, items[0].value, items[0].key) if items else None


def _events(cluster: SimCluster) -> Sequence[Event]:
    items = cluster.server.list(under(keys.EVENTS)).items
    found = [codec.decode(Event, item.value, item.key) for item in items]
    return [event for event in found if event.subject == NAME]
