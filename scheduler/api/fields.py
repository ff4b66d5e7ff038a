"""Which fields of a service differ, as text for people; what looks like a secret is hidden.

Pure.
"""

import enum
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from scheduler.api.views import port_text
from shared.api import FieldChange, Happening, ServiceChange
from shared.model import Joined, Network, PublishedPort, ServiceName, ServiceSpec, Workload

HIDDEN: Final = "(hidden)"
# A value is cut after this many characters: a diff is read, not parsed.
_TEXT_MAX: Final = 200
_SECRET: Final = re.compile(
    r"pass|pwd|secret|token|credential|private|auth|api_?key|access_?key|_key$|^key$", re.IGNORECASE
)
# The password in scheme://user:password@host.
_IN_URL: Final = re.compile(r"(://[^/\s:@]*:)[^/\s@]+@")
_ENVIRONMENT: Final = "workload.environment."


def service_changes(
    before: Sequence[ServiceSpec], after: Sequence[ServiceSpec]
) -> tuple[ServiceChange, ...]:
    """Return what becomes of every service of either side, sorted by name."""
    old, new = ({spec.name: spec for spec in side} for side in (before, after))
    return tuple(_service(name, old.get(name), new.get(name)) for name in sorted({*old, *new}))


def network_changes(before: Iterable[Network], after: Iterable[Network]) -> tuple[FieldChange, ...]:
    """Return the networks that one side makes and the other does not, or makes otherwise."""
    old, new = ({one.name: _network_text(one) for one in side} for side in (before, after))
    return tuple(
        FieldChange(path=f"networks.{name}", before=old.get(name, ""), after=new.get(name, ""))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    )


def _network_text(one: Network) -> str:
    way = "internal" if one.internal else "with a way out"
    return f"{way}, subnet {one.subnet}" if one.subnet else way


def _service(
    name: ServiceName, before: ServiceSpec | None, after: ServiceSpec | None
) -> ServiceChange:
    return ServiceChange(
        service=name, what=happening(before, after), fields=tuple(differences(before, after))
    )


def happening(before: ServiceSpec | None, after: ServiceSpec | None) -> Happening:
    """Return what becomes of a service, by its records alone."""
    if before == after:
        return Happening.NONE
    if before is None:
        return Happening.CREATE
    if after is None:
        return Happening.REMOVE
    if before.is_stopped != after.is_stopped:
        return Happening.STOP if after.is_stopped else Happening.START
    if before.workload != after.workload:
        is_same = _unforced(before.workload) == _unforced(after.workload)
        return Happening.RESTART if is_same else Happening.UPDATE
    return Happening.SCALE if before.replicas != after.replicas else Happening.UPDATE


def _unforced(workload: Workload) -> Workload:
    return msgspec.structs.replace(workload, force=0)


def differences(before: ServiceSpec | None, after: ServiceSpec | None) -> Iterator[FieldChange]:
    """Yield the fields that differ, in order of path.

    Of a new service those that are not as they would be by themselves; of one that goes none.
    """
    if after is None:
        return
    old, new = _leaves(before if before is not None else _BLANK), _leaves(after)
    for path in sorted({*old, *new}):
        one, other = old.get(path, ""), new.get(path, "")
        if one != other:
            shown = _shown(path, one) if before is not None else ""
            yield FieldChange(path=path, before=shown, after=_shown(path, other))


_BLANK: Final = ServiceSpec(name=ServiceName(""), workload=Workload(image=""))


def _leaves(spec: ServiceSpec) -> dict[str, str]:
    """Return each field but the name as text by its path; one that says nothing is not there."""
    return {path: text for path, text in _walk("", spec) if path != "name"}


def _walk(path: str, value: object) -> Iterator[tuple[str, str]]:
    match value:
        case msgspec.Struct():
            for name in value.__struct_fields__:
                yield from _walk(f"{path}.{name}" if path else name, getattr(value, name))
        case (Joined(), *_):
            joined = [one for one in value if isinstance(one, Joined)]
            yield path, ", ".join(one.network for one in joined)
            named = ((f"{path}.{one.network}", _joined_text(one)) for one in joined)
            yield from ((where, text) for where, text in named if text)
        case Mapping():
            for key in sorted(value):
                yield from _walk(f"{path}.{key}", value[key])
        case None | ():
            return
        case _:
            yield path, _text(value)


def _text(value: object) -> str:
    match value:
        case enum.Enum():
            return str(value.value)
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case tuple():
            return ", ".join(_part(one) for one in value)
        case _:
            return str(value)


def _joined_text(one: Joined) -> str:
    """Return what more is said of a service on a network, such as "as db, pg at 172.20.0.9"."""
    names = [f"as {', '.join(one.aliases)}"] if one.aliases else []
    return " ".join([*names, *([f"at {one.address}"] if one.address else [])])


def _part(value: object) -> str:
    if isinstance(value, PublishedPort):
        return port_text(value)
    if isinstance(value, msgspec.Struct):
        return msgspec.json.encode(value, order="deterministic").decode()
    return _text(value)


def _shown(path: str, text: str) -> str:
    if text and path.startswith(_ENVIRONMENT) and _SECRET.search(path.removeprefix(_ENVIRONMENT)):
        return HIDDEN
    hidden = _IN_URL.sub(rf"\1{HIDDEN}@", text)
    return hidden if len(hidden) <= _TEXT_MAX else f"{hidden[:_TEXT_MAX]}…"
