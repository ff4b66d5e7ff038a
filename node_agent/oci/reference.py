"""Names of images: what a person writes, spelled out in full as Docker would.

Pure. Source: distribution/reference, reference.go (the grammar and the normalisation).
"""

import re
from typing import Final, Self

import msgspec

from shared.errors import ImageError

_HUB: Final = "docker.io"
_HUB_ALIASES: Final = frozenset({_HUB, "index.docker.io", "registry-1.docker.io"})
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REGISTRY: Final = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_PART: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH: Final = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_LENGTH_MAX: Final = 512


class Reference(msgspec.Struct, frozen=True):
    """One image at one registry. A digest makes the tag meaningless: there is only one of them."""

    registry: str
    path: str
    tag: str
    digest: str = ""

    def __str__(self) -> str:
        """Return the full name, such as docker.io/library/nginx:latest."""
        end = f"@{self.digest}" if self.digest else f":{self.tag}"
        return f"{self.registry}/{self.path}{end}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `text` names.

        Raises:
            ImageError: it is no image name; says which part is wrong.
        """
        if len(text) > _LENGTH_MAX:
            raise ImageError(f"{text[:40]}...: an image name has at most {_LENGTH_MAX} characters")
        name, _, digest = text.partition("@")
        if "@" in text and not _DIGEST.fullmatch(digest):
            raise ImageError(f"{text}: the digest must be sha256: and 64 hexadecimal digits")
        registry, rest = _split_registry(name)
        path, _, tag = rest.partition(":")
        if ":" in rest and not _TAG.fullmatch(tag):
            raise ImageError(f"{text}: {tag!r} is no tag")
        if not _PATH.fullmatch(path):
            raise ImageError(
                f"{text}: {path!r} is no image name (small letters, digits, . _ - and /)"
            )
        if not _REGISTRY.fullmatch(registry):
            raise ImageError(f"{text}: {registry!r} is no registry host")
        if registry == _HUB and "/" not in path:
            path = f"library/{path}"
        return cls(registry, path, "" if digest else tag or "latest", digest)


def _split_registry(name: str) -> tuple[str, str]:
    """Return registry and the rest; a first part without dot or port is a folder on Docker Hub."""
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return (_HUB if first in _HUB_ALIASES else first), rest
    return _HUB, name
