"""What one build of an image is called on the nodes, and which digest it has."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.build import config_digest
from deploy.building import distinct, versioned
from deploy.compose.building import Build
from node_agent.oci.reference import Reference
from shared.errors import HostError, SpecError

DIGESTS = st.binary(min_size=32, max_size=32).map(lambda digest: f"sha256:{digest.hex()}")
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True)
NAMES = st.sampled_from(["app", "team/app", "r.example:5000/team/app", "localhost/app"])
IMAGES = st.builds(lambda name, tag: f"{name}:{tag}" if tag else name, NAMES, st.none() | TAGS)


@given(IMAGES, DIGESTS)
def test_a_build_has_a_name_that_nodes_take_at_the_same_place(image: str, digest: str) -> None:
    before, after = Reference.parse(image), Reference.parse(versioned(image, digest))
    assert (after.registry, after.path) == (before.registry, before.path)
    assert after.tag.endswith(digest.removeprefix("sha256:")[:12])


@given(IMAGES, DIGESTS, DIGESTS)
def test_two_builds_have_two_names_and_one_build_has_one(image: str, one: str, two: str) -> None:
    is_same = one[:19] == two[:19]
    assert (versioned(image, one) == versioned(image, two)) == is_same


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("shop-web", "shop-web:0123456789ab"),
        ("shop/web:2", "shop/web:2-0123456789ab"),
        ("r.example:5000/web", "r.example:5000/web:0123456789ab"),
        (f"web:{'t' * 128}", f"web:{'t' * 115}-0123456789ab"),
        (f"web:2@sha256:{'f' * 64}", "web:2-0123456789ab"),
    ],
)
def test_names(image: str, name: str) -> None:
    assert versioned(image, "sha256:0123456789abcdef") == name


def test_an_image_of_several_services_is_built_once() -> None:
    one, other = Build(image="a", context="/a"), Build(image="b", context="/b")
    assert distinct([one, other, one]) == (one, other)
    with pytest.raises(SpecError, match="two services build image a, each its own: name them"):
        distinct([one, Build(image="a", context="/b")])


def archive(path: Path, **members: bytes) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("_", "."))
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def listing(*configs: str) -> bytes:
    return json.dumps([{"Config": config, "RepoTags": ["a:1"]} for config in configs]).encode()


def test_the_digest_is_that_of_the_config_however_the_file_is_called(tmp_path: Path) -> None:
    found = [
        config_digest(archive(tmp_path / "1.tar", c_json=b"{}", manifest_json=listing("c.json"))),
        config_digest(archive(tmp_path / "2.tar", manifest_json=listing("d"), d=b"{}")),
        config_digest(archive(tmp_path / "3.tar", manifest_json=listing("d"), d=b"{ }")),
    ]
    assert found[0] == found[1] != found[2]
    assert found[0] == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"manifest_json": b"["},
        {"manifest_json": listing("c.json", "c.json"), "c_json": b"{}"},
        {"manifest_json": listing("elsewhere")},
    ],
)
def test_what_is_no_archive_is_one_clear_error(tmp_path: Path, members: dict[str, bytes]) -> None:
    with pytest.raises(HostError, match=r"x\.tar: is no docker-archive of one image"):
        config_digest(archive(tmp_path / "x.tar", **members))
