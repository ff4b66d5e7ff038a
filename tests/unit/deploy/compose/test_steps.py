"""Whatever is in a file: services that can be stored, or a SpecError with lines for a person."""

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.compose.errors import PROBLEMS_MAX
from shared import codec
from shared.errors import SpecError
from shared.model import Stack, StackName
from tests.unit.deploy.compose.given import files_understood

EXAMPLE = Path(__file__).parents[4] / "examples" / "whoami" / "compose.yaml"
RICH = b"""\
name: shop
version: "3.8"
x-env: &env {A: 1, B: "${B:-two}"}
services:
  web:
    image: registry.example.com/shop/web:${TAG:-1}
    command: ["serve", "--port", "80"]
    entrypoint: /bin/sh -c 'exec "$$@"'
    environment: {<<: *env, C: true, D: }
    labels: [team=shop, empty]
    ports:
      - 8080-8081:80-81
      - {target: 443, published: "8443", app_protocol: http, mode: ingress}
    healthcheck: {test: [CMD-SHELL, "wget -q localhost"], interval: 1m30s, retries: 2}
    stop_grace_period: 2.5s
    deploy:
      replicas: 3
      resources:
        limits: {cpus: "0.5", memory: 64M, pids: 20}
        reservations: {cpus: 0.1, memory: 16mb}
      placement:
        constraints: ["node.labels.zone == a", node.hostname!=b]
        preferences: [spread: node.labels.rack]
        max_replicas_per_node: 1
  db: {image: pg, environment: [X, "Y=1"], healthcheck: {disable: true}}
"""
SEEDS = [RICH, EXAMPLE.read_bytes()]
# What means something to YAML or to Compose: more likely to hit than random bytes.
PIECES = st.sampled_from(
    [
        b"\n",
        b"  ",
        b"\t",
        b": ",
        b"- ",
        b"[",
        b"]",
        b"{",
        b"}",
        b"*env",
        b"&env ",
        b"<<: ",
        b"$",
        b"${",
        b"'",
        b'"',
        b"|",
        b">",
        b"!!int ",
        b"---\n",
        b"...",
        b"#",
        b"%",
        b"\\",
        b"\x00",
        b"\xff",
        b"\xc3",
        b"null",
        b"true",
        b"-1",
        b"9" * 30,
        b"0x",
        b"1e9",
        b".inf",
        b",",
        b"x-",
        b'"\\ud800"',
        "\u2028".encode(),
        b"\r",
        b"&a [*a]",
        b"? ",
    ]
) | st.binary(max_size=4)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return a good file with up to four places cut out, doubled, cut off or overwritten."""
    content = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 30)))
        rest = draw(st.sampled_from([content[end:], content[start:], b""]))
        content = content[:start] + draw(PIECES) + rest
    return content


def check(content: bytes, variables: dict[str, str]) -> None:
    """Assert that a file is understood into records that survive storing, or refused in lines."""
    found = outcome(content, variables)
    if isinstance(found, Stack):
        assert codec.decode(Stack, codec.encode(found), "test") == found
    else:
        lines = found.split("\n")
        assert 1 <= len(lines) <= PROBLEMS_MAX + 1
        assert all(line.startswith(("compose.yaml:", "... and ")) for line in lines)
        assert all(line.isprintable() for line in lines)


def outcome(content: bytes, variables: dict[str, str]) -> Stack | str:
    """Return the stack in a file, or the message about it."""
    try:
        found = files_understood([("compose.yaml", content)], {}, variables)
    except SpecError as error:
        return str(error)
    return Stack(name=StackName("s"), generation=1, services=found.decoded.services)


@settings(max_examples=300)
@given(damaged())
def test_a_damaged_file_is_understood_or_refused(content: bytes) -> None:
    check(content, {})


@given(st.binary(max_size=200))
def test_garbage_is_refused(content: bytes) -> None:
    check(content, {})


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
DOCUMENTS = st.recursive(
    VALUES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "image",
                    "command",
                    "environment",
                    "ports",
                    "labels",
                    "healthcheck",
                    "deploy",
                    "replicas",
                    "resources",
                    "placement",
                    "limits",
                    "reservations",
                    "test",
                    "target",
                    "published",
                    "constraints",
                    "preferences",
                    "spread",
                    "cpus",
                    "memory",
                    "x-a",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["web", "db", "x-a", "", "A"]), DOCUMENTS, max_size=3))
def test_values_of_every_type_in_every_place_are_understood_or_refused(tree: object) -> None:
    content = as_json({"services": tree})
    check(content, {"A": "1"})


def as_json(tree: object) -> bytes:
    """Return JSON, which is YAML too."""
    return json.dumps(tree).encode()
