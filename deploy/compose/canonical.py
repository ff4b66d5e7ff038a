"""A project that was understood -> one Compose file in long forms, which says the same.

Pure. It has no variables, includes, extensions, profiles or other files any more, and dollar signs
are doubled: `hafen config` prints it, and it loads again to the same services. What secrets hold is
not in it, only the files and variables that they come from.
"""

import re
from collections.abc import Callable
from typing import Final

from deploy.compose.decode import Decoded, is_active
from deploy.compose.tree import (
    OWN_KEY,
    Entry,
    Kind,
    Mapping,
    Mark,
    Node,
    Path,
    Scalar,
    Sequence,
    is_extension,
    plain,
)
from shared.model import ServiceSpec

Model = Mapping

_NOWHERE: Final = Mark(0, 0, "")
EMPTY: Final = Mapping(_NOWHERE, ())
_PORT: Final = re.compile(
    r"(?:(?P<address>\[[^\]]*\]|[0-9]+\.[0-9.]+|::):)?(?:(?P<published>[0-9-]+):)?(?P<target>[0-9-]+)"
    r"(?:/(?P<protocol>[a-z]+))?"
)
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_PROPAGATIONS: Final = {"private", "rprivate", "shared", "rshared", "slave", "rslave"}
_RESOLVED: Final = {"env_file", "label_file", "profiles", "extends"}  # what they say is elsewhere
Rewrite = Callable[[Node], Node]


def model(tree: Mapping, name: str, decoded: Decoded, profiles: frozenset[str]) -> Model:
    """Return the project as one file.

    Args:
        tree: of a project in which nothing was wrong.
        name: the stack's.
        decoded: what the tree was found to say.
        profiles: the active ones.
    """
    specs = {str(spec.name): spec for spec in decoded.services}
    entries: dict[str, Node] = {"name": _text(name)}
    for entry in tree.entries:
        value = entry.value
        if entry.key in {"name", "version", "include"} or is_extension((), entry.key):
            continue
        if entry.key == "services" and isinstance(value, Mapping):
            value = _mapping(
                {
                    one.key: _service(one.value, specs[one.key])
                    for one in value.entries
                    if isinstance(one.value, Mapping) and is_active(one.value, profiles)
                }
            )
        elif entry.key in {"volumes", "networks"} and isinstance(value, Mapping):
            value = _mapping({one.key: _named_at_top(one, name) for one in value.entries})
        entries[entry.key] = value
    entries |= _with_default(entries.get("networks"), name, decoded)
    whole = _plain(_mapping(entries), ())
    assert isinstance(whole, Mapping), "it was made as one"
    return whole


def _service(node: Mapping, spec: ServiceSpec) -> Node:
    found: dict[str, Node] = {"image": _text(spec.workload.image)}
    for entry in node.entries:
        rewrite = _REWRITES.get(entry.key)
        if entry.key not in _RESOLVED:
            found[entry.key] = rewrite(entry.value) if rewrite else entry.value
    work = spec.workload
    for key, words in (("command", work.command), ("entrypoint", work.entrypoint)):
        found.pop(key, None)
        if words is not None:
            found[key] = _list([_text(word) for word in words])
    for key, values in (("environment", work.environment), ("labels", work.labels)):
        found.pop(key, None)
        if values:
            found[key] = _mapping({name: _text(value) for name, value in values.items()})
    if not _is_said(found.get("networks")) and not _is_said(found.get("network_mode")):
        found["networks"] = _mapping({"default": Scalar(_NOWHERE, Kind.NULL, "")})
    return _mapping(found)


def _is_said(node: Node | None) -> bool:
    match node:
        case Mapping():
            return bool(node.entries)
        case Sequence():
            return bool(node.items)
        case Scalar():
            return node.kind is not Kind.NULL
        case None:
            return False


# ---------------------------------------------------------------- parts of a service


def _ports(node: Node) -> Node:
    if not isinstance(node, Sequence):
        return node
    return _list([port for item in node.items for port in _port(item)])


def _port(node: Node) -> list[Node]:
    if not isinstance(node, Scalar):
        return [node]
    match = _PORT.fullmatch(node.text)
    assert match is not None, "it was understood"
    published = _range(match["published"] or "")
    found: list[Node] = []
    for n, target in enumerate(_range(match["target"])):
        port: dict[str, Node] = {"target": _number(target)}
        if published:
            port["published"] = _text(published[n])
        if match["address"]:
            port["host_ip"] = _text(match["address"].strip("[]"))
        port["protocol"] = _text(match["protocol"] or "tcp")
        port["mode"] = _text("ingress")
        found.append(_mapping(port))
    return found


def _range(digits: str) -> list[str]:
    if not digits:
        return []
    first, _, last = digits.partition("-")
    return [str(port) for port in range(int(first), int(last or first) + 1)]


def _volumes(node: Node) -> Node:
    if not isinstance(node, Sequence):
        return node
    return _list([_volume(item) for item in node.items])


def _volume(node: Node) -> Node:
    if not isinstance(node, Scalar):
        return node
    parts = node.text.split(":")
    source = parts[0] if len(parts) > 1 else ""
    is_bind = bool(source) and not _NAME.fullmatch(source)
    found: dict[str, Node] = {"type": _text("bind" if is_bind else "volume")}
    if source:
        found["source"] = _text(source)
    found["target"] = _text(parts[min(1, len(parts) - 1)])
    for option in parts[2].split(",") if len(parts) > 2 else ():  # noqa: PLR2004 - options are third
        if option == "ro":
            found["read_only"] = Scalar(_NOWHERE, Kind.BOOL, "true")
        elif option in _PROPAGATIONS:
            found["bind"] = _mapping({"propagation": _text(option)})
        elif option in {"nocopy", "volume-nocopy"}:
            found["volume"] = _mapping({"nocopy": Scalar(_NOWHERE, Kind.BOOL, "true")})
    return _mapping(found)


def _depends_on(node: Node) -> Node:
    names = _as_names(node)
    if not isinstance(names, Mapping):
        return names
    return _mapping({one.key: _dependency(one.value) for one in names.entries})


def _dependency(node: Node) -> Node:
    found: dict[str, Node] = {"condition": _text("service_started")}
    if isinstance(node, Mapping):
        found.update({entry.key: entry.value for entry in node.entries})
    found.setdefault("required", Scalar(_NOWHERE, Kind.BOOL, "true"))
    return _mapping(found)


def _as_names(node: Node) -> Node:
    if not isinstance(node, Sequence):
        return node
    texts = [item.text for item in node.items if isinstance(item, Scalar)]
    return _mapping({text: Scalar(_NOWHERE, Kind.NULL, "") for text in texts})


def _files(node: Node) -> Node:
    if not isinstance(node, Sequence):
        return node
    return _list(
        [_mapping({"source": one}) if isinstance(one, Scalar) else one for one in node.items]
    )


def _build(node: Node) -> Node:
    if isinstance(node, Scalar):
        return _mapping({"context": node})
    return node


def _check(node: Node) -> Node:
    if not isinstance(node, Mapping):
        return node
    found = {entry.key: entry.value for entry in node.entries}
    test = found.get("test")
    if isinstance(test, Scalar) and test.kind is not Kind.NULL:
        found["test"] = _list([_text("CMD-SHELL"), test])
    return _mapping(found)


def _as_list(node: Node) -> Node:
    is_single = isinstance(node, Scalar) and node.kind is not Kind.NULL
    return _list([node]) if is_single else node


def _as_pairs(node: Node) -> Node:
    if not isinstance(node, Sequence):
        return node
    found: dict[str, Node] = {}
    for item in node.items:
        name, _, value = (item.text if isinstance(item, Scalar) else "").partition("=")
        found[name] = _text(value)
    return _mapping(found)


def _named_at_top(entry: Entry, stack: str) -> Node:
    """Return a volume or a network with its name in the cluster."""
    node = entry.value
    found = {one.key: one.value for one in node.entries} if isinstance(node, Mapping) else {}
    external = found.get("external")
    if isinstance(external, Mapping):  # the old form
        old = external.get("name")
        found["external"] = Scalar(_NOWHERE, Kind.BOOL, "true")
        found.setdefault("name", old.value if old is not None else _text(entry.key))
    if "name" not in found and "external" not in found:
        found["name"] = _text(f"{stack}_{entry.key}")
    return _mapping(found)


def _entries(node: Node, key: str) -> list[Entry]:
    entry = node.get(key) if isinstance(node, Mapping) else None
    return [] if entry is None else [entry]


def _with_default(node: Node | None, stack: str, decoded: Decoded) -> dict[str, Node]:
    """Return `networks` with the one of services that name none, where there is such a service."""
    known = {entry.key: entry.value for entry in node.entries} if isinstance(node, Mapping) else {}
    own = f"{stack}_default"
    names = {plain(one.value) for top in known.values() for one in _entries(top, "name")}
    if "default" in known or own in names or all(one.name != own for one in decoded.networks):
        return {}
    return {"networks": _mapping({**known, "default": _mapping({"name": _text(own)})})}


# ---------------------------------------------------------------- nodes


def _plain(node: Node, path: Path) -> Node:
    """Return a tree without extensions, and with its dollar signs doubled."""
    match node:
        case Scalar(kind=Kind.TEXT):
            return _text(node.text.replace("$", "$$"))
        case Scalar():
            return node
        case Sequence():
            return _list([_plain(item, (*path, n)) for n, item in enumerate(node.items)])
        case Mapping():
            return _mapping(
                {
                    entry.key: _plain(entry.value, (*path, entry.key))
                    for entry in node.entries
                    if entry.key == OWN_KEY or not is_extension(path, entry.key)
                }
            )


def _text(text: str) -> Scalar:
    return Scalar(_NOWHERE, Kind.TEXT, text)


def _number(digits: str) -> Scalar:
    return Scalar(_NOWHERE, Kind.INT, digits)


def _list(items: list[Node]) -> Sequence:
    return Sequence(_NOWHERE, tuple(items))


def _mapping(entries: dict[str, Node]) -> Mapping:
    return Mapping(_NOWHERE, tuple(Entry(_NOWHERE, key, value) for key, value in entries.items()))


_REWRITES: Final[dict[str, Rewrite]] = {
    "ports": _ports,
    "volumes": _volumes,
    "depends_on": _depends_on,
    "networks": _as_names,
    "configs": _files,
    "secrets": _files,
    "build": _build,
    "healthcheck": _check,
    "dns": _as_list,
    "dns_search": _as_list,
    "tmpfs": _as_list,
    "sysctls": _as_pairs,
    "annotations": _as_pairs,
}
