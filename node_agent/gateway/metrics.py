"""HAProxy's figures with the names that people know: stack, service, replica.

Pure. Names of figures stay HAProxy's, so that dashboards for it fit.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from node_agent.gateway.config import FRONT, ONCE, server_name
from node_agent.gateway.slots import Table

_SAMPLE: Final = re.compile(
    r'(?P<name>[a-z_]+)\{(?P<labels>proxy="(?P<proxy>[^"]*)"[^}]*)\}(?P<rest>.*)'
)
_SERVER: Final = re.compile(r'server="([^"]*)"')
_PARTS: Final = 3  # <stack>.<service>.<port>


def named(text: str, tables: Mapping[str, Table]) -> str:
    """Return HAProxy's answer with labels added; a slot that leads nowhere is left out.

    Args:
        text: in Prometheus' format.
        tables: per "<stack>.<service>", its slots.
    """
    replicas = {
        (service, server_name(slot)): slot.allocation
        for service, table in tables.items()
        for slot in table.slots
        if slot.allocation
    }
    return "".join(f"{line}\n" for line in _lines(text, replicas))


def _lines(text: str, replicas: Mapping[tuple[str, str], str]) -> Iterator[str]:
    for line in text.splitlines():
        found = _SAMPLE.fullmatch(line)
        if found is None:
            yield line
            continue
        parts = found["proxy"].removesuffix(ONCE).removesuffix(FRONT).split(".")
        if len(parts) != _PARTS:
            yield line
            continue
        more = f'stack="{parts[0]}",service="{parts[1]}"'
        server = _SERVER.search(found["labels"])
        if server is not None:
            replica = replicas.get((f"{parts[0]}.{parts[1]}", server[1]))
            if replica is None:
                continue
            more += f',replica="{replica}"'
        yield f"{found['name']}{{{found['labels']},{more}}}{found['rest']}"
