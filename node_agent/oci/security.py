"""Who a container's process is and what it may do: capabilities, devices, hidden paths.

Pure.
"""

import re
from collections.abc import Sequence
from typing import Final

from node_agent.oci import defaults, spec
from shared.errors import RuntimeFailureError
from shared.model import Security

_ALL: Final = "ALL"
_RULE: Final = re.compile(r"([abc]) (\*|[0-9]{1,9}):(\*|[0-9]{1,9}) ([rwm]{1,3})")
_ACCESS: Final = re.compile(r"[rwm]{1,3}")


def capabilities(security: Security, all_names: Sequence[str]) -> tuple[str, ...]:
    """Return the capabilities that the process may have, sorted as the kernel counts them.

    Args:
        security: what the service says.
        all_names: every capability that this node can give, in the kernel's order.

    Raises:
        RuntimeFailureError: a name that this node's kernel does not have, or may not give.
    """
    if security.privileged:
        return tuple(all_names)
    added, dropped = _named(security.cap_add, all_names), _named(security.cap_drop, all_names)
    if not added and not dropped:
        return defaults.CAPABILITIES
    if _ALL in added:
        wanted = set(all_names) - dropped
    else:
        kept = set() if _ALL in dropped else set(defaults.CAPABILITIES) - dropped
        wanted = kept | added
    return tuple(name for name in all_names if name in wanted)


def _named(names: Sequence[str], all_names: Sequence[str]) -> set[str]:
    """Return capabilities by their whole names; ALL stays as it is."""
    found = set()
    for given in names:
        name = given.upper()
        name = name if name == _ALL else f"CAP_{name.removeprefix('CAP_')}"
        if name != _ALL and name not in all_names:
            raise RuntimeFailureError(
                f"capability {given}: this node's kernel has none of that name, or may not give it"
            )
        found.add(name)
    return found


def capability_sets(names: tuple[str, ...], *, root: bool) -> spec.Capabilities:
    """Give a process that is not root nothing but the bounding set, as execve would leave it."""
    if root:
        return spec.Capabilities(bounding=names, effective=names, permitted=names)
    return spec.Capabilities(bounding=names)


def device_rules(
    security: Security, devices: Sequence[tuple[spec.Device, str]]
) -> tuple[spec.DeviceRule, ...]:
    """Return the rules of the device cgroup.

    Args:
        security: what the service says.
        devices: the device nodes that the container gets, each with what may be done to it.

    Raises:
        RuntimeFailureError: a rule that is none.
    """
    if security.privileged:
        return (spec.DeviceRule(allow=True, access="rwm"),)
    own = tuple(
        spec.DeviceRule(
            allow=True,
            type=device.type,
            major=device.major,
            minor=device.minor,
            access=_access(permissions, device.path),
        )
        for device, permissions in devices
    )
    return (*defaults.DEVICES, *own, *map(_rule, security.device_rules))


def _access(text: str, where: str) -> str:
    if not _ACCESS.fullmatch(text):
        raise RuntimeFailureError(f"device {where}: {text!r} is not made of r, w and m")
    return text


def _rule(text: str) -> spec.DeviceRule:
    match = _RULE.fullmatch(text)
    if match is None:
        raise RuntimeFailureError(f"device rule {text!r}: write TYPE MAJOR:MINOR ACCESS, c 1:3 mr")
    kind, major, minor, access = match.groups()
    return spec.DeviceRule(
        allow=True, type=kind, major=_number(major), minor=_number(minor), access=access
    )


def _number(text: str) -> int | None:
    return None if text == "*" else int(text)


def hidden(security: Security) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which paths are masked and which are read-only."""
    if security.privileged or not security.system_paths:
        return (), ()
    return defaults.MASKED_PATHS, defaults.READONLY_PATHS


def is_filtered(security: Security) -> bool:
    """Say whether system calls are filtered."""
    return security.seccomp and not security.privileged
