"""Sealing what only the hosts of a cluster may read: AES-256-GCM with the cluster's one key.

What is sealed for one key of etcd does not open under another: whoever may write to etcd, but has
no key of ours, cannot hand one secret out as another.

    nonce (12 bytes) | ciphertext and tag

Source: NIST SP 800-38D (a nonce of 96 bits, drawn at random, must never serve a key twice).

What does it is imported by whoever first seals or opens something: most hosts never do, and it
takes 8 MB of memory and, once, 11 ms of CPU.
"""

import stat
from pathlib import Path
from typing import Final

from shared.errors import HostError, SealError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
_OTHERS: Final = 0o077


def seal(key: bytes, where: str, plain: bytes, nonce: bytes) -> bytes:
    """Return `plain` sealed for one place.

    Args:
        key: KEY_BYTES of it.
        where: the key in etcd of the record that will have it.
        plain: what only hosts may read.
        nonce: NONCE_BYTES that were never used with this key, such as random ones.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - see above

    assert len(nonce) == NONCE_BYTES, f"a nonce has {NONCE_BYTES} bytes, not {len(nonce)}"
    return nonce + AESGCM(key).encrypt(nonce, plain, where.encode())


def unseal(key: bytes, where: str, sealed: bytes) -> bytes:
    """Return what was sealed for one place.

    Raises:
        SealError: with another key, for another place, or it was changed since.
    """
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - see above
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - see above

    nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    try:
        return AESGCM(key).decrypt(nonce, rest, where.encode())
    except (InvalidTag, ValueError) as error:
        raise SealError(
            f"{where}: cannot be opened with this host's key: all hosts of a cluster"
            " need the same [secrets] key; what another one sealed must be deployed anew"
        ) from error


def read_key(path: Path) -> bytes:
    """Return the cluster's key.

    Raises:
        HostError: there is none, others can read it, or it is none; says what to do.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            key = file.read(KEY_BYTES + 1)
    except OSError as error:
        raise HostError(
            f"{path}: {error.strerror}: configs and secrets need the cluster's key of"
            f" {KEY_BYTES} bytes there, the same on every host ([secrets] key names another file)"
        ) from error
    if mode & _OTHERS:
        raise HostError(f"{path} can be read by others: chmod 600 {path}")
    if len(key) != KEY_BYTES:
        size = f"more than {KEY_BYTES}" if len(key) > KEY_BYTES else str(len(key))
        raise HostError(f"{path} has {size} bytes; the cluster's key has {KEY_BYTES}")
    return key
