"""A certificate and its key, as everybody has them who does not look into them.

Pure.
"""

import msgspec


class Pair(msgspec.Struct, frozen=True):
    """A certificate and its key that belong together.

    Attributes:
        chain, key: PEM without anything between or around the blocks.
        hosts: the names it covers, in lower case.
        issuer: whoever signed it, for people.
        fingerprint: SHA-256 of the certificate, in hexadecimal digits.
    """

    chain: str
    key: str
    hosts: tuple[str, ...]
    not_before_s: float
    not_after_s: float
    issuer: str
    fingerprint: str

    def __repr__(self) -> str:
        return f"Pair({', '.join(self.hosts)})"
