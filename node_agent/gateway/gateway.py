"""What the agent needs of something that carries published ports and routes to replicas."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from node_agent.gateway.extras import NO_EXTRAS, Extras
from shared.model import AllocId, Revision, Routes, StackName


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


class Gateway(Protocol):
    """Carries published ports and routes to replicas anywhere; outlives the agent.

    Attributes:
        trouble: why it does not serve now what other nodes' gateways may well serve; empty: it
            does; None: it was not asked yet. Kept up to date while `apply` is under way.
    """

    trouble: str | None

    async def apply(
        self, routes: Mapping[StackName, tuple[Revision, Routes]], extras: Extras = NO_EXTRAS
    ) -> GatewayStatus:
        """Make the whole of `routes` and `extras` true and say what is in force.

        Idempotent, cheap when nothing changed.

        A route that cannot be opened is a problem in the status, and the others are served all the
        same.
        """
        ...
