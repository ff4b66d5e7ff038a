"""What the agent needs of something that carries published ports and routes to replicas."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from shared.model import AllocId, Revision, Routes, StackName


class KeyPair(msgspec.Struct, frozen=True):
    """A certificate with what follows it, and its key, in PEM; never shown.

    Attributes:
        names: the hosts that it is chosen for.
    """

    names: tuple[str, ...]
    chain: str
    key: str

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


class GatewayStatus(msgspec.Struct, frozen=True):
    """What the gateway has applied.

    Attributes:
        acked: per stack, the revision of its routes that is in force.
        busy: drained endpoints that still have requests in flight here.
        problems: ports that could not be opened, stacks that were refused, one sentence each.
    """

    acked: Mapping[StackName, Revision] = {}
    busy: tuple[AllocId, ...] = ()
    problems: tuple[str, ...] = ()


NO_EXTRAS = Extras()


class Gateway(Protocol):
    """Carries published ports and routes to replicas anywhere; outlives the agent."""

    async def apply(
        self, routes: Mapping[StackName, tuple[Revision, Routes]], extras: Extras = NO_EXTRAS
    ) -> GatewayStatus:
        """Make the whole of `routes` and `extras` true and say what is in force.

        Idempotent, cheap when nothing changed.

        A route that cannot be opened is a problem in the status, and the others are served all the
        same.
        """
        ...
