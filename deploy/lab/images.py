"""The images that labs and examples run: busybox with a small web server, made without a network.

The archive is an OCI layout in a tar file. It is deterministic: one busybox gives one archive, byte
for byte, so two hosts that load it have the same digest.
"""

import gzip
import hashlib
import io
import json
import platform
import struct
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from shared.errors import HostError

REFERENCE: Final = "hafen.local/whoami:1"
# A version that starts well and then does not stay.
CRASH: Final = "crash"
TICK: Final = "hafen.local/tick:1"
BUSYBOX: Final = Path("/bin/busybox")

_APPLETS: Final = (
    *("[", "ash", "awk", "basename", "cat", "chmod", "chown", "cp", "cut", "date", "dd", "df"),
    *("dirname", "dmesg", "du", "echo", "env", "expr", "false", "find", "grep", "head", "hostname"),
    *("httpd", "id", "ip", "kill", "ln", "ls", "mkdir", "mount", "mv", "nc", "netstat", "nslookup"),
    *(
        "ping",
        "printf",
        "ps",
        "pwd",
        "readlink",
        "rm",
        "rmdir",
        "sed",
        "seq",
        "sh",
        "sleep",
        "sort",
    ),
    *("stat", "tail", "tar", "tee", "test", "timeout", "touch", "tr", "true", "umount", "uname"),
    *("uniq", "uptime", "vi", "wc", "wget", "whoami", "xargs", "yes"),
)

# The first process of a container ignores signals that it has no handler for, and busybox's httpd
# has none. So the shell stays the first process: it ends at once when asked to, and httpd with it.
_SERVE: Final = """#!/bin/sh
address=$(sed -n "s/[[:space:]]$(hostname)\\$//p" /etc/hosts)
echo "$(hostname) $address${VERSION:+ version $VERSION}" > /www/index.html
trap 'exit 0' TERM INT
echo "$(hostname) answers on $address, port 80"
httpd -f -p 80 -h /www &
wait
"""
# Serves as above; besides, it writes down when it lives. /proc/uptime is the kernel's boot clock,
# the same one for all hosts of a lab, in 10 ms: two copies that live at once can be told from it.
_TICK: Final = """#!/bin/sh
address=$(sed -n "s/[[:space:]]$(hostname)\\$//p" /etc/hosts)
echo "$(hostname) $address" > /www/index.html
trap 'exit 0' TERM INT
httpd -f -p 80 -h /www &
first=begin
while read -r boot_s idle_s < /proc/uptime; do
    echo "${first:-tick} $boot_s ${HAFEN_EPOCH:-0}"
    first=
    sleep 0.04
done
"""
_POST: Final = """#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\ndone\\n'
"""
_CRASH: Final = """#!/bin/sh
/bin/serve &
sleep 3
echo "crashes, as it was made to"
exit 1
"""
_File = tuple[str, str, int]
Member = tuple[tarfile.TarInfo, bytes]
_TICK_FILES: Final = (("bin/tick", _TICK, 0o755), ("www/cgi-bin/post", _POST, 0o755))
_FILES: Final[tuple[_File, ...]] = (
    ("bin/serve", _SERVE, 0o755),
    ("bin/crash", _CRASH, 0o755),
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n", 0o644),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n", 0o644),
    ("www/health", "ok\n", 0o644),
)
_DIRECTORIES: Final = ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "www")
_GZIP_LEVEL: Final = 9
_ELF_64_BIT: Final = 2
_ELF_NEEDS_LOADER: Final = 3  # PT_INTERP, a kind of program header
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def build_whoami(target: Path, tag: str = "1") -> str:
    """Write the archive of the `whoami` image to `target` and return the image's full name.

    It serves its host name and address on port 80, "ok" at /health, and ends at once on SIGTERM.
    Another tag than 1 is served, too; the one called CRASH ends by itself after 3 s, with code 1.

    Raises:
        HostError: there is no statically linked busybox; names the package.
    """
    config: dict[str, object] = {
        "Cmd": ["/bin/crash" if tag == CRASH else "/bin/serve"],
        "ExposedPorts": {"80/tcp": {}},
    }
    if tag == REFERENCE.rpartition(":")[2]:
        return build_busybox(target, REFERENCE, config)
    name = f"{REFERENCE.rpartition(':')[0]}:{tag}"
    return build_busybox(target, name, {**config, "Env": ["PATH=/bin", f"VERSION={tag}"]})


def build_tick(target: Path) -> str:
    """Write the archive of the `tick` image to `target` and return the image's full name.

    It serves as `whoami` does, answers POST at /cgi-bin/post, and writes a line to its log 20 times
    a second: "begin" or "tick", the machine's boot clock, HAFEN_EPOCH.

    Raises:
        HostError: there is no statically linked busybox; names the package.
    """
    config = {"Cmd": ["/bin/tick"], "ExposedPorts": {"80/tcp": {}}}
    return build_busybox(target, TICK, config, more=_TICK_FILES, folders=("www/cgi-bin",))


def build_busybox(
    target: Path,
    reference: str,
    config: Mapping[str, object],
    *,
    more: tuple[_File, ...] = (),
    folders: tuple[str, ...] = (),
) -> str:
    """Write an image archive with the files of `whoami` to `target` and return `reference`.

    Args:
        target: the file.
        reference: the image's full name.
        config: the image's "config" object, by the OCI image specification.
        more: files besides: path, text, mode.
        folders: directories that those need.

    Raises:
        HostError: there is no statically linked busybox; names the package.
    """
    own = (file(name, text.encode(), mode) for name, text, mode in (*_FILES, *more))
    layer = tar([*base(folders), *own])
    run = {"Env": ["PATH=/bin"], "WorkingDir": "/", **config}
    target.write_bytes(archive(layer, reference, run))
    return reference


def base(folders: Iterable[str] = ()) -> list[Member]:
    """Return busybox with its applets, and the directories that every image has.

    Raises:
        HostError: there is no statically linked busybox; names the package.
    """
    return [
        *(directory(name) for name in (*_DIRECTORIES, *folders)),
        file("bin/busybox", _busybox(), 0o755),
        *(link(f"bin/{applet}", "busybox") for applet in _APPLETS),
    ]


def _busybox() -> bytes:
    try:
        program = BUSYBOX.read_bytes()
    except FileNotFoundError as error:
        raise HostError(f"{BUSYBOX} is missing: apt install busybox-static") from error
    if not _is_static(program):
        raise HostError(f"{BUSYBOX} needs shared libraries: apt install busybox-static")
    return program


def _is_static(program: bytes) -> bool:
    """Say whether a little-endian ELF file runs without shared libraries.

    Source: System V ABI, chapters "ELF Header" and "Program Header".
    """
    if program[:4] != b"\x7fELF":
        return False
    if program[4] == _ELF_64_BIT:
        (offset,) = struct.unpack_from("<Q", program, 0x20)
        size, count = struct.unpack_from("<HH", program, 0x36)
    else:
        (offset,) = struct.unpack_from("<I", program, 0x1C)
        size, count = struct.unpack_from("<HH", program, 0x2A)
    kinds = (struct.unpack_from("<I", program, offset + size * n)[0] for n in range(count))
    return _ELF_NEEDS_LOADER not in kinds


def archive(
    layer: bytes, reference: str, run: Mapping[str, object], *, level: int = _GZIP_LEVEL
) -> bytes:
    """Return an OCI layout with one image of one layer as a tar file; `level` is gzip's."""
    packed = gzip.compress(layer, level, mtime=0)
    config = _json(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": run,
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    )
    kind = "application/vnd.oci.image"
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": _descriptor(f"{kind}.config.v1+json", config),
            "layers": [_descriptor(f"{kind}.layer.v1.tar+gzip", packed)],
        }
    )
    named = {"annotations": {"org.opencontainers.image.ref.name": reference}}
    index = {
        "schemaVersion": 2,
        "manifests": [{**_descriptor(f"{kind}.manifest.v1+json", manifest), **named}],
    }
    blobs = [
        (f"blobs/{_digest(blob).replace(':', '/')}", blob) for blob in (config, manifest, packed)
    ]
    return tar(
        [
            file("oci-layout", _json({"imageLayoutVersion": "1.0.0"}), 0o644),
            file("index.json", _json(index), 0o644),
            *(file(name, blob, 0o644) for name, blob in sorted(blobs)),
        ]
    )


def _json(tree: object) -> bytes:
    return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _descriptor(kind: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": kind, "digest": _digest(blob), "size": len(blob)}


def tar(members: Iterable[Member]) -> bytes:
    """Return a tar file; owner 0 and time 0, so that it says nothing of this machine."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def directory(name: str) -> Member:
    """Return a directory, for `tar`."""
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
    return info, b""


def file(name: str, content: bytes, mode: int) -> Member:
    """Return a file, for `tar`."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    return info, content


def link(name: str, to: str) -> Member:
    """Return a symbolic link, for `tar`."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = tarfile.SYMTYPE, to, 0o777
    return info, b""
