"""Which names stacks and services may have, and the stack's name when nobody gave one.

Pure. Names become part of an allocation's id, "<stack>.<service>.<slot>.<suffix>", which names a
cgroup and a container and later stands in DNS: so no dots, no capitals, and an end to their length.
"""

import re
from typing import Final

from deploy.compose.tree import quoted

NAME_CHARS_MAX: Final = 40  # two names, a slot and a suffix stay far below the 255 of a file name

LABEL_CHARS_MAX: Final = 63  # DNS: between two dots of a name
HOST_CHARS_MAX: Final = 253  # DNS: of a whole name

_NAME: Final = re.compile(rf"(?!.*-$)[a-z0-9][a-z0-9_-]{{0,{NAME_CHARS_MAX - 1}}}")
_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?")
_NETWORK: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_VOLUME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_UNWANTED: Final = re.compile(r"[^a-z0-9_-]")

RULE: Final = (
    f"use at most {NAME_CHARS_MAX} of a-z, 0-9, - and _, beginning with a letter or a digit, and "
    "not ending with -"
)
NETWORK_RULE: Final = (
    "use at most 128 of A-Z, a-z, 0-9, _, . and -, beginning with a letter or digit"
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


def is_network(text: str) -> bool:
    """Say whether a network may be called this in the cluster: it names a key."""
    return _NETWORK.fullmatch(text) is not None


def why_no_label(text: str) -> str:
    """Return why a word cannot stand between two dots of a name in DNS; empty where it can."""
    if len(text) > LABEL_CHARS_MAX:
        return f"{quoted(text)} has {len(text)} characters; {LABEL_CHARS_MAX} are the most"
    if _LABEL.fullmatch(text):
        return ""
    return f"{quoted(text)} is no name in DNS: use A-Z, a-z, 0-9, _ and -, and no - at either end"


def why_no_host(text: str) -> str:
    """Return why something cannot be a name of a host, with or without dots; empty where it can."""
    if len(text) > HOST_CHARS_MAX:
        return f"{quoted(text)} has {len(text)} characters; {HOST_CHARS_MAX} are the most"
    return next(filter(None, map(why_no_label, text.split("."))), "")


def from_folder(folder: str) -> str:
    """Return the name that Compose makes of a folder's; it may be unfit, even empty.

    Compose leaves a - at its end, with which it is no name in DNS.
    """
    return _UNWANTED.sub("", folder.lower()).lstrip("_-").rstrip("-")
