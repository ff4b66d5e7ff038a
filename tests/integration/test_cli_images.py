"""Pushing images, and deploys of what is built, as processes; a script stands for the builder."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from deploy.client import ApiClient
from deploy.lab.images import file, tar
from node_agent.images import AgentImages
from node_agent.streams import AgentStreams
from shared.errors import ConvergenceError, HostError, ImageError
from shared.model import PullPolicy, ServiceSpec
from shared.settings import AGENT_PORT
from tests.integration.api_rig import SHOP, WITHIN_S, Rig, cluster
from tests.integration.test_api_tls import Written, is_open, node_tls, settings
from tests.integration.test_cli import hafen
from tests.loopback import own
from tests.waiting import until

# Addresses of this file only: the ports are fixed.
NODES = {"node-1": own(1), "node-2": own(2)}
COMPOSE = "name: shop\nservices: {web: {build: .}, db: {image: 'db:1'}, cache: {image: shop-web}}\n"
# Stands for a program that is not part of hafen: it "builds" whatever lies in made.tar.
BUILDER = """#!/bin/sh
echo "$1" >>"$HERE/asked"
for last; do :; done
if [ "$1" = push ]; then
    path=${last#docker-archive:}
    cp "$HERE/made.tar" "${path%%.tar:*}.tar"
fi
"""


class Held:
    """A node's images: archives by name, as far as it takes any."""

    def __init__(self) -> None:
        self.archives: dict[str, bytes] = {}
        self.problem = ""

    def find(self, name: str) -> object | None:
        return self.archives.get(name)

    async def load(self, path: Path, name: str = "") -> str:
        if self.problem:
            raise ImageError(self.problem)
        self.archives[name or "as-it-says"] = await asyncio.to_thread(path.read_bytes)
        return name or "as-it-says"


def made(folder: Path, version: str) -> bytes:
    """Make the archive that the builder gives from now on; return it."""
    listing = b'[{"Config": "c.json", "RepoTags": ["shop-web:latest"]}]'
    config = b'{"version": "%s"}' % version.encode()
    content = tar([file("c.json", config, 0o644), file("manifest.json", listing, 0o644)])
    (folder / "made.tar").write_bytes(content)
    return content


@asynccontextmanager
async def shop(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Rig, ApiClient, dict[str, Held]]]:
    """Give a cluster of two nodes that take images, a Compose file, and a builder."""
    builder = folder / "bin" / "buildah"
    builder.parent.mkdir()
    builder.write_text(BUILDER, encoding="utf-8")
    builder.chmod(0o755)
    monkeypatch.setenv("PATH", str(builder.parent), prepend=os.pathsep)
    monkeypatch.setenv("HERE", str(folder))
    (folder / "Dockerfile").write_text("FROM scratch\n", encoding="utf-8")
    (folder / "compose.yaml").write_text(COMPOSE, encoding="utf-8")
    made(folder, "one")
    held = {node: Held() for node in NODES}
    first = NODES["node-1"]
    async with (
        cluster(folder, first, node_tls(folder, "node-1", first)) as (rig, client),
        asyncio.TaskGroup() as group,
    ):
        serving = [
            group.create_task(serve(folder, node, address, held[node]))
            for node, address in NODES.items()
        ]
        for node, address in NODES.items():
            await rig.join(node, address)
            await until(lambda at=address: is_open(at, AGENT_PORT), WITHIN_S)  # type: ignore[misc]
        yield rig, client, held
        for task in serving:
            task.cancel()


async def serve(folder: Path, node: str, address: str, held: Held) -> None:
    ours = settings(node, address, node_tls(folder, node, address))
    ours = msgspec.structs.replace(ours, data_dir=folder / node)
    await AgentStreams(Written(), AgentImages(held, ours), ours).serve()


async def deployed(client: ApiClient) -> dict[str, ServiceSpec]:
    newest = (await client.history(SHOP)).generations[0].generation
    stack = await client.generation(SHOP, newest)
    return {spec.name: spec for spec in stack.services}


DEPLOY = ("deploy", "--detach", "--no-plan")


async def test_a_deploy_builds_brings_and_runs_what_was_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(tmp_path, monkeypatch) as (rig, client, held):
        code, out, err = await hafen(rig, *DEPLOY)
        assert (code, out) == (0, "shop: generation 1 is stored\n"), err
        services = await deployed(client)
        image = services["web"].workload.image
        archives = [dict(one.archives) for one in held.values()]

    assert image.startswith("shop-web:")
    assert len(image) == len("shop-web:") + 12
    # A service without `build` that runs the same image runs the same build.
    assert services["cache"].workload.image == image
    assert services["web"].workload.pull is PullPolicy.NEVER
    assert services["db"].workload.image == "db:1"
    assert archives == [{image: (tmp_path / "made.tar").read_bytes()}] * 2
    assert f"node-1: has {image} after " in err
    assert f"{image}: on 2 of 2 nodes\n" in err


async def test_another_build_of_the_same_name_is_a_change_and_the_same_one_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(tmp_path, monkeypatch) as (rig, client, held):
        await hafen(rig, *DEPLOY)
        before = await deployed(client)
        code, out, err = await hafen(rig, *DEPLOY)
        assert (code, out) == (0, "shop: generation 1 is stored\n"), err
        assert "every node has it\n" in err
        made(tmp_path, "two")
        code, out, err = await hafen(rig, *DEPLOY)
        assert (code, out) == (0, "shop: generation 2 is stored\n"), err
        after = await deployed(client)
        assert set(held["node-2"].archives) == {
            one["web"].workload.image for one in (before, after)
        }

    assert before["web"].workload.image != after["web"].workload.image
    assert before["db"] == after["db"]


async def test_a_plan_builds_and_brings_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(tmp_path, monkeypatch) as (rig, client, held):
        await hafen(rig, *DEPLOY)
        old = (await deployed(client))["web"].workload.image
        made(tmp_path, "two")
        _, out, err = await hafen(rig, "plan")
        _, unbuilt, _ = await hafen(rig, "plan", "--no-build")
        assert list(held["node-1"].archives) == [old]

    assert f"~ image: {old} -> shop-web:" in out, err
    assert f"~ image: {old} -> shop-web\n" in unbuilt


async def test_no_build_runs_the_names_as_they_stand_and_build_brings_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(tmp_path, monkeypatch) as (rig, client, held):
        code, _, err = await hafen(rig, *DEPLOY, "--no-build")
        assert code == 0, err
        assert not (tmp_path / "asked").exists()
        assert (await deployed(client))["web"].workload.image == "shop-web"
        await hafen(rig, *DEPLOY)
        for one in held.values():
            one.problem = "the disk is full"
        assert (await hafen(rig, *DEPLOY))[0] == 0
        assert (await hafen(rig, *DEPLOY, "--build"))[0] == ConvergenceError.exit_code


async def test_what_a_node_lacks_is_not_deployed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(tmp_path, monkeypatch) as (rig, client, held):
        held["node-2"].problem = "the disk is full"
        code, _, err = await hafen(rig, *DEPLOY)
        assert code == ConvergenceError.exit_code
        assert "node-2: failed after " in err
        assert "1 of 2 nodes do not have shop-web:" in err
        assert err.endswith(": node-2: the disk is full; mend them and push it again\n")
        assert len(held["node-1"].archives) == 1
        assert (await client.status()).stacks == 0


async def test_without_a_builder_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(tmp_path, monkeypatch) as (rig, client, _):
        monkeypatch.setenv("PATH", str(tmp_path))
        code, _, err = await hafen(rig, *DEPLOY)
        assert (code, err.splitlines()[-1]) == (
            HostError.exit_code,
            "hafen: nothing that builds images is installed: apt-get install buildah, or Docker",
        )
        assert (await client.status()).stacks == 0


async def test_an_archive_is_pushed_with_a_line_for_each_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(tmp_path, monkeypatch) as (rig, _, held):
        code, out, err = await hafen(rig, "image", "push", "made.tar")
        assert (code, err) == (0, "")
        assert sorted(line.partition(" after ")[0] for line in out.splitlines()) == [
            "as-it-says: on 2 of 2 nodes",
            "node-1: has as-it-says",
            "node-2: has as-it-says",
        ]
        held["node-1"].problem = "no"
        assert (await hafen(rig, "image", "push", "made.tar"))[0] == ConvergenceError.exit_code
        (tmp_path / "no.tar").write_bytes(b"no")
        code, _, err = await hafen(rig, "image", "push", "no.tar")
        assert (code, err[:36]) == (1, "hafen: no.tar: cannot be read as a t")


async def test_image_build_brings_images_under_the_names_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(tmp_path, monkeypatch) as (rig, _, held):
        code, out, err = await hafen(rig, "image", "build", "--push")
        assert (code, out) == (0, "shop-web.tar\n"), err
        assert list(held["node-2"].archives) == ["shop-web"]
