"""Which code a name server runs, so that an agent of a later version replaces it."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

import dns.version

import node_agent.names
import shared.model
from node_agent.network import addresses

_BYTES: Final = 8


@cache
def build() -> str:
    """Return the digest of all that its answers come from, as it is on the disk."""
    digest = hashlib.blake2s(dns.version.version.encode(), digest_size=_BYTES)
    for package in (node_agent.names, shared.model):
        for folder in package.__path__:
            for path in sorted(Path(folder).glob("*.py")):
                digest.update(path.read_bytes())
    digest.update(Path(addresses.__file__).read_bytes())
    return digest.hexdigest()


def digest_of(snapshot: bytes) -> str:
    """Return the name of a snapshot's content."""
    return hashlib.blake2s(snapshot, digest_size=_BYTES).hexdigest()
