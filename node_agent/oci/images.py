"""Images on this node: fetched with skopeo, unpacked with umoci, once per manifest digest.

    images/references/<sha256 of the name>.json   which digest a name stands for
    images/blobs/sha256/                          layers as they came, shared by all images
    images/incoming/<random>/                     work in progress; swept when nobody works
    unpacked/<digest>/image.json, rootfs/         the lower layer of containers; never changed

Whatever is under its final name is whole: it was made under another name, written to the disk, and
then renamed. So a crash leaves nothing half, and `hafen image load` may run beside the agent.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final, TypeVar
from weakref import WeakValueDictionary

import msgspec
import structlog

from node_agent import process
from node_agent.oci import archive, host, mounts
from node_agent.oci.failing import failing
from node_agent.oci.image import Image, signal_number
from node_agent.oci.reference import Reference
from node_agent.oci.registry import explain
from shared.errors import ImageError

_log = structlog.get_logger()

# A slow line and a large image: ten minutes is long, for ever would hide that nothing moves.
PULL_S: Final = 600.0
UNPACK_S: Final = 300.0
_TAG: Final = "image"  # the only one in a layout that lives for one pull

T = TypeVar("T")


class _Descriptor(msgspec.Struct, frozen=True):
    digest: str


class _Index(msgspec.Struct, frozen=True):
    manifests: tuple[_Descriptor, ...]


class _Manifest(msgspec.Struct, frozen=True):
    config: _Descriptor
    layers: tuple[_Descriptor, ...] = ()


class _RunConfig(msgspec.Struct, frozen=True, rename="pascal"):
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[str, ...] | None = None
    working_dir: str | None = None
    stop_signal: str | None = None


class _Config(msgspec.Struct, frozen=True):
    config: _RunConfig = _RunConfig()


class _User(msgspec.Struct, frozen=True, rename="camel"):
    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] | None = None


class _Process(msgspec.Struct, frozen=True):
    user: _User
    env: tuple[str, ...] = ()


class _RuntimeConfig(msgspec.Struct, frozen=True):
    process: _Process


class Named(msgspec.Struct, frozen=True):
    """Which digest a name stands for, as it is on the disk."""

    reference: str
    digest: str


class _Pull:
    """One image being fetched; `error` is what the last failure was."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.failures = 0
        self.error: ImageError | None = None


class ImageStore:
    """The images below one data directory.

    Args:
        data_dir: the agent's, created as needed.
        authfile: credentials for registries in containers-auth.json(5) format; only its path is
            ever given to a program.
    """

    def __init__(self, data_dir: Path, authfile: Path | None = None) -> None:
        self._images = data_dir / "images"
        self._unpacked = data_dir / "unpacked"
        self._authfile = authfile
        self._pulls: WeakValueDictionary[str, _Pull] = WeakValueDictionary()

    def find(self, name: str) -> Image | None:
        """Return the unpacked image that `name` stands for, or None.

        Raises:
            ImageError: it is no image name.
        """
        try:
            text = self._name_file(Reference.parse(name)).read_bytes()
            return self.unpacked(msgspec.json.decode(text, type=Named).digest)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def unpacked(self, digest: str) -> Image | None:
        """Return the image of a digest, whatever name it has, or None."""
        try:
            text = (self._directory(digest) / "image.json").read_bytes()
            return msgspec.json.decode(text, type=Image)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def rootfs(self, image: Image) -> Path:
        """Return the root file system that containers of `image` use as their lower layer."""
        return self._directory(image.digest) / "rootfs"

    async def pull(self, name: str, *, anew: bool = False) -> None:
        """Fetch and unpack an image unless it is here. Several callers at once fetch it once.

        With `anew` the registry is asked what the name means now, whether or not it is here.

        Raises:
            ImageError: no such image, not allowed, or nobody answers; says which.
        """
        reference = Reference.parse(name)
        pull = self._pulls.setdefault(str(reference), _Pull())
        seen = pull.failures
        async with pull.lock:
            if pull.failures != seen and pull.error is not None:
                raise pull.error  # somebody tried while we waited: asking again says the same
            if not anew and self.find(name) is not None:
                return
            try:
                await self._bring(reference)
            except ImageError as error:
                pull.failures += 1
                pull.error = error
                raise
        _log.info("image_pulled", image=str(reference))

    @failing("not fetched", ImageError)
    async def _bring(self, reference: Reference) -> None:
        await self._fetch(f"docker://{reference}", reference)

    async def load(self, path: Path, name: str = "") -> str:
        """Take the image out of an archive made by `docker save` or `skopeo copy`; return its name.

        Args:
            path: the archive.
            name: what the image is called here; empty: as the archive says.

        Raises:
            ImageError: the file is no archive of one named image, or the name is none.
        """
        found = await asyncio.to_thread(archive.inspect, path)
        reference = Reference.parse(name) if name else found.reference
        await self._fetch(f"{found.transport}:{found.path}", reference)
        return str(reference)

    async def _fetch(self, source: str, reference: Reference) -> None:
        async with self._workspace() as space:
            layout = self._empty_layout(space)
            await self._copy(source, layout, reference)
            digest = _read(layout / "index.json", _Index, reference).manifests[0].digest
            if not self._is_unpacked(digest):
                await self._unpack(space, digest, reference)
            self._remember(reference, digest)

    def _empty_layout(self, space: Path) -> Path:
        layout = space / "layout"
        layout.mkdir()
        (layout / "blobs").symlink_to(self._images / "blobs")
        return layout

    async def _copy(self, source: str, layout: Path, reference: Reference) -> None:
        """Bring the image into the layout; blobs that another image has brought are not fetched."""
        auth = ["--authfile", str(self._authfile)] if self._authfile else []
        target = f"oci:{layout}:{_TAG}"
        try:
            done = await process.run(
                host.find("skopeo"),
                *("copy", "--quiet", *auth, source, target),
                deadline_s=PULL_S,
            )
        except TimeoutError as error:
            raise ImageError(f"{reference}: not fetched within {PULL_S:.0f} s") from error
        if done.code != 0:
            raise ImageError(explain(reference, done.errors))

    async def _unpack(self, space: Path, digest: str, reference: Reference) -> None:
        """Make unpacked/<digest> from the layout in `space`; safe to do twice at the same time."""
        made = space / "unpacked"
        made.mkdir()
        await self._umoci(space, "unpack", made / "rootfs", reference)
        await self._umoci(space, "runtime-config", made / "config.json", reference)
        image = self._describe(space / "layout", made / "config.json", digest, reference)
        await asyncio.to_thread(self._publish, made, image)

    def _publish(self, made: Path, image: Image) -> None:
        """Give what was made its final name, once it is whole and on the disk."""
        (made / "config.json").unlink()
        (made / "image.json").write_bytes(msgspec.json.encode(image))
        mounts.sync_file_system(made)
        try:
            made.rename(self._directory(image.digest))
        except OSError:
            if not self._is_unpacked(image.digest):  # somebody else was not quicker
                raise

    async def _umoci(self, space: Path, verb: str, target: Path, reference: Reference) -> None:
        rootfs = ["--rootfs", str(space / "unpacked" / "rootfs")] if verb != "unpack" else []
        try:
            done = await process.run(
                host.find("umoci"),
                *("raw", verb, "--image", f"{space / 'layout'}:{_TAG}", *rootfs, str(target)),
                deadline_s=UNPACK_S,
            )
        except TimeoutError as error:
            raise ImageError(f"{reference}: not unpacked within {UNPACK_S:.0f} s") from error
        if done.code != 0:
            raise ImageError(f"{reference}: cannot be unpacked: {done.last_line()}")

    def _describe(self, layout: Path, config: Path, digest: str, reference: Reference) -> Image:
        """Return what the image says about its containers, its user resolved to numbers."""
        manifest = _read(_blob(layout, digest), _Manifest, reference)
        run = _read(_blob(layout, manifest.config.digest), _Config, reference).config
        who = _read(config, _RuntimeConfig, reference).process
        homes = [entry.removeprefix("HOME=") for entry in who.env if entry.startswith("HOME=")]
        return Image(
            digest=digest,
            entrypoint=run.entrypoint or (),
            command=run.cmd or (),
            environment=run.env or (),
            uid=who.user.uid,
            gid=who.user.gid,
            groups=who.user.additional_gids or (),
            home=homes[-1] if homes else "/",
            working_dir=run.working_dir or "/",
            stop_signal=signal_number(run.stop_signal or "TERM"),
            blobs=(digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)),
        )

    def _remember(self, reference: Reference, digest: str) -> None:
        file = self._name_file(reference)
        fresh = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
        fresh.write_bytes(msgspec.json.encode(Named(str(reference), digest)))
        with fresh.open("rb") as written:
            os.fsync(written.fileno())
        fresh.rename(file)

    def _name_file(self, reference: Reference) -> Path:
        # A name can be longer than a file name may be, and has slashes in it.
        hashed = hashlib.sha256(str(reference).encode()).hexdigest()
        return self._images / "references" / f"{hashed}.json"

    def _is_unpacked(self, digest: str) -> bool:
        return (self._directory(digest) / "image.json").exists()

    def _directory(self, digest: str) -> Path:
        return self._unpacked / digest.removeprefix("sha256:")

    @contextlib.asynccontextmanager
    async def _workspace(self) -> AsyncGenerator[Path, None]:
        """Give a new directory in incoming/, and take it away; first sweep what crashes have left.

        Everyone who works holds the lock file shared, so whoever gets it alone knows that all in
        incoming/ is left over.
        """
        incoming = self._images / "incoming"
        for directory in (incoming, self._images / "references", self._images / "blobs" / "sha256"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._unpacked.mkdir(mode=0o700, parents=True, exist_ok=True)
        space = incoming / secrets.token_hex(8)
        lock = os.open(self._images / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            await asyncio.to_thread(_sweep, incoming, lock)
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_SH)
            space.mkdir(mode=0o700)
            try:
                yield space
            finally:
                await asyncio.to_thread(shutil.rmtree, space, ignore_errors=True)
        finally:
            os.close(lock)


async def load_image(data_dir: Path, path: Path) -> str:
    """Make the image in an archive known to the agent that uses `data_dir`; return its full name.

    Raises:
        ImageError: the file is no archive of one named image.
        HostError: skopeo or umoci is not installed.
    """
    return await ImageStore(data_dir).load(path)


def _sweep(incoming: Path, lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    for left in incoming.iterdir():
        shutil.rmtree(left, ignore_errors=True)
    fcntl.flock(lock, fcntl.LOCK_UN)


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def _read(file: Path, kind: type[T], reference: Reference) -> T:
    """Return what an image's file says; it came from outside, so it may say anything.

    Raises:
        ImageError: it is not what it should be.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except (msgspec.DecodeError, OSError) as error:
        raise ImageError(f"{reference}: the image is damaged: {file.name}: {error}") from error
