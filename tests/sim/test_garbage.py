"""Records that cannot be read, under every range: nobody ends by them, and all else goes on."""

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest

from shared import codec, keys
from shared.model import NodeName, NodeSpec
from shared.store import Delete, Put, under
from tests.sim.cluster import Machinery, SimCluster
from tests.sim.rest import complaint
from tests.sim.run import simulate
from tests.sim.stacks import draw_stack

RANGES: Final = tuple(
    sorted(
        text
        for name, text in vars(keys).items()
        if name.isupper() and name != "ROOT" and text.endswith("/")
    )
)
# What is at the end of a key, as others' keys have it, and as nobody's does.
NAMES: Final = (
    *("x", "node-9", "node-9/spec", "node-9/alive", "node-9/node-1", "node-1/node-9"),
    *("main", "main/web", "main.web.1", "main.web.1/epoch", "198.18.0.9", "0/0/0", "/", "\u00fc"),
)
VALUES: Final = (
    *(b"", b"\xff\x00", b"null", b"[]", b"7", b'"text"', b"{", b"{}"),
    *(
        b'{"name":"node-9"}',
        b'{"node":"node-9"}',
        b'{"name":null}',
        b'{"stack":"main","services":1}',
    ),
)
# What can be read, and is no node of any network.
ODD: Final = NodeSpec(name=NodeName("node-8"), address="nowhere", subnet="none", labels={})
REST_S: Final = 120.0


def garbage(rng: random.Random, count: int) -> Iterator[Put]:
    """Yield writes of what nobody can read, but for manifests: these hold back all placing."""
    yield Put(keys.node_spec(NodeName("node-9")), rng.choice(VALUES))
    yield Put(keys.node_spec(ODD.name), codec.encode(ODD))
    for range_ in RANGES:
        for name in rng.sample(NAMES, count) if range_ != keys.DESIRED else ():
            yield Put(range_ + name, rng.choice(VALUES))
    yield Put(keys.ROOT + "of-a-later-version", b"{}")
    yield Put(keys.ROOT + "later/version", b"\xff")


class Spoiler:
    """Writes garbage where nothing is, and takes it away again."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster
        self._written: set[str] = set()

    def spoil(self, puts: Iterable[Put]) -> None:
        there = {item.key for item in self._cluster.server.list(under(keys.ROOT)).items}
        for put in puts:
            if put.key not in there:
                self._cluster.server.txn([], [put])
                self._written.add(put.key)

    def clean(self) -> None:
        for key in sorted(self._written):
            self._cluster.server.txn([], [Delete(key)])


async def a_shake(cluster: SimCluster) -> None:
    """Let all sessions and leaders begin anew."""
    host = cluster.rng.choice(cluster.hosts)
    host.power_loss()
    cluster.server.lose_leader()
    await cluster.sleep(5.0)
    cluster.server.elect()
    host.boot()
    await cluster.sleep(10.0)


def missing(cluster: SimCluster) -> str:
    """Return which services run nowhere."""
    running = {id_.split(".")[1] for host in cluster.hosts for id_ in host.running()}
    asked = {spec.name for stack in cluster.stacks.values() for spec in stack.services}
    return ", ".join(sorted(asked - running))


async def a_spoilt_store(cluster: SimCluster) -> None:
    """Spoil the store before anything is deployed, and while it is used; then clean it."""
    spoiler = Spoiler(cluster)
    spoiler.spoil(garbage(cluster.rng, 3))
    cluster.deploy(draw_stack(cluster.rng, generation=1))
    await cluster.until(lambda: missing(cluster), 30.0)
    for _ in range(3):
        spoiler.spoil(garbage(cluster.rng, 3))
        await a_shake(cluster)
    await cluster.until(lambda: missing(cluster), 30.0)
    spoiler.spoil(Put(keys.DESIRED + name, b"{}") for name in NAMES)
    await cluster.sleep(10.0)
    assert not missing(cluster)
    spoiler.clean()
    await cluster.until(lambda: complaint(cluster), REST_S)


@pytest.mark.parametrize("seed", range(5))
def test_what_nobody_can_read_ends_nobody(seed: int, tmp_path: Path) -> None:
    simulate(seed, a_spoilt_store, tmp_path, Machinery())
