"""Which names stacks and services may have, and the stack's name when nobody gave one.

Pure. Names become part of an allocation's id, "<stack>.<service>.<slot>.<suffix>", which names a
cgroup and a container and later stands in DNS: so no dots, no capitals, and an end to their length.
"""

import re
from typing import Final

NAME_CHARS_MAX: Final = 40  # two names, a slot and a suffix stay far below the 255 of a file name

_NAME: Final = re.compile(rf"[a-z0-9][a-z0-9_-]{{0,{NAME_CHARS_MAX - 1}}}")
_VOLUME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_UNWANTED: Final = re.compile(r"[^a-z0-9_-]")

RULE: Final = (
    f"use at most {NAME_CHARS_MAX} of a-z, 0-9, - and _, beginning with a letter or a digit"
)

VOLUME_RULE: Final = (
    "use at most 100 of A-Z, a-z, 0-9, _, . and -, beginning with a letter or digit"
)


def is_name(text: str) -> bool:
    """Say whether a stack or a service may be called this."""
    return _NAME.fullmatch(text) is not None


def is_volume(text: str) -> bool:
    """Say whether a volume may be called this in the cluster: it names a folder, and a key."""
    return _VOLUME.fullmatch(text) is not None


def from_folder(folder: str) -> str:
    """Return the name that Compose makes of a folder's; it may be unfit, even empty."""
    return _UNWANTED.sub("", folder.lower()).lstrip("_-")
