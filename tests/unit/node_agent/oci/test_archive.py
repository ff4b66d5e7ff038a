"""Image archives: told apart by what is in them, refused when they are not what they should be."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from node_agent.oci.archive import inspect
from shared.errors import ImageError


def archive(directory: Path, **members: object) -> Path:
    """Write a tar file with JSON members."""
    file = directory / "image.tar"
    with tarfile.open(file, "w") as tar:
        for name, tree in members.items():
            content = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
            info = tarfile.TarInfo(f"{name}.json")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file


def named(name: str) -> dict[str, object]:
    return {"annotations": {"org.opencontainers.image.ref.name": name}}


def test_a_docker_archive_is_known_by_its_manifest(tmp_path: Path) -> None:
    file = archive(tmp_path, manifest=[{"RepoTags": ["app:2"], "Config": "x"}])
    found = inspect(file)

    assert (found.path, found.transport) == (file, "docker-archive")
    assert str(found.reference) == "docker.io/library/app:2"


def test_an_oci_archive_is_known_by_its_index(tmp_path: Path) -> None:
    found = inspect(archive(tmp_path, index={"manifests": [named("hafen.local/app:1")]}))

    assert found.transport == "oci-archive"
    assert str(found.reference) == "hafen.local/app:1"


def test_what_docker_saves_has_both_and_is_read_as_dockers(tmp_path: Path) -> None:
    both = archive(tmp_path, index={"manifests": [{}]}, manifest=[{"RepoTags": ["app:2"]}])

    assert inspect(both).transport == "docker-archive"


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({}, "neither a docker-archive nor an oci-archive"),
        ({"other": {}}, "neither"),
        ({"manifest": b"{"}, "damaged"),
        ({"manifest": [{"RepoTags": None}]}, "has no name"),
        ({"manifest": []}, "holds 0 images"),
        ({"index": {"manifests": [named("a:1"), named("b:1")]}}, "holds 2 images"),
        ({"index": {"manifests": [{}]}}, "has no name"),
        ({"index": {"manifests": [named("NOT A NAME")]}}, "no image name"),
    ],
)
def test_what_is_no_archive_of_one_named_image_is_refused(
    tmp_path: Path, members: dict[str, object], why: str
) -> None:
    with pytest.raises(ImageError, match=why):
        inspect(archive(tmp_path, **members))
