"""Images through the API to the agents of all nodes, over mutual TLS, into real image stores."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from deploy.client import ApiClient
from deploy.lab.images import build_whoami
from node_agent.images import AgentImages
from node_agent.oci.images import ImageStore
from node_agent.streams import AgentStreams
from shared import keys
from shared.api import ImagePush
from shared.errors import SpecError, UnavailableError
from shared.model import NodeName
from shared.settings import AGENT_PORT
from shared.upload import Limits
from tests.integration.api_rig import WITHIN_S, Rig, cluster
from tests.integration.test_api_tls import Written, is_open, node_tls, settings
from tests.loopback import own
from tests.waiting import until

pytestmark = pytest.mark.real

# Addresses of this file only: the ports are fixed.
NODE_1, NODE_2 = own(1), own(2)
WHOAMI = "hafen.local/whoami:1"


@asynccontextmanager
async def agent(
    folder: Path,
    node: str,
    address: str,
    limits: Limits = Limits(left_bytes_min=0),  # noqa: B008 - frozen
) -> AsyncIterator[ImageStore]:
    """Serve one node's API with a real image store."""
    data = folder / node
    ours = settings(node, address, node_tls(folder, node, address))
    ours = msgspec.structs.replace(ours, data_dir=data)
    store = ImageStore(data)
    streams = AgentStreams(Written(), AgentImages(store, ours, limits), ours)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(streams.serve())
        await until(lambda: is_open(address, AGENT_PORT), WITHIN_S)
        yield store
        serving.cancel()
    assert list((data / "uploads").glob("*/*")) == []
    assert list((data / "images" / "incoming").glob("*")) == []


@asynccontextmanager
async def two_nodes(folder: Path) -> AsyncIterator[tuple[Rig, ApiClient]]:
    async with cluster(folder, NODE_1, node_tls(folder, "node-1", NODE_1)) as (rig, client):
        await rig.join("node-1", NODE_1)
        await rig.join("node-2", NODE_2)
        yield rig, client
    assert list((folder / "data" / "uploads").glob("*/*")) == []


async def pushed(client: ApiClient, archive: Path, name: str = "") -> list[ImagePush]:
    """Return the nodes' answers, in order, and the sum."""
    async with aclosing(client.push_image(archive, name)) as answers:
        found = [one async for one in answers]
    return [*sorted(found[:-1], key=lambda one: one.node or ""), found[-1]]


def whoami(folder: Path) -> Path:
    archive = folder / "whoami.tar"
    build_whoami(archive)
    return archive


def docker_archive(folder: Path) -> Path:
    """Return the image as `docker save` and `buildah push` write it."""
    archive = folder / "docker.tar"
    target = f"docker-archive:{archive}:shop-web:latest"
    subprocess.run(["skopeo", "copy", "-q", f"oci-archive:{whoami(folder)}", target], check=True)
    return archive


@pytest.mark.parametrize("kind", [whoami, docker_archive])
async def test_an_image_comes_to_every_node_under_the_name_it_was_given(
    tmp_path: Path, kind: Callable[[Path], Path]
) -> None:
    archive = kind(tmp_path)
    async with (
        two_nodes(tmp_path) as (_, client),
        agent(tmp_path, "node-1", NODE_1) as first,
        agent(tmp_path, "node-2", NODE_2) as second,
    ):
        name = "shop-web:0123456789ab"
        before = await client.image_holders(name)
        told = await pushed(client, archive, name)
        again = await pushed(client, archive, name)
        after = await client.image_holders(name)
        found = first.find(name), second.find(name), first.find(WHOAMI)

    full = "docker.io/library/shop-web:0123456789ab"
    assert [(one.node, one.image, one.problem) for one in told] == [
        ("node-1", full, ""),
        ("node-2", full, ""),
        (None, full, ""),
    ]
    assert [(told[-1].have, told[-1].asked), (again[-1].have, again[-1].asked)] == [(2, 2), (2, 2)]
    assert found[0] is not None
    assert (found[0], found[2]) == (found[1], None)
    assert (before.holders, set(before.lacking)) == ((), {"node-1", "node-2"})
    assert (after.holders, after.lacking) == (("node-1", "node-2"), {})


async def test_without_a_name_it_is_called_as_the_archive_says(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (rig, client), agent(tmp_path, "node-1", NODE_1) as store:
        await rig.delete(keys.node_alive(NodeName("node-2")))
        told = await pushed(client, whoami(tmp_path))
        assert store.find(WHOAMI) is not None

    # A node that is away is not even asked.
    assert [(one.node, one.image) for one in told] == [("node-1", WHOAMI), (None, WHOAMI)]
    assert (told[-1].have, told[-1].asked) == (1, 1)


async def test_a_node_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    full_disk = Limits(left_bytes_min=2**62)
    async with (
        two_nodes(tmp_path) as (_, client),
        agent(tmp_path, "node-1", NODE_1, full_disk),
        agent(tmp_path, "node-2", NODE_2) as second,
    ):
        told = await pushed(client, whoami(tmp_path))
        assert second.find(WHOAMI) is not None

    assert (told[0].node, told[0].image) == ("node-1", "")
    assert told[0].problem.startswith("no room for it: it may have 0 bytes")
    assert (told[1].node, told[1].image, told[1].problem) == ("node-2", WHOAMI, "")
    assert (told[2].have, told[2].asked) == (1, 2)
    assert told[2].problem == f"node-1: {told[0].problem}"


async def test_a_node_that_does_not_answer_is_named(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (_, client), agent(tmp_path, "node-1", NODE_1):
        told = await pushed(client, whoami(tmp_path))

    assert told[1].problem == "node-2 does not answer: Connection refused"
    assert (told[2].have, told[2].asked) == (1, 2)


@pytest.mark.parametrize("cut", [0, 1])
async def test_what_is_no_archive_is_one_clear_error_and_leaves_nothing(
    tmp_path: Path, cut: int
) -> None:
    archive = whoami(tmp_path)
    content = archive.read_bytes()[: archive.stat().st_size // 2] if cut else b"no tar" * 1000
    archive.write_bytes(content)
    async with (
        two_nodes(tmp_path) as (_, client),
        agent(tmp_path, "node-1", NODE_1) as store,
        agent(tmp_path, "node-2", NODE_2),
    ):
        told = await pushed(client, archive)
        assert store.find(WHOAMI) is None
        assert list((tmp_path / "node-1").rglob("unpacked/*")) == []

    assert (told[2].have, told[2].asked) == (0, 2)
    assert told[0].problem
    assert str(tmp_path) not in told[0].problem
    if not cut:
        assert told[0].problem.startswith("the archive: cannot be read as a tar archive")


async def test_a_wrong_name_is_refused_by_the_nodes(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (_, client), agent(tmp_path, "node-1", NODE_1):
        told = await pushed(client, whoami(tmp_path), "Not A Name")
        with pytest.raises(SpecError, match="name: has 600 characters, more than 512"):
            await pushed(client, whoami(tmp_path), "a" * 600)

    assert "is no image name" in told[0].problem


async def test_an_agent_of_no_node_is_no_place_for_an_image(tmp_path: Path) -> None:
    async with cluster(tmp_path, NODE_1, node_tls(tmp_path, "node-1", NODE_1)) as (_, client):
        with pytest.raises(UnavailableError, match="no node is well"):
            await pushed(client, whoami(tmp_path))
    async with cluster(tmp_path) as (rig, client):
        await rig.join("node-1", NODE_1)
        with pytest.raises(UnavailableError, match=r"the settings have no \[tls\]"):
            await client.image_holders("a")
