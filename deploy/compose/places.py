"""Where in a person's files a service or network stands that the cluster says something of.

Pure. What only the whole cluster can refuse (an address that another stack has, a subnet that
overlaps) is found where no files are; sentences begin with `service web` or `network shop_back`.
"""

from collections import abc

from deploy.compose.tree import Mapping, Scalar, dotted
from shared.model import StackName

# What a sentence begins with -> file:line: path
Places = abc.Mapping[str, str]


def places(tree: Mapping, stack: StackName) -> Places:
    """Return where each service and each network of the files stands."""
    found = {}
    for kind, word in (("services", "service"), ("networks", "network")):
        section = tree.get(kind)
        if section is None or not isinstance(section.value, Mapping):
            continue
        for entry in section.value.entries:
            name = entry.key if kind == "services" else _network(entry.key, entry.value, stack)
            place = f"{entry.mark.file}:{entry.mark.line}: {dotted((kind, entry.key))}"
            found[f"{word} {name}"] = place
    return found


def _network(key: str, value: object, stack: StackName) -> str:
    """Return what the cluster calls a network."""
    named = value.get("name") if isinstance(value, Mapping) else None
    if named is not None and isinstance(named.value, Scalar):
        return named.value.text
    return f"{stack}_{key}"


def located(said: str, known: Places) -> str:
    """Return sentences, one a line, each with its place before it where it has one."""
    return "\n".join(_located(line, known) for line in said.splitlines())


def _located(line: str, known: Places) -> str:
    words = line.split(" ", 2)
    place = known.get(" ".join(words[:2]).removesuffix(":"))
    return f"{place}: {line}" if place is not None else line
