"""Fixtures of the contract suites: one etcd cluster for all of them, the store, the runtime."""

from collections.abc import AsyncGenerator, Generator, Iterator
from pathlib import Path

import pytest

from tests.contract.etcd_server import EtcdCluster, running_etcd
from tests.contract.runtimes import Bench, any_bench, ground
from tests.contract.store_rig import EtcdRig, FakeRig, Rig


@pytest.fixture(scope="session")
def etcd_cluster() -> Generator[EtcdCluster, None, None]:
    """Run three members for the whole session."""
    with running_etcd(3) as cluster:
        yield cluster


@pytest.fixture
def etcd_rig(etcd_cluster: EtcdCluster) -> Generator[EtcdRig, None, None]:
    """Return the real rig; members that a test hurt are well again after it."""
    rig = EtcdRig(etcd_cluster)
    try:
        yield rig
    finally:
        if rig.is_hurt:
            etcd_cluster.revive()


@pytest.fixture(params=["fake", pytest.param("etcd", marks=pytest.mark.real)])
def rig(request: pytest.FixtureRequest) -> Rig:
    """Return the fake, then the real rig."""
    if request.param == "fake":
        return FakeRig()
    real: EtcdRig = request.getfixturevalue("etcd_rig")
    return real


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Return a directory of the sandbox that this module's tests of the runtime run in."""
    with ground() as directory:
        yield directory


@pytest.fixture
async def bench(place: Path | None) -> AsyncGenerator[Bench, None]:
    """Return the real runtime; where a module's place is none, the fake."""
    async with any_bench(place) as one:
        yield one
