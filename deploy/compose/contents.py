"""`configs` and `secrets`: what is in them, and where a service has them.

Pure. What is in them stands in no message and in no output: only its name, which ends with a digest
of it, so that other content is another name and a service that uses it is updated.
"""

import hashlib
import posixpath
import re
from collections.abc import Mapping as Lookup
from typing import Final

import msgspec

from deploy.compose.context import Context
from deploy.compose.fields import (
    Cursor,
    Field,
    Table,
    each,
    items,
    refused,
    sound_record,
    text,
    value_text,
    warned,
)
from deploy.compose.mounts import PATH_CHARS_MAX, Declared, external, file_mode
from deploy.compose.tree import Mapping, quoted
from shared.model import MountedFile

CONTENT_BYTES_MAX: Final = 500 * 1024  # Docker's limit for both
CONTENTS_BYTES_MAX: Final = 8 * 1024 * 1024  # of a stack: each is a key of its own in etcd

_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}")
_DIGITS: Final = re.compile(r"[0-9]{1,10}")


class _Top(Declared, frozen=True):
    """One config or secret at the top; at most one of the three says what is in it."""

    file: str | None = None
    environment: str | None = None
    content: str | None = None


class _Use(msgspec.Struct, frozen=True):
    """The long form in a service."""

    source: str = ""
    target: str = ""
    uid: str = ""
    gid: str = ""
    mode: int = 0o444


def top(at: Cursor, context: Context, table: Table) -> dict[str, tuple[str, bytes]]:
    """Return name and content of every config or secret at the top of a file, by its key."""
    if at.is_null():
        return {}
    found = dict(each(at.entries(), lambda child: _one(child, context, table)))
    size = sum(len(content) for _, content in found.values())
    if size > CONTENTS_BYTES_MAX:
        raise at.refuse(f"{size} bytes together; {CONTENTS_BYTES_MAX} are the most")
    return found


def digest(stack: str, content: bytes) -> str:
    """Return 32 hex digits that stand for a content; of another stack's they say nothing."""
    return hashlib.blake2b(content, key=stack.encode()[:64], digest_size=16).hexdigest()


def _one(at: Cursor, context: Context, table: Table) -> tuple[str, tuple[str, bytes]]:
    if not _NAME.fullmatch(at.key):
        raise at.refuse(f"{quoted(at.key)}: use at most 64 of A-Z, a-z, 0-9, _, . and -")
    found = sound_record(at, _Top(), table)
    if found.external is not None:
        raise at.below("external").refuse(
            "hafen keeps none outside of stacks yet; write file: or environment: here"
        )
    given = [one for one in (found.file, found.environment, found.content) if one is not None]
    if len(given) != 1:
        words = "file or environment" + (" or content" if "content" in table else "")
        raise at.refuse(f"expected one of {words}")
    content = _content(at, found, context)
    if len(content) > CONTENT_BYTES_MAX:
        raise at.refuse(f"{len(content)} bytes; {CONTENT_BYTES_MAX} are the most")
    return at.key, (f"{context.stack}/{at.key}/{digest(context.stack, content)}", content)


def _content(at: Cursor, found: _Top, context: Context) -> bytes:
    if found.content is not None:
        return found.content.encode()
    if found.file is not None:
        where = at.below("file")
        return context.library.read(found.file, where.mark, where.path)
    name = found.environment or ""
    value = context.variables.get(name)
    if value is None:
        raise at.below("environment").refuse(f"variable {quoted(name)} is not set")
    return value.encode(errors="surrogateescape")


def uses(at: Cursor, known: Lookup[str, str], *, is_secret: bool) -> tuple[MountedFile, ...]:
    """Return the files that a service has of configs or secrets.

    Args:
        at: the list.
        known: key at the top -> name of the content.
        is_secret: which of both.
    """

    def one(child: Cursor) -> MountedFile:
        use = (
            sound_record(child, _Use(), USE)
            if isinstance(child.node, Mapping)
            else _Use(text(child))
        )
        if use.source not in known:
            kind = "secrets" if is_secret else "configs"
            raise child.below("source").refuse(
                f"there is no {quoted(use.source)} in `{kind}` at the top of the file"
            )
        base = "/run/secrets" if is_secret else "/"
        target = posixpath.normpath(posixpath.join(base, use.target or use.source))
        if target.strip("/") == "" or len(target) > PATH_CHARS_MAX:
            raise child.refuse("expected a file's path in target")
        return MountedFile(
            content=known[use.source],
            target=target,
            uid=use.uid,
            gid=use.gid,
            mode=use.mode,
            is_secret=is_secret,
        )

    return each(items(at), one)


def _owner(at: Cursor) -> str:
    digits = value_text(at)
    if not _DIGITS.fullmatch(digits):
        raise at.expected('a number such as "1000"')
    return digits


def check_name(at: Cursor) -> None:
    """Accept a name in the cluster: hafen has its own, which has a digest in it."""
    text(at)
    at.warn("hafen names it after the stack and what is in it")


_NO_DRIVER: Final = "hafen keeps these itself; write file: or environment:"
_NO_TEMPLATE: Final = "hafen fills in no templates; write what should be in it"
USE: Final[Table] = {
    "source": Field("source", text),
    "target": Field("target", text),
    "uid": Field("uid", _owner),
    "gid": Field("gid", _owner),
    "mode": Field("mode", file_mode),
}
_BOTH: Final[Table] = {
    "file": Field("file", text),
    "environment": Field("environment", text),
    "external": Field("external", external),
    "name": Field("", check_name),
    "labels": warned("hafen keeps no labels of configs and secrets"),
    "template_driver": refused(_NO_TEMPLATE),
}
CONFIG: Final[Table] = {**_BOTH, "content": Field("content", text)}
SECRET: Final[Table] = {
    **_BOTH,
    "driver": refused(_NO_DRIVER),
    "driver_opts": refused(_NO_DRIVER),
}
