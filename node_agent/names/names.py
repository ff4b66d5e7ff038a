"""What the agent needs of something that answers containers' questions for names."""

from typing import Protocol

import msgspec

from node_agent.names.snapshot import Snapshot


class NamesStatus(msgspec.Struct, frozen=True):
    """How the name server is.

    Attributes:
        problems: what it cannot do, one sentence each.
    """

    problems: tuple[str, ...] = ()


class Names(Protocol):
    """Answers containers' questions for names; outlives the agent."""

    async def apply(self, snapshot: Snapshot) -> NamesStatus:
        """Answer from the whole of `snapshot`, and from nothing older, once this returns.

        Idempotent, cheap when nothing changed. One that does not answer is started again.
        """
        ...


class NoNames:
    """Implements Names where nobody asks."""

    async def apply(self, snapshot: Snapshot) -> NamesStatus:  # noqa: ARG002 - nobody asks
        """Do nothing."""
        return NamesStatus()
