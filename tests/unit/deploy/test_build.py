"""How images are built: the arguments of each program, and what is said where none is there."""

import asyncio
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.build import build_image, config_digest, installed
from deploy.building import Tool, build_command, save_command
from deploy.compose.building import Build
from shared.errors import HostError, SpecError

WHOLE = Build(
    image="shop-web",
    context="/shop/web",
    target="run",
    args={"TOKEN": "s3cret", "A": "1"},
    labels={"team": "shop"},
    tags=("r.example/shop:1",),
    platforms=("linux/arm64",),
    network="none",
    extra_hosts=("db=10.0.0.1",),
    shm_bytes=65536,
    pull=True,
    no_cache=True,
)


def test_everything_that_can_be_said_becomes_an_argument() -> None:
    command = build_command(Tool.DOCKER, WHOLE, "/shop/web/D")
    assert command.argv == (
        *("docker", "build", "--tag", "shop-web", "--tag", "r.example/shop:1"),
        *("--file", "/shop/web/D", "--target", "run"),
        *("--build-arg", "A", "--build-arg", "TOKEN", "--label", "team=shop"),
        *("--platform", "linux/arm64", "--network", "none", "--add-host", "db:10.0.0.1"),
        *("--shm-size", "65536b", "--pull", "--no-cache", "--", "/shop/web"),
    )


@pytest.mark.parametrize("tool", list(Tool))
def test_values_of_build_arguments_are_in_no_argument(tool: Tool) -> None:
    command = build_command(tool, WHOLE, "")
    assert not [word for word in command.argv if "s3cret" in word]
    assert command.environment == {"TOKEN": "s3cret", "A": "1"}


@given(st.sampled_from(Tool), st.text(min_size=1))
def test_a_context_is_never_taken_for_an_option(tool: Tool, context: str) -> None:
    assert build_command(tool, Build(image="a", context=context), "").argv[-2:] == ("--", context)


@pytest.mark.parametrize(
    ("tool", "argv"),
    [
        (Tool.BUILDAH, ("buildah", "push", "--", "a:1", "docker-archive:/t/a.tar:a:1")),
        (Tool.DOCKER, ("docker", "save", "--output", "/t/a.tar", "--", "a:1")),
        (
            Tool.PODMAN,
            ("podman", "save", "--format", "docker-archive", "--output", "/t/a.tar", "a:1"),
        ),
    ],
)
def test_each_program_saves_a_docker_archive(tool: Tool, argv: tuple[str, ...]) -> None:
    assert save_command(tool, "a:1", "/t/a.tar").argv == argv


def program(folder: Path, name: str, script: str = "exit 0") -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def test_what_is_installed_is_found_buildah_first(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="apt-get install buildah"):
        installed(str(tmp_path))
    program(tmp_path, "docker")
    assert installed(str(tmp_path)) is Tool.DOCKER
    program(tmp_path, "buildah")
    assert installed(str(tmp_path)) is Tool.BUILDAH


async def test_a_context_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such folder to build a from"):
        await build_image(Tool.BUILDAH, Build(image="a", context=str(tmp_path / "x")), tmp_path)
    with pytest.raises(SpecError, match="Dockerfile: there is no such file"):
        await build_image(Tool.BUILDAH, Build(image="a", context=str(tmp_path)), tmp_path)


async def test_a_build_that_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "buildah", "exit 7")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    build = Build(image="a", context=str(tmp_path), inline="FROM scratch\n")
    with pytest.raises(HostError, match="a could not be built: buildah build ended with 7"):
        await build_image(Tool.BUILDAH, build, tmp_path)


@pytest.mark.real
def test_buildah_builds_from_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed() is Tool.BUILDAH
    # A store of its own: with a cache, more stays in it than the image that could be removed.
    conf = f'driver = "vfs"\ngraphroot = "{tmp_path}/graph"\nrunroot = "{tmp_path}/run"\n'
    (tmp_path / "storage.conf").write_text(f"[storage]\n{conf}", encoding="utf-8")
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(tmp_path / "storage.conf"))
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "hello").write_text("hello", encoding="utf-8")
    build = Build(
        image="localhost/hafen-test-build:1",
        context=str(tmp_path / "context"),
        inline="FROM scratch\nARG WORD\nCOPY hello /hello\nLABEL word=$WORD\n",
        args={"WORD": "through-the-environment"},
    )
    archive = asyncio.run(build_image(Tool.BUILDAH, build, tmp_path))
    digest = config_digest(archive)
    again = asyncio.run(build_image(Tool.BUILDAH, build, tmp_path))
    assert config_digest(again) == digest, "a deploy of what has not changed would change it"
    with tarfile.open(archive) as tar:
        assert "manifest.json" in tar.getnames()
        config = next(name for name in tar.getnames() if name.endswith(".json") and len(name) > 60)
        held = tar.extractfile(config)
        assert held is not None
        assert b"through-the-environment" in held.read()
