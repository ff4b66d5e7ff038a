"""Which programs a host or a lab must have, and who may start one."""

import os
import shutil
from collections.abc import Iterable
from typing import Final

import msgspec

from shared.errors import HostError
from shared.settings import Settings


class Need(msgspec.Struct, frozen=True):
    """A program that must be on PATH: any of `programs`; `package` is Debian's for the first."""

    programs: tuple[str, ...]
    package: str


_MEMBER: Final = (Need(("etcd",), "etcd-server"), Need(("nice",), "coreutils"))
_AGENT: Final = (
    Need(("crun", "runc"), "crun"),
    Need(("conmon",), "conmon"),
    Need(("skopeo",), "skopeo"),
    Need(("umoci",), "umoci"),
    Need(("haproxy",), "haproxy"),
    Need(("nft",), "nftables"),
    Need(("ip",), "iproute2"),
    Need(("setpriv",), "util-linux"),
)


def require_root(what: str) -> None:
    """Refuse anyone but root.

    Raises:
        HostError: says how to become root.
    """
    if os.geteuid() != 0:
        raise HostError(f"{what} must be root, it makes namespaces and cgroups: use `sudo {what}`")


def needs_of(settings: Settings) -> tuple[Need, ...]:
    """Return the programs that the parts of this host start."""
    return (*(_MEMBER if settings.member is not None else ()), *_AGENT)


def missing(needs: Iterable[Need]) -> list[str]:
    """Return a line for each program that is not on PATH."""
    return [
        f"{need.programs[0]} is not installed: apt-get install {need.package}"
        for need in needs
        if not any(shutil.which(program) for program in need.programs)
    ]
