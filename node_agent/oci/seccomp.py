"""From the profile that Debian ships for containers to the filter of one container.

Pure. The profile is written for every architecture, kernel and capability set at once; rules say
when they apply. Resolving it for what we have gives the flat list that crun and runc want.

Source: containers/common, pkg/seccomp (the format); golang-github-containers-common (the profile).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from node_agent.oci.spec import Seccomp, SyscallArg, SyscallRule
from shared.errors import HostError

PROFILE: Final = Path("/usr/share/containers/seccomp.json")
PACKAGE: Final = "golang-github-containers-common"

# What `uname -m` says -> the profile's two names for it.
_ARCHITECTURES: Final = {
    "x86_64": ("SCMP_ARCH_X86_64", "amd64"),
    "aarch64": ("SCMP_ARCH_AARCH64", "arm64"),
    "armv7l": ("SCMP_ARCH_ARM", "arm"),
    "i686": ("SCMP_ARCH_X86", "x86"),
    "ppc64le": ("SCMP_ARCH_PPC64LE", "ppc64le"),
    "riscv64": ("SCMP_ARCH_RISCV64", "riscv64"),
    "s390x": ("SCMP_ARCH_S390X", "s390x"),
}


class Condition(msgspec.Struct, frozen=True, rename={"min_kernel": "minKernel"}):
    """When a rule applies. What is empty does not matter."""

    caps: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()
    min_kernel: str = ""


class Rule(msgspec.Struct, frozen=True, rename="camel"):
    """Some system calls, what happens to them, and when this rule counts."""

    action: str
    names: tuple[str, ...] = ()
    name: str = ""
    args: tuple[SyscallArg, ...] | None = ()
    errno_ret: int | None = None
    includes: Condition = Condition()
    excludes: Condition = Condition()


class Architecture(msgspec.Struct, frozen=True, rename="camel"):
    """One architecture and the others that its kernel runs as well."""

    architecture: str
    sub_architectures: tuple[str, ...] | None = ()


class Profile(msgspec.Struct, frozen=True, rename="camel"):
    """The file, as far as hafen reads it."""

    default_action: str
    default_errno_ret: int | None = None
    arch_map: tuple[Architecture, ...] = ()
    syscalls: tuple[Rule, ...] = ()


class Machine(msgspec.Struct, frozen=True):
    """What rules ask about: `uname -m`, and the kernel's first two version numbers."""

    architecture: str
    kernel: tuple[int, int]


def decode(text: bytes, where: str) -> Profile:
    """Return the profile in `text`.

    Raises:
        HostError: it is not one; `where` names the file.
    """
    try:
        return msgspec.json.decode(text, type=Profile)
    except msgspec.DecodeError as error:
        raise HostError(f"{where}: {error}; reinstall the package {PACKAGE}") from error


def resolve(profile: Profile, machine: Machine, capabilities: Sequence[str]) -> Seccomp:
    """Return the filter for a container with `capabilities` on `machine`, in the file's order.

    Raises:
        HostError: the machine's architecture is not one that hafen knows.
    """
    if machine.architecture not in _ARCHITECTURES:
        raise HostError(f"no seccomp rules for the architecture {machine.architecture}")
    seccomp_name, short_name = _ARCHITECTURES[machine.architecture]
    return Seccomp(
        default_action=profile.default_action,
        default_errno_ret=profile.default_errno_ret,
        architectures=_architectures(profile, seccomp_name),
        syscalls=tuple(
            SyscallRule(
                names=rule.names or (rule.name,),
                action=rule.action,
                errno_ret=rule.errno_ret,
                args=rule.args or (),
            )
            for rule in profile.syscalls
            if _applies(rule, short_name, machine.kernel, frozenset(capabilities))
        ),
    )


def _architectures(profile: Profile, name: str) -> tuple[str, ...]:
    for entry in profile.arch_map:
        if entry.architecture == name:
            return (name, *(entry.sub_architectures or ()))
    return (name,)


def _applies(rule: Rule, arch: str, kernel: tuple[int, int], caps: frozenset[str]) -> bool:
    """Say whether all that `includes` asks for is there, and nothing that `excludes` names."""
    include, exclude = rule.includes, rule.excludes
    wanted = (
        (not include.arches or arch in include.arches)
        and caps.issuperset(include.caps)
        and (not include.min_kernel or kernel >= _version(include.min_kernel))
    )
    barred = (
        arch in exclude.arches
        or not caps.isdisjoint(exclude.caps)
        or (bool(exclude.min_kernel) and kernel >= _version(exclude.min_kernel))
    )
    return wanted and not barred


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")[:2]
    return int(major), int(minor)
