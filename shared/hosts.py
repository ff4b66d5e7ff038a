"""What a route's host and path may be, and what a person reads when they are not.

Pure.
"""

import re
from typing import Final

HOST_CHARACTERS_MAX: Final = 253  # RFC 1035, without the root's dot
LABEL_CHARACTERS_MAX: Final = 63
# Long enough for people's paths; a key of HAProxy's maps goes through its one buffer of 16 KiB.
PATH_CHARACTERS_MAX: Final = 512
NO_WILDCARD: Final = (
    "acme is for single hosts: that all names below one lead here cannot be shown over HTTP; bring "
    "a certificate with `hafen cert add`"
)
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?")
# What separates words or commands for HAProxy is left out.
_PATH: Final = re.compile(r"/[A-Za-z0-9._~@+:%/-]*")


def host_problem(host: str) -> str:
    """Return why no route or certificate can be for `host`; empty: it can be."""
    if len(host) > HOST_CHARACTERS_MAX:
        return f"a host name of {len(host)} characters; {HOST_CHARACTERS_MAX} are the most"
    labels = host.removeprefix("*.").split(".")
    for label in labels:
        if len(label) > LABEL_CHARACTERS_MAX:
            return (
                f"{label[:20]}... in the host name has {len(label)} characters; "
                f"{LABEL_CHARACTERS_MAX} are the most between two dots"
            )
        if not _LABEL.fullmatch(label):
            return (
                f"{host[:80]!r} is no host name: write one such as shop.example.org, or "
                "*.example.org for all names below it"
            )
    return ""


def path_problem(path: str) -> str:
    """Return why no route can be for `path`; empty: it can be."""
    if len(path) > PATH_CHARACTERS_MAX:
        return f"a path of {len(path)} characters; {PATH_CHARACTERS_MAX} are the most"
    if not _PATH.fullmatch(path):
        return (
            f"{path[:80]!r} is no path for a route: it begins with / and has letters, digits and "
            "._~@+:%/- only"
        )
    if "//" in path or ".." in path.split("/"):
        return f"{path[:80]!r} is no path for a route: it has // or .. in it"
    return ""
