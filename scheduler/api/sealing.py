"""Sealing configs, secrets and keys of certificates with the key that this host has in a file."""

import secrets
from pathlib import Path

from scheduler.api.archive import Seal
from shared.seal import NONCE_BYTES, read_key, seal


def sealer(path: Path) -> Seal:
    """Return what seals with the cluster's key at `path`, read anew each time.

    What it returns raises HostError if there is no such key: only who has something to seal needs
    one.
    """

    def sealed(where: str, plain: bytes) -> bytes:
        return seal(read_key(path), where, plain, secrets.token_bytes(NONCE_BYTES))

    return sealed
