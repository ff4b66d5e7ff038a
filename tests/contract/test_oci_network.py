"""Network modes, as the kernel has them."""

import socket
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from node_agent.network.network import HOST, NOTHING, Asked, Attachment
from shared.errors import RuntimeFailureError
from shared.model import AllocId, Tuning
from tests.contract import admitted_case
from tests.contract.case import run_case
from tests.contract.host_sandbox import BareNetwork
from tests.contract.oci_inside import SLEEP, inside, run, sleeping
from tests.contract.runtimes import OciBench, oci_bench, shell

pytestmark = pytest.mark.real

NODE = "192.0.2.9"


class _Modes(BareNetwork):
    """A network that knows of host mode."""

    async def attach(self, id_: AllocId, asked: Asked = NOTHING) -> Attachment:
        return Attachment(NODE, "") if asked.mode == HOST else await super().attach(id_)


@pytest.fixture
async def bench(place: Path) -> AsyncGenerator[OciBench, None]:
    async with oci_bench(place, _Modes(place / "netns")) as real:
        yield real


async def test_host_mode_has_the_nodes_links_and_its_address(bench: OciBench) -> None:
    own = await sleeping(bench, network_mode="host")
    other = await sleeping(bench)
    here = {name for _, name in socket.if_nameindex()}
    assert {*(await inside(bench, own, "ls /sys/class/net")).split()} >= here
    assert (await inside(bench, other, "ls /sys/class/net")).split() == ["lo"]
    addresses = {each.id: each.address for each in await bench.oci.list()}
    assert addresses[own] == NODE
    assert f"{NODE}\t" in await inside(bench, own, "cat /etc/hosts")


async def test_what_host_mode_would_change_of_the_node_is_refused(bench: OciBench) -> None:
    tuning = Tuning(sysctls={"net.ipv4.ip_forward": "0"})
    with pytest.raises(RuntimeFailureError, match="network_mode: host it is the node's own"):
        await run(bench, shell(SLEEP, network_mode="host", tuning=tuning))
    with pytest.raises(RuntimeFailureError, match="only host and none"):
        await run(bench, shell(SLEEP, network_mode="container:web"))


def test_who_is_made_is_on_its_network(tmp_path: Path) -> None:
    run_case(admitted_case.__name__.rpartition(".")[2], str(tmp_path))
