"""How an image wants its containers to run, combined with what the service says.

Pure.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from node_agent.oci import defaults
from shared.errors import RuntimeFailureError
from shared.model import Workload

# Linux's numbers, alike on every architecture that hafen runs on. Spelled out because the image's
# author named them for Linux, whatever machine reads this.
_SIGNAL_NAMES: Final = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT"
    " STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
)
_SIGNALS: Final = {name: number for number, name in enumerate(_SIGNAL_NAMES.split(), start=1)}
_SIGTERM: Final = 15
_SIGRTMIN: Final = 34
_SIGNAL_MAX: Final = 64


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An unpacked image, as stored beside its root file system.

    Attributes:
        digest: of its manifest, "sha256:...".
        environment: "NAME=value" each.
        uid, gid, groups: the image's USER, resolved against the image's own passwd and group files.
        home: that user's home directory.
        stop_signal: a number.
        blobs: the layout's blobs that it was made of, "sha256:..." each.
    """

    digest: str
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"
    working_dir: str = "/"
    stop_signal: int = _SIGTERM
    blobs: tuple[str, ...] = ()


def arguments(image: Image, workload: Workload) -> tuple[str, ...]:
    """Return what to run, by the rules of Docker and Compose.

    A service's entrypoint drops the image's command as well; an empty one clears the image's.

    Raises:
        RuntimeFailureError: nothing is left to run.
    """
    if workload.entrypoint is None:
        entrypoint, command = image.entrypoint, image.command
    else:
        entrypoint, command = workload.entrypoint, ()
    if workload.command is not None:
        command = workload.command
    if not entrypoint + command:
        raise RuntimeFailureError(
            f"{workload.image}: neither the image nor the service has a command"
        )
    return entrypoint + command


def environment(image: Image, given: Mapping[str, str], hostname: str) -> tuple[str, ...]:
    """Return the process's environment: the image's, overridden by what the service gives.

    PATH, HOSTNAME and HOME are there even when nobody set them.
    """
    merged = {"PATH": defaults.PATH, "HOSTNAME": hostname, "HOME": image.home}
    for entry in image.environment:
        name, _, value = entry.partition("=")
        merged[name] = value
    merged.update(given)
    return tuple(f"{name}={value}" for name, value in merged.items())


def signal_number(text: str) -> int:
    """Return the number of a signal written as 15, TERM, SIGTERM or SIGRTMIN+3.

    What is no signal counts as SIGTERM: a typo in somebody's image must not make it unstoppable.
    """
    return known_signal(text) or _SIGTERM


def known_signal(text: str) -> int | None:
    """Return the number of a signal, None if it is none."""
    name = text.strip().upper().removeprefix("SIG")
    if name.isascii() and name.isdigit():
        number = int(name)
    elif name.startswith("RTMIN+") and name.removeprefix("RTMIN+").isdigit():
        number = _SIGRTMIN + int(name.removeprefix("RTMIN+"))
    else:
        number = _SIGNALS.get(name, 0)
    return number if 0 < number <= _SIGNAL_MAX else None
