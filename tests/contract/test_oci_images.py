"""Where images come from: archives, and registries, of which a small one is served on loopback."""

import asyncio
import ssl
import tarfile
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

import msgspec
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deploy.lab.images import build_busybox, build_whoami
from node_agent.oci import leftovers
from node_agent.oci.image import Image
from node_agent.oci.images import ImageStore, load_image
from shared.errors import ImageError

pytestmark = pytest.mark.real

WHOAMI: Final = "hafen.local/whoami:1"


class Registry:
    """As much of a registry as a pull needs.

    Source: Open Containers Initiative, distribution-spec.
    """

    def __init__(self, archive: Path) -> None:
        self.asked: Counter[str] = Counter()
        with tarfile.open(archive) as tar:
            files = {
                member.name: tar.extractfile(member).read()  # type: ignore[union-attr] # all are files
                for member in tar
            }
        index = msgspec.json.decode(files["index.json"])
        self._manifest = index["manifests"][0]["digest"]
        self._blobs = {
            f"sha256:{name.rpartition('/')[2]}": content
            for name, content in files.items()
            if name.startswith("blobs/")
        }
        self.layer: str = msgspec.json.decode(self._blobs[self._manifest])["layers"][0]["digest"]

    async def answer(self, request: web.Request) -> web.Response:
        path = request.path
        self.asked[path] += 1
        if path == "/v2/":
            return web.Response()
        if path.startswith("/v2/private/"):
            return web.json_response({"errors": [{"code": "UNAUTHORIZED"}]}, status=401)
        _, _, kind, name = path.removeprefix("/v2/team").split("/")
        if kind == "manifests" and name in {"1", self._manifest}:
            return web.Response(
                body=self._blobs[self._manifest],
                content_type="application/vnd.oci.image.manifest.v1+json",
                headers={"Docker-Content-Digest": self._manifest},
            )
        if kind == "blobs" and name in self._blobs:
            return web.Response(body=self._blobs[name])
        code = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
        return web.json_response(code, status=404)


@asynccontextmanager
async def served(
    registry: Registry, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[int, None]:
    """Serve the registry on a free port of loopback, with a certificate that Go's TLS trusts."""
    certificate, key = certify(directory)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", registry.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def certify(directory: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1; return it and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    files = directory / "tls.crt", directory / "tls.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


def whoami(directory: Path) -> Path:
    archive = directory / "whoami.tar"
    build_whoami(archive)
    return archive


async def test_an_image_is_pulled_once_however_many_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(whoami(tmp_path))
    store = ImageStore(tmp_path / "data")
    async with served(registry, tmp_path, monkeypatch) as port:
        name = f"127.0.0.1:{port}/team/whoami:1"
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(store.pull(name))
        await store.pull(name)

    image = store.find(name)
    assert image is not None
    assert image.command == ("/bin/serve",)
    assert (store.rootfs(image) / "bin" / "busybox").is_file()
    assert registry.asked["/v2/team/whoami/manifests/1"] == 1
    assert list((tmp_path / "data" / "images" / "incoming").iterdir()) == []


async def test_layers_that_another_image_brought_are_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(whoami(tmp_path))
    store = ImageStore(tmp_path / "data")
    async with served(registry, tmp_path, monkeypatch) as port:
        await store.pull(f"127.0.0.1:{port}/team/whoami:1")
        await store.pull(f"127.0.0.1:{port}/team/other:1")

    assert sum(n for path, n in registry.asked.items() if path.endswith(registry.layer)) == 1


@pytest.mark.parametrize(
    ("path", "why"), [("team/absent:2", "no such image"), ("private/app:1", "not allowed")]
)
async def test_a_registrys_no_is_passed_on_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, why: str
) -> None:
    async with served(Registry(whoami(tmp_path)), tmp_path, monkeypatch) as port:
        with pytest.raises(ImageError) as caught:
            await ImageStore(tmp_path / "data").pull(f"127.0.0.1:{port}/{path}")

    message = str(caught.value)
    assert message.startswith(f"127.0.0.1:{port}/{path}: {why}")
    assert "\n" not in message


async def test_who_waited_for_a_pull_that_failed_gets_its_answer_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(whoami(tmp_path))
    store = ImageStore(tmp_path / "data")
    refusals: list[str] = []

    async def pull(name: str) -> None:
        with pytest.raises(ImageError) as caught:
            await store.pull(name)
        refusals.append(str(caught.value))

    async with served(registry, tmp_path, monkeypatch) as port, asyncio.TaskGroup() as group:
        await pull(f"127.0.0.1:{port}/team/absent:2")
        alone = registry.asked.total()
        for _ in range(3):
            group.create_task(pull(f"127.0.0.1:{port}/team/absent:2"))

    assert len(refusals) == 4
    assert len(set(refusals)) == 1
    assert registry.asked.total() == 2 * alone


async def test_a_registry_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"cannot reach registry 127\.0\.0\.1:1: "):
        await ImageStore(tmp_path).pull("127.0.0.1:1/team/app:1")


async def test_an_archive_is_loaded_under_the_name_in_it(tmp_path: Path) -> None:
    assert await load_image(tmp_path / "data", whoami(tmp_path)) == WHOAMI
    assert await load_image(tmp_path / "data", whoami(tmp_path)) == WHOAMI

    assert ImageStore(tmp_path / "data").find(WHOAMI) is not None


async def test_the_config_of_an_image_is_kept(tmp_path: Path) -> None:
    archive = tmp_path / "full.tar"
    config = {
        "Entrypoint": ["/bin/sh"],
        "Cmd": ["-c", "true"],
        "Env": ["A=1"],
        "User": "nobody",
        "WorkingDir": "/www",
        "StopSignal": "SIGINT",
    }
    build_busybox(archive, "hafen.local/full:1", config)
    await load_image(tmp_path, archive)
    image = ImageStore(tmp_path).find("hafen.local/full:1")

    assert image is not None
    assert image == Image(
        digest=image.digest,
        entrypoint=("/bin/sh",),
        command=("-c", "true"),
        environment=("A=1",),
        uid=65534,
        gid=65534,
        home="/",
        working_dir="/www",
        stop_signal=2,
        blobs=image.blobs,
    )
    assert len(image.blobs) == 3


async def test_garbage_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    archive = tmp_path / "garbage.tar"
    archive.write_bytes(b"not a tar file" * 100)

    with pytest.raises(ImageError, match=r"garbage\.tar: cannot be read as a tar archive"):
        await load_image(tmp_path / "data", archive)


async def test_a_truncated_archive_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    archive = whoami(tmp_path)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])

    with pytest.raises(ImageError):
        await load_image(tmp_path / "data", archive)
    assert ImageStore(tmp_path / "data").find(WHOAMI) is None
    assert list((tmp_path / "data").rglob("unpacked/*")) == []


async def test_what_a_crash_left_is_swept_by_the_next_pull(tmp_path: Path) -> None:
    left = tmp_path / "data" / "images" / "incoming" / "left"
    left.mkdir(parents=True)
    (left / "half").write_text("half")
    await load_image(tmp_path / "data", whoami(tmp_path))

    assert not left.exists()


async def test_an_image_that_went_takes_nothing_of_another_along_and_can_come_again(
    tmp_path: Path,
) -> None:
    data, archive = tmp_path / "data", whoami(tmp_path)
    store = ImageStore(data)
    await store.load(archive)
    other = tmp_path / "other.tar"
    build_busybox(other, "hafen.local/other:1", {"Env": ["A=b"]})
    await store.load(other)
    blobs = set((data / "images" / "blobs" / "sha256").iterdir())

    assert leftovers.remove(data, {WHOAMI}, frozenset())

    assert store.find(WHOAMI) is None
    assert set((data / "images" / "blobs" / "sha256").iterdir()) < blobs
    left = store.find("hafen.local/other:1")
    assert left is not None
    assert (store.rootfs(left) / "bin" / "busybox").is_file()
    assert [path.name for path in (data / "unpacked").iterdir()] == [left.digest[7:]]
    await store.load(archive)
    again = store.find(WHOAMI)
    assert again is not None
    assert (store.rootfs(again) / "bin" / "busybox").is_file()


def test_the_same_busybox_gives_the_same_archive(tmp_path: Path) -> None:
    first, second = tmp_path / "1.tar", tmp_path / "2.tar"
    build_whoami(first)
    build_whoami(second)

    assert first.read_bytes() == second.read_bytes()
