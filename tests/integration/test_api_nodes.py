"""Nodes over the API and as people type them: allowed, labelled, drained, removed."""

from pathlib import Path

import msgspec
import pytest

from shared import codec, keys
from shared.api import NodeChange
from shared.errors import NotFoundError, OvertakenError, SpecError
from shared.model import (
    Availability,
    FloatingAddress,
    FloatingClaim,
    GatewayWord,
    Manifest,
    NodeName,
    NodeSpec,
    Order,
    Report,
    Resources,
    Stack,
    UpdatePolicy,
)
from shared.store import Put, under
from tests.build import MIB, assignment, running, service
from tests.fakes.store import WriteFate
from tests.integration.api_rig import SHOP, Rig, cluster
from tests.integration.test_cli import hafen

ONE, TWO = NodeName("node-1"), NodeName("node-2")
DRAINING, CORDONED = Availability.DRAINING, Availability.CORDONED


async def spec_of(rig: Rig, name: NodeName) -> NodeSpec:
    (item,) = (await rig.other.list(under(keys.node_spec(name)))).items
    return codec.decode(NodeSpec, item.value, item.key)


async def with_a_replica_on_one_of_two(rig: Rig) -> None:
    """Let a service run on the first of two nodes, of which none has room for another copy."""
    await rig.join(ONE)
    await rig.join(TWO)
    web = service(memory_bytes=512 * MIB)
    await rig.put(keys.stack(SHOP), Stack(name=SHOP, generation=1, services=(web,)))
    await rig.run_replica(ONE, web)


async def keys_of(rig: Rig, name: str) -> set[str]:
    found = await rig.other.list(under(keys.ROOT))
    return {item.key for item in found.items if name in item.key.split("/")}


async def test_what_a_node_may_do_and_its_labels_are_written_and_shown(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await rig.join(ONE)
        done = await hafen(rig, "node", "label", ONE, "zone=a", "node.labels.disk=ssd")
        cordoned = await hafen(rig, "node", "cordon", ONE)
        listed = (await hafen(rig, "node", "ls"))[1]
        before = rig.server.revision
        again = await client.change_node(ONE, NodeChange(availability=CORDONED))
        assert rig.server.revision == before
        shown = (await hafen(rig, "node", "show", ONE))[1]
        taken = await hafen(rig, "node", "label", ONE, "disk-", "nothing-")
        opened = await hafen(rig, "node", "uncordon", ONE)
        spec = await spec_of(rig, ONE)

    assert done == (0, "node-1: disk=ssd zone=a\n", "")
    assert cordoned == (0, "node-1 takes nothing new\n", "")
    assert "cordoned" in listed
    assert "disk=ssd zone=a" in listed
    assert (again.node.state, again.node.availability) == ("cordoned", CORDONED)
    assert "labels: disk=ssd zone=a" in shown
    assert taken[1] == "node-1: zone=a\n"
    assert opened == (0, "node-1 takes work again\n", "")
    assert (spec.availability, spec.labels) == (Availability.ACTIVE, {"zone": "a"})


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        ({"a b": "c"}, "'a b' cannot be a label"),
        ({"zone": "a b"}, "cannot be the value of label zone"),
        ({f"k{n}": "" for n in range(65)}, "65 labels; 64 are the most"),
    ],
)
async def test_labels_that_cannot_be_are_refused(
    tmp_path: Path, labels: dict[str, str | None], why: str
) -> None:
    async with cluster(tmp_path) as (rig, client):
        await rig.join(ONE)
        with pytest.raises(SpecError, match=why):
            await client.change_node(ONE, NodeChange(labels=labels))
        with pytest.raises(NotFoundError, match="there is no node 'node-7'; there are: node-1"):
            await client.change_node("node-7", NodeChange(labels={"zone": "a"}))


async def test_what_somebody_else_wrote_meanwhile_is_not_undone(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await rig.join(ONE)
        other = msgspec.structs.replace(await spec_of(rig, ONE), address="198.18.0.77")

        def fate() -> WriteFate:
            rig.store.write_fate = lambda: WriteFate.NORMAL
            rig.server.txn([], [Put(keys.node_spec(ONE), codec.encode(other))])
            return WriteFate.NORMAL

        rig.store.write_fate = fate
        with pytest.raises(OvertakenError, match="nothing was changed"):
            await client.change_node(ONE, NodeChange(availability=CORDONED))
        assert await spec_of(rig, ONE) == other


async def test_a_node_is_removed_once_it_is_gone_and_what_it_ran_is_given_up(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as (rig, client):
        await rig.join(ONE)
        await rig.join(TWO)
        await rig.run_replica(TWO, service())
        living = await hafen(rig, "node", "rm", "-y", TWO)
        await rig.delete(keys.node_alive(TWO))
        silent = await hafen(rig, "node", "rm", "-y", TWO)
        # Nothing can come back with it: nobody has to wait.
        await rig.put(keys.desired(TWO), Manifest(node=TWO, generation=2))
        await rig.put(keys.gateway(TWO), GatewayWord(node=TWO, trouble="", since_s=0.0))
        gone = await hafen(rig, "node", "rm", "-y", TWO)
        names = [one.name for one in (await client.nodes()).nodes]
        left = await keys_of(rig, TWO)
        again = await hafen(rig, "node", "rm", "-y", TWO)

    assert living[0] == 2
    assert "node-2 is ready, it has a session: `hafen node drain node-2`" in living[2]
    assert silent[0] == 2
    assert "node-2 is suspect and may come back with shop.web.1" in silent[2]
    assert gone[0] == 0
    assert gone[1].startswith("node-2 is removed\n")
    assert names == [ONE]
    assert left == set()
    assert again[0] == 3


async def test_a_node_that_comes_back_at_that_moment_is_not_removed(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await rig.join(ONE)
        await rig.delete(keys.node_alive(ONE))

        def fate() -> WriteFate:
            rig.store.write_fate = lambda: WriteFate.NORMAL
            rig.server.txn([], [Put(keys.node_alive(ONE), b"{}")])
            return WriteFate.NORMAL

        rig.store.write_fate = fate
        with pytest.raises(OvertakenError):
            await client.remove_node(ONE)
        assert keys.node_spec(ONE) in await keys_of(rig, ONE)


async def drained(rig: Rig) -> None:
    """Play a leader and agents that have moved everything away from node-1."""
    await rig.put(keys.desired(ONE), Manifest(node=ONE, generation=2))


async def test_a_drain_waits_until_the_node_is_empty(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await rig.join(ONE)
        await rig.join(TWO)
        await rig.put(keys.stack(SHOP), Stack(name=SHOP, generation=1, services=(service(),)))
        await rig.put(
            keys.desired(ONE),
            Manifest(node=ONE, generation=1, assignments=(assignment("shop.web.1.a"),)),
        )
        detached = await hafen(rig, "node", "drain", "--detach", ONE)
        late = await hafen(rig, "node", "drain", "--timeout", "3", ONE)
        await drained(rig)
        done = await hafen(rig, "node", "drain", ONE)
        state = (await client.node(ONE)).node.state

    assert detached == (0, "node-1 is being drained\n", "")
    assert late[0] == 6
    assert "shop.web.1 pending: it is placed elsewhere next" in late[2]
    assert done[:2] == (0, "node-1 is drained: nothing runs there\n")
    assert state == "draining"


async def test_what_cannot_leave_is_named_with_numbers_and_ends_the_wait(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await with_a_replica_on_one_of_two(rig)
        address = FloatingAddress(address="198.18.0.50")
        await rig.put(keys.floating(address.address), address)
        await rig.put(keys.vip(address.address), FloatingClaim(node=ONE))
        await client.change_node(TWO, NodeChange(availability=CORDONED))
        code, out, err = await hafen(rig, "node", "drain", ONE)
        why = (await hafen(rig, "why", "shop.web"))[1]

    assert (code, out) == (6, "")
    assert "node-1 is not drained: 2 things stay there" in err
    assert "shop.web.1 healthy: no node fits: node-1: is draining; node-2: is cordoned" in err
    assert "floating address 198.18.0.50: no other node may have it now" in err
    assert "node-2: is cordoned" in why


async def test_memory_that_is_lacking_is_said_with_numbers(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await with_a_replica_on_one_of_two(rig)
        await client.change_node(ONE, NodeChange(availability=DRAINING))
        (left,) = (await client.node(ONE)).left
        services = (await client.services()).services

    assert left.is_stuck
    assert "node-2: memory: needs 512 MiB, has 0 MiB free of 0 MiB" in left.why
    assert any("needs 512 MiB" in sentence for one in services for sentence in one.waiting)


async def test_a_copy_that_waits_its_turn_says_so_as_everywhere_else(tmp_path: Path) -> None:
    update = UpdatePolicy(parallelism=1, order=Order.STOP_FIRST)
    web = msgspec.structs.replace(service(replicas=2), update=update)
    copies = [assignment(f"shop.web.{slot}.a", web.workload) for slot in (1, 2)]
    report = Report(
        node=ONE,
        capacity=Resources(cpu_millis=1000),
        allocations=tuple(running(one.id) for one in copies),
    )
    async with cluster(tmp_path) as (rig, client):
        await rig.join(ONE)
        await rig.join(TWO)
        await rig.put(keys.stack(SHOP), Stack(name=SHOP, generation=1, services=(web,)))
        manifest = Manifest(node=ONE, generation=1, assignments=tuple(copies))
        await rig.put(keys.desired(ONE), manifest)
        await rig.put(keys.observed(ONE), report)
        await client.change_node(ONE, NodeChange(availability=DRAINING))
        first, second = (await client.node(ONE)).left
        why = (await hafen(rig, "why", "shop.web"))[1]
        listed = (await hafen(rig, "ls"))[1]

    turn = "of its copies that have to move, 1 may be away at a time"
    assert (first.why, first.is_stuck) == ("it is placed elsewhere next", False)
    assert (second.why, second.is_stuck) == (turn, False)
    assert turn in why
    assert turn in listed
