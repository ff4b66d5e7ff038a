"""Networks from the command line to the store, and what stacks may do with them."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from deploy.client import ApiClient
from shared import codec, keys
from shared.api import PoolView, StackUpload
from shared.errors import NotFoundError, OvertakenError, SpecError
from shared.model import Joined, Manifest, Network, NodeName, ServiceSpec, StackName
from shared.store import Put
from tests.build import assignment, service
from tests.integration.api_rig import BLOG, SHOP, cluster, upload
from tests.integration.test_cli import hafen
from tests.unit.scheduler.test_routes import joined

NODE = NodeName("node-1")


SUBNET = ("--subnet", "172.20.0.0/24")


async def test_a_network_is_made_once_and_beside_the_others(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        made = await hafen(rig, "network", "create", "--internal", *SUBNET, "n")
        again = await hafen(rig, "network", "create", "--internal", *SUBNET, "n")
        other = await hafen(rig, "network", "create", "n")
        over = await hafen(rig, "network", "create", "m", "--subnet", "172.20.0.0/16")
        shown = await client.networks()

    said = "n is there; a Compose file names it under networks with external: true\n"
    assert made == again == (0, said, "")
    assert other[0] == 2
    assert "network n is there with other settings: remove it first" in other[2]
    overlap = "network m: subnet 172.20.0.0/16 overlaps 172.20.0.0/24, the subnet of network n of"
    assert over == (2, "", f"hafen: {overlap} `hafen network create`\n")
    assert [one.name for one in shown.networks] == ["n"]


async def test_a_network_is_removed_only_once_nobody_is_on_it(tmp_path: Path) -> None:
    fixed = joined(service(), Joined(network="n", address="172.20.0.9"))
    held = msgspec.structs.replace(assignment("shop.web.1.a", fixed.workload), address="198.19.1.2")
    async with cluster(tmp_path) as (rig, client):
        await rig.join(NODE)
        await hafen(rig, "network", "create", "--internal", *SUBNET, "n")
        await client.deploy(SHOP, upload(fixed))
        used = await hafen(rig, "network", "rm", "-y", "n")
        manifest = Manifest(node=NODE, generation=1, assignments=(held,))
        await rig.put(keys.desired(NODE), manifest)
        listed = await hafen(rig, "network", "ls")
        await client.remove(SHOP)
        left = await hafen(rig, "network", "rm", "-y", "n")
        await rig.put(keys.desired(NODE), Manifest(node=NODE, generation=2))
        gone = await hafen(rig, "network", "rm", "-y", "n")
        unknown = await hafen(rig, "network", "rm", "-y", "n")

    assert used == (2, "", "hafen: network n is used by shop.web: take them off it first\n")
    table = (
        "NETWORK  SUBNET         FIXED     CONTAINERS  MADE BY                 USED BY   NOTES\n"
        "n        172.20.0.0/24  1 of 254  1           `hafen network create`  shop.web  internal\n"
        "\n"
        "ADDRESSES OF  SUBNET         USED\n"
        "node-1        198.19.1.0/24  1 of 253\n"
    )
    assert listed == (0, table, "")
    assert left == (2, "", "hafen: network n still has 1 containers, which go: try again then\n")
    assert gone == (0, "n is removed\n", "")
    assert unknown == (3, "", "hafen: there is no network 'n'; none was made by a command\n")


async def test_a_stack_makes_its_networks_and_others_keep_it_from_going(tmp_path: Path) -> None:
    net = Network(name="shop_all")
    both = joined(service(), Joined(network="shop_all"))
    crm = StackName("crm")
    async with cluster(tmp_path) as (_, client):
        with pytest.raises(SpecError, match="nobody makes network 'shop_all'"):
            await client.deploy(crm, upload(both))
        with pytest.raises(SpecError, match="nobody makes network 'shop_all'"):
            await client.plan(crm, upload(both))
        await client.deploy(SHOP, msgspec.structs.replace(upload(both), networks=(net,)))
        await client.deploy(crm, upload(both))
        shown = await client.networks()
        with pytest.raises(SpecError, match=r"network shop_all is used by crm\.web"):
            await client.remove(SHOP)
        with pytest.raises(NotFoundError, match="is made by stack shop"):
            await client.remove_network("shop_all")
        with pytest.raises(SpecError, match="stack shop makes it with a way out"):
            await client.create_network(msgspec.structs.replace(net, internal=True))
        # The very same may be made by a command, and then outlives the stack.
        await client.create_network(net)
        await client.remove(SHOP)
        await client.remove(crm)
        await client.remove_network("shop_all")
        after = await client.networks()

    (view,) = shown.networks
    assert (view.made_by, view.used_by) == (("stack shop",), ("crm.web", "shop.web"))
    assert after.networks == ()
    assert after.pools == ()


async def test_a_deploy_of_the_same_services_on_other_networks_is_another_generation(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as (_, client):
        first = await client.deploy(SHOP, upload())
        net = (Network(name="shop_all"),)
        second = await client.deploy(SHOP, msgspec.structs.replace(upload(), networks=net))
        again = await client.deploy(SHOP, msgspec.structs.replace(upload(), networks=net))
    assert (first.generation, second.generation, again.generation) == (1, 2, 2)
    assert again.revision == second.revision


async def test_a_network_made_on_what_has_changed_this_moment_is_not_made(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        write = rig.store.txn

        async def overtaken(conditions: object, ops: object) -> object:
            rig.store.txn = write  # type: ignore[method-assign]
            rival = Network(name="m", subnet="172.20.0.0/24")
            await rig.seen(await rig.other.txn([], [Put(keys.network("m"), codec.encode(rival))]))
            return await write(conditions, ops)  # type: ignore[arg-type]

        rig.store.txn = overtaken  # type: ignore[method-assign, assignment]
        with pytest.raises(OvertakenError, match="nothing was changed"):
            await client.create_network(Network(name="n", subnet="172.20.0.0/16"))
        shown = await client.networks()
    assert [one.name for one in shown.networks] == ["m"]


async def test_virtual_addresses_are_counted_beside_the_nodes_own(tmp_path: Path) -> None:
    async with cluster(tmp_path, vips="198.18.128.0/28") as (rig, client):
        await rig.join(NODE)
        shown = await client.networks()
    assert shown.pools == (
        PoolView(node=NODE, subnet="198.19.1.0/24", capacity=253, used=0),
        PoolView(subnet="198.18.128.0/28", capacity=14, used=0),
    )


UNREAD = keys.network("n")
MEND = f"{UNREAD} cannot be read: mend it, or delete that key"


def making(network: Network, *services: ServiceSpec) -> StackUpload:
    return msgspec.structs.replace(upload(*services), networks=(network,))


async def test_a_network_whose_record_cannot_be_read_is_in_nobody_elses_way(tmp_path: Path) -> None:
    own = Network(name="shop_all", subnet="172.20.0.0/24")
    async with cluster(tmp_path) as (rig, client):
        await client.deploy(SHOP, making(own))
        await rig.seen(await rig.other.txn([], [Put(UNREAD, b"[")]))

        # Its own was made while the record still said something.
        twice = joined(service(replicas=2), Joined(network="shop_all"))
        again = await client.deploy(SHOP, making(own, twice))
        await client.deploy(BLOG, making(Network(name="blog_all")))
        await client.create_network(Network(name="m"))
        await client.remove(BLOG)
        removed = await hafen(rig, "network", "rm", "-y", "n")
    assert again.generation == 2
    assert removed == (3, "", f"hafen: {MEND}\n")


async def test_a_network_whose_record_cannot_be_read_is_refused_to_those_who_need_it(
    tmp_path: Path,
) -> None:
    same, beside = Network(name="n"), Network(name="m", subnet="172.20.0.0/24")
    on_it = upload(joined(service(), Joined(network="n")))
    overlap = "network m: nobody knows whether subnet '172.20.0.0/24' overlaps that of network n"
    refused = {
        f"service web: {MEND}": (deployed(on_it), planned(on_it)),
        f"network n: {MEND}": (deployed(making(same)), created(same)),
        f"{overlap}: {MEND}": (deployed(making(beside)), created(beside)),
    }
    async with cluster(tmp_path) as (rig, client):
        await rig.seen(await rig.other.txn([], [Put(UNREAD, b"[")]))
        for said, asked in refused.items():
            for ask in asked:
                with pytest.raises(SpecError, match=f"^{re.escape(said)}$"):
                    await ask(client)

        await rig.delete(UNREAD)
        await client.create_network(same)
        await client.deploy(SHOP, on_it)


def deployed(what: StackUpload) -> Callable[[ApiClient], Awaitable[object]]:
    return lambda client: client.deploy(SHOP, what)


def planned(what: StackUpload) -> Callable[[ApiClient], Awaitable[object]]:
    return lambda client: client.plan(SHOP, what)


def created(network: Network) -> Callable[[ApiClient], Awaitable[object]]:
    return lambda client: client.create_network(network)
