"""`volumes` and `tmpfs` of a service, and `volumes` at the top of a file -> mounts.

Pure. A named volume is a folder of the node that has it, and pins its service there; a bind mount
is a path of whichever node runs the container.
"""

import posixpath
import re
from typing import Final

import msgspec

from deploy.compose.context import Context
from deploy.compose.fields import (
    Cursor,
    Field,
    Table,
    amount,
    each,
    items,
    one_of,
    one_or_more,
    pairs,
    record,
    refused,
    sound_record,
    text,
    truth,
    warned,
)
from deploy.compose.names import VOLUME_RULE, is_volume
from deploy.compose.tree import Kind, Mapping, Scalar, quoted
from deploy.compose.units import byte_count
from shared.model import Mount, MountKind

MOUNTS_MAX: Final = 256  # of one container; each is a system call before it starts
PATH_CHARS_MAX: Final = 4_095  # the kernel's PATH_MAX without its NUL

_PROPAGATIONS: Final = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_DIGITS: Final = re.compile(r"0?o?[0-7]{1,4}")
_NO_LABELS: Final = "hafen does not label files for SELinux; the mount is made without"
_NO_CACHE: Final = "consistency has no meaning on Linux"


class _Bind(msgspec.Struct, frozen=True):
    propagation: str = ""
    create: bool = True


class _Volume(msgspec.Struct, frozen=True):
    copy: bool = True
    subpath: str = ""


class _Tmpfs(msgspec.Struct, frozen=True):
    size_bytes: int = 0
    mode: int = 0


class _Long(msgspec.Struct, frozen=True):
    """The long form, as written."""

    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    bind: _Bind = _Bind()
    volume: _Volume = _Volume()
    tmpfs: _Tmpfs = _Tmpfs()


def volumes(at: Cursor, context: Context) -> tuple[Mount, ...]:
    """Return the mounts of `volumes`."""
    return each(items(at), lambda child: _volume(child, context))


def tmpfs(at: Cursor) -> tuple[Mount, ...]:
    """Return the mounts of `tmpfs`."""
    return each(one_or_more(at), _short_tmpfs)


def refuse_shared(mounts: tuple[Mount, ...], at: Cursor) -> None:
    """Write down targets that two mounts have, and too many of them."""
    seen: set[str] = set()
    for mount in mounts:
        if mount.target in seen:
            at.refuse(f"two things are mounted at {quoted(mount.target)}")
        seen.add(mount.target)
    if len(mounts) > MOUNTS_MAX:
        at.refuse(f"{len(mounts)} mounts; {MOUNTS_MAX} are the most")


def target(at: Cursor) -> str:
    """Return an absolute path in the container."""
    path = text(at)
    _check_path(at, path)
    return posixpath.normpath(path)


def _check_path(at: Cursor, path: str) -> None:
    if not path.startswith("/") or len(path) > PATH_CHARS_MAX:
        raise at.refuse(f"expected an absolute path in the container, got {quoted(path)}")
    if posixpath.normpath(path).strip("/") == "":
        raise at.refuse("nothing can be mounted over the container's root")


def _volume(at: Cursor, context: Context) -> Mount:
    if isinstance(at.node, Mapping):
        return _from_long(at, sound_record(at, _Long(), VOLUME), context)
    parts = text(at).split(":")
    if len(parts) == 1:
        return _from_long(at, _Long("volume", "", parts[0]), context)
    if len(parts) > 3:  # noqa: PLR2004 - source, target, options
        raise at.expected('a mount such as "data:/data" or "./etc:/etc/app:ro"')
    kind = "volume" if _NAME.fullmatch(parts[0]) else "bind"
    long = _Long(kind, parts[0], parts[1])
    for option in parts[2].split(",") if len(parts) == 3 else ():  # noqa: PLR2004
        long = _with_option(at, long, option)
    return _from_long(at, long, context)


def _with_option(at: Cursor, long: _Long, option: str) -> _Long:
    if option in {"ro", "rw"}:
        return msgspec.structs.replace(long, read_only=option == "ro")
    if option in _PROPAGATIONS:
        return msgspec.structs.replace(long, bind=_Bind(propagation=option))
    if option in {"nocopy", "volume-nocopy"}:
        return msgspec.structs.replace(long, volume=_Volume(copy=False))
    if option in {"z", "Z"}:
        at.warn(_NO_LABELS)
    elif option in {"cached", "delegated", "consistent"}:
        at.warn(_NO_CACHE)
    else:
        raise at.refuse(f"hafen does not know the option {quoted(option)}; use ro, rw or nocopy")
    return long


def _from_long(at: Cursor, long: _Long, context: Context) -> Mount:
    where = at.below("target")
    _check_path(where, long.target)
    path = posixpath.normpath(long.target)
    match long.type:
        case "tmpfs":
            if long.source:
                raise at.below("source").refuse("a tmpfs has no source; leave it out")
            return Mount(
                kind=MountKind.TMPFS,
                target=path,
                read_only=long.read_only,
                size_bytes=long.tmpfs.size_bytes,
                mode=long.tmpfs.mode,
            )
        case "bind":
            return Mount(
                kind=MountKind.BIND,
                target=path,
                source=_bind_source(at, long.source),
                read_only=long.read_only,
                propagation=long.bind.propagation,
                create=long.bind.create,
            )
        case "volume":
            return Mount(
                kind=MountKind.VOLUME,
                target=path,
                source=_volume_source(at, long, context),
                subpath=long.volume.subpath,
                read_only=long.read_only,
                copy=long.volume.copy,
            )
        case _:
            raise at.refuse("type is missing: volume, bind or tmpfs")


def _bind_source(at: Cursor, source: str) -> str:
    if not source.startswith("/") or len(source) > PATH_CHARS_MAX:
        raise at.below("source").refuse(
            f"{quoted(source)} is neither a volume's name nor a path; "
            "a path begins with /, ./, ../ or ~/"
        )
    return posixpath.normpath(source)


def _volume_source(at: Cursor, long: _Long, context: Context) -> str:
    if not long.source:
        if long.volume.subpath:
            raise at.below("volume", "subpath").refuse("a volume without a name has nothing in it")
        return ""
    if long.source not in context.volumes:
        raise at.below("source").refuse(
            f"there is no volume {quoted(long.source)} in `volumes` at the top of the file"
        )
    return context.volumes[long.source]


def _short_tmpfs(at: Cursor) -> Mount:
    path, _, options = text(at).partition(":")
    _check_path(at, path)
    found = _Tmpfs()
    read_only = False
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        inner = Cursor(Scalar(at.mark, Kind.TEXT, value), at.mark, at.path, at.problems)
        if key == "size":
            found = msgspec.structs.replace(found, size_bytes=amount(inner, byte_count))
        elif key == "mode":
            found = msgspec.structs.replace(found, mode=_octal(inner))
        elif key in {"ro", "rw"}:
            read_only = key == "ro"
        elif key in {"exec", "suid", "dev", "uid", "gid"}:
            raise at.refuse(f"hafen does not know the option {key}; use size, mode, ro or rw")
        elif key not in {"noexec", "nosuid", "nodev"}:
            raise at.refuse(f"hafen does not know the option {quoted(key)}; use size, mode or ro")
    return Mount(
        kind=MountKind.TMPFS,
        target=posixpath.normpath(path),
        read_only=read_only,
        size_bytes=found.size_bytes,
        mode=found.mode,
    )


def _octal(at: Cursor) -> int:
    node = at.scalar("a mode such as 1777")
    if not _DIGITS.fullmatch(node.text):
        raise at.expected("a mode in octal such as 1777")
    return int(node.text.removeprefix("0").removeprefix("o") or "0", 8)


def file_mode(at: Cursor) -> int:
    """Return the permissions of a file: 0440 is octal, as everywhere; 288 is the same in decimal.

    Text counts as octal, because nobody writes decimal permissions in quotes.
    """
    node = at.scalar("a mode such as 0440")
    digits = node.text
    if node.kind is Kind.INT and re.fullmatch(r"[1-9][0-9]{0,4}", digits):
        mode = int(digits)
    elif node.kind in {Kind.INT, Kind.TEXT} and _DIGITS.fullmatch(digits):
        mode = _octal(at)
    else:
        raise at.expected("a mode such as 0440")
    if mode > 0o7777:  # noqa: PLR2004 - all bits that there are
        raise at.refuse(f"{mode:o} in octal is no mode; write it as in 0440")
    return mode


def _type(at: Cursor) -> str:
    kind = text(at)
    if kind in {"image", "cluster", "npipe"}:
        raise at.refuse(f"hafen does not mount {kind}; copy the files into the image or a volume")
    return one_of(at, "volume", "bind", "tmpfs")


def _subpath(at: Cursor) -> str:
    path = text(at)
    if path.startswith("/") or ".." in path.split("/") or not path:
        raise at.expected("a path inside the volume, without ..")
    return posixpath.normpath(path)


def top(at: Cursor, context: Context) -> dict[str, str]:
    """Return the name in the cluster of every volume at the top of a file."""
    return {} if at.is_null() else dict(each(at.entries(), lambda one: _declared(one, context)))


class Declared(msgspec.Struct, frozen=True):
    """A volume, config or secret at the top; `external` is None unless it is made elsewhere."""

    name: str = ""
    external: str | None = None


def _declared(at: Cursor, context: Context) -> tuple[str, str]:
    found = Declared() if at.is_null() else record(at, Declared(), TOP_VOLUME)
    own = f"{context.stack}_{at.key}" if found.external is None else at.key
    name = found.name or found.external or own
    if not is_volume(name):
        raise at.refuse(f"{quoted(name)} cannot name a volume: {VOLUME_RULE}")
    return at.key, name


def external(at: Cursor) -> str | None:
    """Return the name of what is made elsewhere, empty for its key; None: it is made here."""
    if isinstance(at.node, Mapping):  # the old form
        return record(at, Declared(), EXTERNAL).name
    return "" if truth(at) else None


def _driver(at: Cursor) -> None:
    if text(at) not in {"local", "default"}:
        raise at.refuse("hafen's volumes are folders of a node; mount it on the nodes and bind it")


def _no_options(at: Cursor) -> None:
    if pairs(at, lambda _: ""):
        raise at.refuse(
            "hafen's volumes are folders of a node; mount it on the nodes and write a bind mount"
        )


EXTERNAL: Final[Table] = {"name": Field("name", text)}
TOP_VOLUME: Final[Table] = {
    "name": Field("name", text),
    "external": Field("external", external),
    "driver": Field("", _driver),
    "driver_opts": Field("", _no_options),
    "labels": warned("hafen keeps no labels of volumes"),
}
BIND: Final[Table] = {
    "propagation": Field("propagation", lambda at: one_of(at, *_PROPAGATIONS)),
    "create_host_path": Field("create", truth),
    "recursive": Field("", lambda at: one_of(at, "enabled", "disabled", "writable", "readonly")),
    "selinux": warned(_NO_LABELS),
}
VOLUME_OPTIONS: Final[Table] = {
    "nocopy": Field("copy", lambda at: not truth(at)),
    "subpath": Field("subpath", _subpath),
    "labels": warned("hafen keeps no labels of volumes"),
}
TMPFS: Final[Table] = {
    "size": Field("size_bytes", lambda at: amount(at, byte_count)),
    "mode": Field("mode", file_mode),
}
IMAGE: Final[Table] = {"subpath": refused("hafen does not mount images; use a volume")}
VOLUME: Final[Table] = {
    "type": Field("type", _type),
    "source": Field("source", text),
    "target": Field("target", text),
    "read_only": Field("read_only", truth),
    "consistency": warned(_NO_CACHE),
    "bind": Field("bind", lambda at: sound_record(at, _Bind(), BIND)),
    "volume": Field("volume", lambda at: sound_record(at, _Volume(), VOLUME_OPTIONS)),
    "tmpfs": Field("tmpfs", lambda at: sound_record(at, _Tmpfs(), TMPFS)),
    "image": refused("hafen does not mount images; copy the files into the image or a volume"),
}
