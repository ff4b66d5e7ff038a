"""The images of versions hold all that their servers need: they run from their own files alone."""

import io
import json
import socket
import subprocess
import tarfile
from pathlib import Path

import pytest

from deploy.lab import images
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
        inner.extractall(folder)  # noqa: S202 - just made here
    return run["Cmd"], run["Env"]


def run_in(
    root: Path, command: list[str], environment: list[str]
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end with nothing but the files in `root`."""
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost {socket.gethostname()}\n")
    (root / "dev/null").touch()
    return subprocess.run(
        [
            *("unshare", "--net", "--pid", "--fork", "--kill-child", "env", "-i", *environment),
            *("/usr/sbin/chroot", str(root), *command),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_the_server_runs_from_its_own_files_and_ends_as_its_tag_says(tmp_path: Path) -> None:
    archive = tmp_path / "echo.tar"
    assert build_echo(archive, CRASH) == "hafen.local/echo:crash"
    root = tmp_path / "root"
    command, environment = unpacked(archive, root)

    ended = run_in(root, command, environment)

    assert (ended.returncode, ended.stderr) == (1, "")
    assert ended.stdout.splitlines() == [
        "version crash answers on 127.0.0.1, port 80",
        "crashes, as it was told to",
    ]


def test_a_whoami_says_its_version_and_the_one_that_crashes_ends_with_1(tmp_path: Path) -> None:
    archive, root = tmp_path / "whoami.tar", tmp_path / "root"
    assert images.build_whoami(archive, images.CRASH) == "hafen.local/whoami:crash"
    command, environment = unpacked(archive, root)

    ended = run_in(root, command, environment)

    assert (ended.returncode, ended.stderr) == (1, "")
    assert ended.stdout.splitlines()[-1] == "crashes, as it was made to"
    page = (root / "www/index.html").read_text()
    assert page == f"{socket.gethostname()} 127.0.0.1 localhost version crash\n"


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
