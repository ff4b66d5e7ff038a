"""What gateways have besides routes.

Pure.
"""

from collections.abc import Mapping

import msgspec


class KeyPair(msgspec.Struct, frozen=True):
    """A certificate with what follows it, and its key, in PEM; never shown.

    Attributes:
        names: the hosts that it is for.
        ends_at_s: wall clock.
    """

    names: tuple[str, ...]
    chain: str
    key: str
    ends_at_s: float = 0.0

    def __repr__(self) -> str:
        return f"KeyPair({', '.join(self.names)})"


class Extras(msgspec.Struct, frozen=True):
    """What gateways have besides routes.

    Attributes:
        certificates: by name.
        challenges: what to answer to whoever issues certificates, by token.
        closed: stacks, and services as "<stack>.<service>", that answer with a page of excuses.
    """

    certificates: Mapping[str, KeyPair] = {}
    challenges: Mapping[str, str] = {}
    closed: frozenset[str] = frozenset()


NO_EXTRAS = Extras()
