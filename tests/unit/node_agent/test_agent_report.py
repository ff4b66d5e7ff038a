"""What a whole agent tells of itself, when nobody knows it, or does not any more."""

import asyncio
from pathlib import Path
from typing import Final

from shared import keys
from shared.clock import Clock
from shared.errors import UnavailableError
from shared.model import Manifest
from shared.states import AllocState
from shared.store import Delete, KeyRange, Snapshot, exactly
from tests.build import assignment, workload
from tests.fakes.runtime import FakeRuntime
from tests.fakes.store import FakeStore
from tests.unit.node_agent.agent_rig import ME, A, Node, states
from tests.virtual import on_virtual_time
from tests.waiting import until

HOUR_S: Final = 3600.0


def test_a_node_that_was_removed_and_joins_anew_says_again_what_it_said(tmp_path: Path) -> None:
    removed = (keys.node_spec(ME), keys.observed(ME), keys.gateway(ME))

    async def main(clock: Clock) -> None:
        node = Node(clock, tmp_path)

        def has(*names: str) -> bool:
            return all(node.etcd.list(exactly(name)).items for name in names)

        async with asyncio.TaskGroup() as group:
            agent = group.create_task(node.agent())
            await until(lambda: has(*removed), HOUR_S)
            node.store.cut()
            await until(lambda: not has(keys.node_alive(ME)), HOUR_S)
            await node.leader.txn([], [Delete(key) for key in removed])
            node.store.heal()
            await until(lambda: has(*removed, keys.node_alive(ME)), HOUR_S)
            agent.cancel()

    on_virtual_time(main)


class Deaf(FakeStore):
    """A store that does not show this node's manifest, and counts who asks for its report."""

    asked = 0

    async def list(self, keys_: KeyRange) -> Snapshot:
        if keys_ == exactly(keys.desired(ME)):
            raise UnavailableError("not now")
        self.asked += keys_ == exactly(keys.observed(ME))
        return await super().list(keys_)


def test_until_it_knows_what_is_asked_of_it_it_reads_once_that_it_never_reported(
    tmp_path: Path,
) -> None:
    async def main(clock: Clock) -> None:
        node = Node(clock, tmp_path)
        node.runtime = FakeRuntime(clock)
        node.store = deaf = Deaf(node.etcd, "agent")
        await node.write(Manifest(node=ME, generation=1, assignments=(assignment(A, workload()),)))
        async with asyncio.TaskGroup() as group:
            agent = group.create_task(node.agent())
            await clock.sleep(60.0)
            assert deaf.asked == 1
            assert node.report() is None
            agent.cancel()
        node.store = FakeStore(node.etcd, "another")
        async with asyncio.TaskGroup() as group:
            agent = group.create_task(node.agent())
            await node.reported(lambda one: states(one) == {A: AllocState.RUNNING})
            agent.cancel()

    on_virtual_time(main)
