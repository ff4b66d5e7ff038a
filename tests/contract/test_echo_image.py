"""The echo image holds all that its server needs: it runs with nothing but its own files."""

import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from deploy.lab.echo_image import CRASH, TAGS, build_echo

pytestmark = pytest.mark.real


def unpacked(archive: Path, folder: Path) -> tuple[list[str], list[str]]:
    """Unpack the image's only layer; return its command and its environment."""
    with tarfile.open(archive) as outer:
        blobs = {
            member.name: outer.extractfile(member).read()  # type: ignore[union-attr] # all are files
            for member in outer
        }
    index = json.loads(blobs["index.json"])

    def blob(digest: str) -> bytes:
        return blobs[f"blobs/{digest.replace(':', '/')}"]

    manifest = json.loads(blob(index["manifests"][0]["digest"]))
    run = json.loads(blob(manifest["config"]["digest"]))["config"]
    (layer,) = manifest["layers"]
    with tarfile.open(fileobj=io.BytesIO(blob(layer["digest"]))) as inner:
        inner.extractall(folder, filter="fully_trusted")  # noqa: S202 - just made here
    return run["Cmd"], run["Env"]


def test_the_server_runs_from_its_own_files_and_ends_as_its_tag_says(tmp_path: Path) -> None:
    archive = tmp_path / "echo.tar"
    assert build_echo(archive, CRASH) == "hafen.local/echo:crash"
    root = tmp_path / "root"
    command, environment = unpacked(archive, root)
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")

    ended = subprocess.run(
        ["unshare", "--net", "env", "-i", *environment, "/usr/sbin/chroot", str(root), *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )

    assert (ended.returncode, ended.stderr) == (1, "")
    assert ended.stdout.splitlines() == [
        "version crash answers on , port 80",
        "crashes, as it was told to",
    ]


def test_all_versions_share_one_layer_and_the_archive_is_small(tmp_path: Path) -> None:
    layers = set()
    archive = tmp_path / "echo.tar"
    for tag in TAGS:
        build_echo(archive, tag)
        with tarfile.open(archive) as tar:
            layers.add(max((member.size, member.name) for member in tar))
    assert len(layers) == 1
    # A host of a lab takes it in about a second.
    assert archive.stat().st_size < 20 * 1024 * 1024
