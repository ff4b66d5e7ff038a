"""What test_members.py runs, one case a process: etcd on three hosts, of which one vanishes.

This process is on one host, with a member; two more are network namespaces at the same switch.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from structlog.testing import capture_logs

from shared.etcd.store import EtcdStore
from shared.model import Revision
from shared.store import Batch, Put, under
from shared.timing import LAN, Timing
from tests.contract.etcd_server import EtcdCluster, EtcdMember
from tests.contract.store_rig import WITHIN_S, keys_of, put_surely
from tests.waiting import until

HERE: Final = "198.18.0.1"
_FAR: Final = (2, 3)
_PORTS: Final = (2379, 2380)
# The time that our own member must have answered, as short as a test can wait for.
_SOON_HOME: Final = msgspec.structs.replace(LAN, etcd_home_s=1.0)


class Rig:
    """A member here, `home`, and one on each of two other hosts."""

    def __init__(self, folder: Path) -> None:
        self.cluster = EtcdCluster(
            [
                _member(1, folder),
                *(_member(n, folder, "nsenter", f"--net={folder}/host{n}") for n in _FAR),
            ]
        )
        self.home = self.cluster.members[0]

    def client(self, timing: Timing = LAN, near: str = "") -> EtcdStore:
        return EtcdStore(self.cluster.settings(), timing=timing, near=near)

    async def far_follower(self) -> int:
        """Return a host that is not this one, and whose member does not lead."""
        async with self.client() as store:
            led = {each.endpoint for each in await store.status() if each.is_leader}
        return next(n for n in _FAR if f"198.18.0.{n}:2379" not in led)


class Follower:
    """Reads a watch, and knows the keys in the order in which they came."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    async def read(self, batches: AsyncGenerator[Batch, None]) -> None:
        async with contextlib.aclosing(batches):
            async for batch in batches:
                self.keys += keys_of(batch)


@contextlib.asynccontextmanager
async def following(store: EtcdStore, after: Revision) -> AsyncGenerator[Follower, None]:
    """Let somebody follow all keys."""
    follower = Follower()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(follower.read(store.watch(under("/"), after=after)))
        yield follower
        task.cancel()


def _member(number: int, folder: Path, *inside: str) -> EtcdMember:
    address = f"198.18.0.{number}"
    return EtcdMember(
        f"m{number}", folder, _PORTS, "http", address, peer_host=address, inside=inside
    )


def run_all(*commands: str) -> None:
    for command in commands:
        subprocess.run(command.split(), check=True)


@contextlib.contextmanager
def switch(folder: Path) -> Iterator[None]:
    """Make the other hosts, and the switch that joins them to this one."""
    run_all(
        "ip link set lo up",
        "ip link add switch type bridge",
        "ip link set switch up",
        f"ip addr add {HERE}/24 dev switch",
    )
    for number in _FAR:
        (folder / f"host{number}").touch()
        far = f"nsenter --net={folder}/host{number}"
        run_all(
            f"unshare --net={folder}/host{number} ip link set lo up",
            f"ip link add port{number} type veth peer name end{number}",
            f"ip link set end{number} netns {folder}/host{number}",
            f"ip link set port{number} master switch",
            f"ip link set port{number} up",
            f"{far} ip addr add 198.18.0.{number}/24 dev end{number}",
            f"{far} ip link set end{number} up",
        )
    try:
        yield
    finally:
        run_all(*(f"umount {folder}/host{number}" for number in _FAR))


async def a_host_that_vanishes_is_left_by_the_kernels_word_and_nothing_is_missed(rig: Rig) -> None:
    """With a stream at rest: neither a lease nor a question is under way to that host."""
    victim = await rig.far_follower()
    async with rig.client() as other, rig.client() as store:
        start = await put_surely(other, "/start")
        while store.endpoint != f"198.18.0.{victim}:2379":
            store._endpoints.leave(store._endpoints.current, "the test wants another")  # noqa: SLF001 - its order is random
        async with following(store, start) as follower:
            await put_surely(other, "/1")
            await until(lambda: follower.keys == ["/1"], WITHIN_S)
            with capture_logs() as logs:
                run_all(f"ip link set port{victim} down")
                await put_surely(other, "/2")
                await until(lambda: follower.keys == ["/1", "/2"], WITHIN_S)

    why = [log["reason"] for log in logs if log["event"] == "watch_stream_ended"]
    assert len(why) == 1
    assert "timed out" in why[0]


async def what_runs_elsewhere_comes_home_once_our_own_member_serves(rig: Rig) -> None:
    rig.home.kill()
    names: list[str] = []
    async with (
        rig.client(_SOON_HOME, near=HERE) as store,
        rig.client() as other,
        store.lease(2.0) as lease,
    ):
        start = await other.txn([], [Put("/start", b"")])
        async with following(store, start) as follower, asyncio.TaskGroup() as group:
            home = store._endpoints.home  # noqa: SLF001 - who it is with is what this is about
            assert home is not None
            away = [each for each in store._endpoints.members if each is not home]  # noqa: SLF001
            await until(lambda: any(each.in_use.is_set() for each in away), WITHIN_S)
            assert not home.in_use.is_set()
            group.create_task(asyncio.to_thread(rig.cluster.revive))

            async def is_home_after_one_more() -> bool:
                names.append(f"/{len(names)}")
                await put_surely(other, names[-1])
                return home.in_use.is_set() and not any(each.in_use.is_set() for each in away)

            await until(is_home_after_one_more, WITHIN_S)
            assert store.endpoint == home.address
            names.append("/last")
            await put_surely(store, "/last")
            await until(lambda: len(follower.keys) >= len(names), WITHIN_S)
        assert not lease.lost.is_set()

    assert follower.keys == names


CASES: Final[dict[str, Callable[[Rig], Awaitable[None]]]] = {
    case.__name__: case
    for case in (
        a_host_that_vanishes_is_left_by_the_kernels_word_and_nothing_is_missed,
        what_runs_elsewhere_comes_home_once_our_own_member_serves,
    )
}


async def main(name: str, folder: Path) -> None:
    """Run one case."""
    with switch(folder):
        rig = Rig(folder)
        try:
            rig.cluster.start()
            await CASES[name](rig)
        finally:
            rig.cluster.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
