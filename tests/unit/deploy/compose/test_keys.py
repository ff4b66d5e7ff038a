"""Every key of the Compose Specification: in the tables of the loader, and on its page."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.compose import (
    assemble,
    building,
    contents,
    decode,
    deploys,
    extend,
    health,
    mounts,
    networks,
    order,
    own,
    ports,
    routes,
    security,
    service,
    tuning,
)
from deploy.compose.fields import Standing, Table

ROOT = Path(__file__).parents[4]
SCHEMA = ROOT.parent / "shared" / "data" / "compose-spec.schema.json"
KEYS = Path(__file__).parent / "spec_keys.txt"
PAGE = (ROOT / "docs" / "compose.md").read_text(encoding="utf-8")
Key = tuple[str, str]  # "top" or "service", and the path below it

_REQUESTS = {"deploy.resources.reservations.devices": deploys.DEVICE, "gpus": deploys.DEVICE}
_GENERIC = "deploy.resources.reservations.generic_resources"
SERVICE_TABLES: Final[Mapping[str, Table]] = {
    "": service.SERVICE,
    "blkio_config": tuning.BLOCK_IO,
    **{f"blkio_config.{key}": tuning.RATE for key in tuning.BLOCK_IO if key.startswith("device")},
    "blkio_config.weight_device": tuning.WEIGHT,
    "build": building.BUILD,
    "configs": contents.USE,
    "depends_on": order.DEPENDS_ON,
    "deploy": deploys.DEPLOY,
    "deploy.placement": deploys.PLACEMENT,
    "deploy.placement.preferences": deploys.PREFERENCE,
    "deploy.resources": deploys.RESOURCES,
    "deploy.resources.limits": deploys.LIMITS,
    "deploy.resources.reservations": deploys.RESERVATIONS,
    _GENERIC: deploys.GENERIC,
    f"{_GENERIC}.discrete_resource_spec": deploys.DISCRETE,
    "deploy.restart_policy": deploys.RESTART_POLICY,
    "deploy.rollback_config": deploys.ROLLBACK,
    "deploy.update_config": deploys.UPDATE,
    "devices": security.DEVICE,
    "env_file": service.ENV_FILE,
    "extends": extend.EXTENDS,
    "healthcheck": health.CHECK,
    "networks": networks.ATTACHMENT,
    "ports": ports.LONG_PORT,
    "secrets": contents.USE,
    "ulimits": tuning.ULIMIT,
    "volumes": mounts.VOLUME,
    "volumes.bind": mounts.BIND,
    "volumes.image": mounts.IMAGE,
    "volumes.tmpfs": mounts.TMPFS,
    "volumes.volume": mounts.VOLUME_OPTIONS,
    **_REQUESTS,
}
TOP_TABLES: Final[Mapping[str, Table]] = {
    "": decode.TOP,
    "include": assemble.INCLUDE,
    "volumes": mounts.TOP_VOLUME,
    "configs": contents.CONFIG,
    "secrets": contents.SECRET,
    **{f"{key}.external": mounts.EXTERNAL for key in ("volumes", "configs", "secrets")},
    "networks": networks.NETWORK,
    "networks.external": networks.NETWORK_EXTERNAL,
    "networks.ipam": networks.IPAM,
    "networks.ipam.config": networks.IPAM_CONFIG,
}


def listed() -> set[Key]:
    """Return the keys of the specification, as they are kept beside this file."""
    lines = KEYS.read_text(encoding="utf-8").splitlines()
    return {(group, path) for group, _, path in (line.partition(" ") for line in lines)}


def in_tables() -> dict[Key, Standing]:
    """Return what the loader does with each key."""
    found: dict[Key, Standing] = {}
    for group, tables in (("top", TOP_TABLES), ("service", SERVICE_TABLES)):
        for prefix, table in tables.items():
            for key, field in table.items():
                if not key.startswith("x-"):
                    found[group, f"{prefix}.{key}".lstrip(".")] = field.standing
    return found


def on_page() -> dict[Key, Standing]:
    """Return what the page says of each key."""
    found: dict[Key, Standing] = {}
    for group, start, end in (
        ("top", "## The top of the file", "## A service"),
        ("service", "## A service", "### What hafen adds"),
    ):
        part = PAGE[PAGE.index(start) : PAGE.index(end)]
        for cell, word in re.findall(r"^\| (`.*?`) \| ([a-z]+)", part, re.MULTILINE):
            for path in re.findall(r"`([^`]+)`", cell):
                assert (group, path) not in found, f"{path} is on the page twice"
                found[group, path] = Standing(word)
    return found


def is_inside_what_does_nothing(key: Key, known: Mapping[Key, Standing]) -> bool:
    """Say whether a key stands below one that is refused, or does nothing as a whole."""
    group, path = key
    parts = path.split(".")
    above = [".".join(parts[:end]) for end in range(1, len(parts))]
    return any(known.get((group, one)) in {Standing.REFUSED, Standing.WARNS} for one in above)


def needed(known: Mapping[Key, Standing]) -> set[Key]:
    """Return the keys that must be known for themselves."""
    return {key for key in listed() if not is_inside_what_does_nothing(key, known)}


def test_every_key_of_the_specification_is_in_a_table_of_the_loader() -> None:
    known = in_tables()
    assert needed(known) - known.keys() == set()
    assert known.keys() - listed() == set()


def test_the_page_says_of_every_key_what_the_loader_does() -> None:
    page, known = on_page(), in_tables()
    assert needed(page) - page.keys() == set()
    assert page.keys() - listed() == set()
    assert {key: word for key, word in page.items() if known[key] is not word} == {}


def test_the_page_names_what_hafen_adds() -> None:
    found = set(re.findall(r"^\| `x-hafen\.([a-z_]+)`", PAGE, re.MULTILINE))
    assert found == set(own.OWN)
    for table in (own.CRON, own.PACE, own.JOB, routes.ROUTE):
        assert [key for key in table if key not in PAGE] == []


@pytest.mark.skipif(not SCHEMA.exists(), reason="the specification's schema is not here")
def test_the_list_of_keys_is_that_of_the_schema() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    definitions = schema["definitions"]
    found = {("top", key) for key in schema["properties"]}
    for key, node in schema["properties"].items():
        if key != "services":
            found |= {("top", path) for path in walk(node, key, definitions)}
    found |= {("service", path) for path in walk(definitions["service"], "", definitions)}
    assert found == listed()


def walk(node: Any, prefix: str, definitions: Any) -> Iterator[str]:
    """Yield the path of every key below a node of the schema."""
    for key, inner in properties(node, definitions):
        path = f"{prefix}.{key}".lstrip(".")
        yield path
        yield from walk(inner, path, definitions)


def properties(node: Any, definitions: Any) -> Iterator[tuple[str, Any]]:
    """Yield the keys that a node may have, in whichever form it is written."""
    if "$ref" in node:
        node = definitions[node["$ref"].rpartition("/")[2]]
    yield from node.get("properties", {}).items()
    others = [one for word in ("oneOf", "anyOf", "allOf") for one in node.get(word, [])]
    others += node.get("patternProperties", {}).values()
    others += [node["items"]] if isinstance(node.get("items"), dict) else []
    for other in others:
        if isinstance(other, dict):
            yield from properties(other, definitions)
