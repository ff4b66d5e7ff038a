"""`build` of a service: what is to be built before it can be deployed.

Pure. Who builds it, and with what, is in deploy/build.py.
"""

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
    pairs,
    refused,
    sound_record,
    text,
    truth,
    warned,
)
from deploy.compose.naming import extra_hosts
from deploy.compose.paths import is_remote
from deploy.compose.tree import Mapping, quoted
from deploy.compose.tuning import memory

_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_IMAGE: Final = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?/|\[[0-9a-fA-F:]+\](?::[0-9]+)?/)?"
    rf"{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[A-Za-z0-9_+.-]+:[0-9a-fA-F]{32,128})?"
)
_PLATFORM: Final = re.compile(r"[a-z0-9]{1,20}/[a-z0-9_]{1,20}(?:/[a-z0-9.]{1,10})?")
IMAGE_CHARS_MAX: Final = 512


class Build(msgspec.Struct, frozen=True):
    """An image that is built here.

    Attributes:
        image: what it is called, and what the service runs.
        context: an absolute path.
        dockerfile: relative to the context; empty: Dockerfile.
        inline: what would stand in the Dockerfile; empty: it is a file.
        tags: further names of the image.
        platforms: empty: this computer's.
    """

    image: str = ""
    context: str = ""
    dockerfile: str = ""
    inline: str = ""
    target: str = ""
    args: Lookup[str, str] = {}
    labels: Lookup[str, str] = {}
    tags: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    network: str = ""
    extra_hosts: tuple[str, ...] = ()
    shm_bytes: int = 0
    pull: bool = False
    no_cache: bool = False


def image(at: Cursor) -> str:
    """Return the name of an image."""
    name = text(at)
    if len(name) > IMAGE_CHARS_MAX or not _IMAGE.fullmatch(name):
        raise at.expected("an image such as registry.example.com/team/app:1.2")
    return name


def platform(at: Cursor) -> str:
    """Return a platform."""
    name = text(at)
    if not _PLATFORM.fullmatch(name):
        raise at.expected("a platform such as linux/arm64")
    return name


def build(at: Cursor, context: Context) -> Build:
    """Return what `build` says; the image's name is not known here."""
    if isinstance(at.node, Mapping):
        table = {
            **BUILD,
            "args": Field("args", lambda child: pairs(child, context.variables.get)),
        }
        found = sound_record(at, Build(), table)
    else:
        found = Build(context=text(at))
    if not found.context:
        raise at.refuse("context is missing: the folder with the Dockerfile")
    if is_remote(found.context):
        raise at.refuse(f"{quoted(found.context)}: hafen builds folders of this computer; clone it")
    if len(found.platforms) > 1:
        raise at.below("platforms").refuse("hafen builds for one platform at a time; write one")
    if found.dockerfile and found.inline:
        raise at.refuse("dockerfile and dockerfile_inline contradict each other; keep one")
    return found


def _network(at: Cursor) -> str:
    mode = text(at)
    if mode not in {"host", "none", "default"}:
        raise at.expected("host, none or default")
    return mode


_NO_SECRETS: Final = "hafen hands no secrets to a build yet; take them at run time, from `secrets`"
_ONE_CONTEXT: Final = "hafen builds from one folder; copy what is needed into the context"
BUILD: Final[Table] = {
    "context": Field("context", text),
    "dockerfile": Field("dockerfile", text),
    "dockerfile_inline": Field("inline", text),
    "target": Field("target", text),
    "args": Field("args", lambda at: pairs(at, lambda _: None)),
    "labels": Field("labels", lambda at: pairs(at, lambda _: "")),
    "tags": Field("tags", lambda at: each(items(at), image)),
    "platforms": Field("platforms", lambda at: each(items(at), platform)),
    "network": Field("network", _network),
    "extra_hosts": Field("extra_hosts", extra_hosts),
    "shm_size": Field("shm_bytes", memory),
    "pull": Field("pull", truth),
    "no_cache": Field("no_cache", truth),
    "secrets": refused(_NO_SECRETS),
    "ssh": refused(_NO_SECRETS),
    "additional_contexts": refused(_ONE_CONTEXT),
    "privileged": refused("hafen builds without privileges; leave it out"),
    "entitlements": refused("hafen builds without privileges; leave it out"),
    "isolation": refused("this is for Windows; leave it out"),
    "ulimits": warned("the limits of whoever builds apply"),
    "cache_from": warned("the cache of this computer is used"),
    "cache_to": warned("the cache of this computer is used"),
    "provenance": warned("hafen writes no attestations"),
    "sbom": warned("hafen writes no attestations"),
}
