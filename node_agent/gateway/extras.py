"""What gateways have besides routes.

Pure.
"""

from collections.abc import Mapping

import msgspec

from shared.pair import Pair


class Extras(msgspec.Struct, frozen=True):
    """What gateways have besides routes.

    Attributes:
        certificates: by name.
        challenges: what to answer to whoever issues certificates, by token.
        closed: stacks, and services as "<stack>.<service>", that answer with a page of excuses.
    """

    certificates: Mapping[str, Pair] = {}
    challenges: Mapping[str, str] = {}
    closed: frozenset[str] = frozenset()


NO_EXTRAS = Extras()
