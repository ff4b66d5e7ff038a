"""Who a container's process is and what it may do: the keys that fill `Security`.

Pure.
"""

import posixpath
import re
from typing import Final

import msgspec

from deploy.compose.fields import (
    Cursor,
    Field,
    Table,
    each,
    items,
    refused,
    sound_record,
    text,
    truth,
    value_text,
    warned,
)
from deploy.compose.tree import Mapping, quoted
from shared.model import Device

_CAPABILITY: Final = re.compile(r"(?:CAP_)?([A-Z][A-Z_]{1,30})", re.IGNORECASE)
_RULE: Final = re.compile(r"[acb] (?:[0-9]{1,9}|\*):(?:[0-9]{1,9}|\*) [rwm]{1,3}")
_PERMISSIONS: Final = re.compile(r"(?!.*(.).*\1)[rwm]{1,3}")
_USER: Final = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9_.$-]{0,63}(?::[A-Za-z0-9_][A-Za-z0-9_.$-]{0,63})?"
)
_GROUP: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.$-]{0,63}")
_UNCONFINED: Final = {"seccomp=unconfined", "seccomp:unconfined"}
_OPEN_PATHS: Final = {"systempaths=unconfined", "systempaths:unconfined"}


class Options(msgspec.Struct, frozen=True):
    """What `security_opt` says."""

    no_new_privileges: bool = True
    seccomp: bool = True
    system_paths: bool = True


class _Device(msgspec.Struct, frozen=True):
    source: str = ""
    target: str = ""
    permissions: str = "rwm"


def _capabilities(at: Cursor) -> tuple[str, ...]:
    return each(items(at), _capability)


def _capability(at: Cursor) -> str:
    match = _CAPABILITY.fullmatch(text(at))
    if match is None:
        raise at.expected("a capability such as NET_ADMIN")
    return match.group(1).upper()


def _user(at: Cursor) -> str:
    name = value_text(at)
    if name and not _USER.fullmatch(name):
        raise at.expected('a user such as "1000:1000" or postgres')
    return name


def _groups(at: Cursor) -> tuple[str, ...]:
    def one(child: Cursor) -> str:
        name = value_text(child)
        if not _GROUP.fullmatch(name):
            raise child.expected("a group's number or name")
        return name

    return each(items(at), one)


def _options(at: Cursor) -> Options:
    found = Options()
    for child in items(at):
        found = _option(child, text(child), found)
    return found


def _option(at: Cursor, option: str, found: Options) -> Options:
    name, _, value = option.replace("=", ":", 1).partition(":")
    if name == "no-new-privileges" and value in {"", "true", "false"}:
        return msgspec.structs.replace(found, no_new_privileges=value != "false")
    if option in _UNCONFINED:
        return msgspec.structs.replace(found, seccomp=False)
    if option in _OPEN_PATHS:
        return msgspec.structs.replace(found, system_paths=False)
    if name in {"apparmor", "label"}:
        at.warn(f"hafen sets no {'AppArmor profile' if name == 'apparmor' else 'SELinux label'}")
        return found
    if name == "seccomp":
        raise at.refuse(
            "hafen has one filter of system calls; write seccomp:unconfined, or nothing"
        )
    raise at.refuse(f"hafen does not know the option {quoted(option)}")


def _devices(at: Cursor) -> tuple[Device, ...]:
    return each(items(at), _device)


def _device(at: Cursor) -> Device:
    if isinstance(at.node, Mapping):
        found = sound_record(at, _Device(), DEVICE)
    else:
        parts = text(at).split(":")
        if len(parts) > 3:  # noqa: PLR2004 - source, target, permissions
            raise at.expected("a device such as /dev/ttyUSB0:/dev/ttyUSB0:rwm")
        found = _Device(*parts)
    if not found.source.startswith("/"):
        raise at.refuse(
            f"{quoted(found.source)} is no path of a device; hafen does not know names of CDI"
        )
    if not _PERMISSIONS.fullmatch(found.permissions):
        raise at.refuse(f"expected some of r, w and m, got {quoted(found.permissions)}")
    target = found.target or found.source
    if not target.startswith("/"):
        raise at.refuse(f"expected an absolute path in the container, got {quoted(target)}")
    return Device(
        source=posixpath.normpath(found.source),
        target=posixpath.normpath(target),
        permissions=found.permissions,
    )


def _device_rules(at: Cursor) -> tuple[str, ...]:
    def one(child: Cursor) -> str:
        rule = text(child)
        if not _RULE.fullmatch(rule):
            raise child.expected('a rule such as "c 1:3 mr"')
        return rule

    return each(items(at), one)


def _user_namespace(at: Cursor) -> None:
    if text(at) not in {"", "host"}:
        raise at.refuse("hafen makes no user namespaces; leave it out")


DEVICE: Final[Table] = {
    "source": Field("source", text),
    "target": Field("target", text),
    "permissions": Field("permissions", text),
}
SECURITY: Final[Table] = {
    "user": Field("security.user", _user),
    "group_add": Field("security.groups", _groups),
    "cap_add": Field("security.cap_add", _capabilities),
    "cap_drop": Field("security.cap_drop", _capabilities),
    "privileged": Field("security.privileged", truth),
    "read_only": Field("security.read_only", truth),
    "devices": Field("security.devices", _devices),
    "device_cgroup_rules": Field("security.device_rules", _device_rules),
    "security_opt": Field("options", _options),
    "userns_mode": Field("", _user_namespace),
    "credential_spec": refused("this is for Windows; leave it out"),
    "isolation": refused("this is for Windows; leave it out"),
    "use_api_socket": refused("there is no Docker daemon whose socket could be used"),
    "storage_opt": refused("hafen cannot limit a container's own disk; write to a volume"),
    "attach": warned("`hafen deploy` shows no logs; see `hafen logs`"),
}
