"""What floating addresses need of a host: addresses that end by themselves, and its neighbours."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """An address that the host should answer.

    Attributes:
        prefix_length: of the network that it brings along; 0: it is in one of an interface's.
        lifetime_s: how long from now on, whole seconds; None: what it has, not longer.
    """

    address: str
    prefix_length: int = 0
    lifetime_s: int | None = None


class HostStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the host has.

    Attributes:
        up: addresses of ours that it answers, and for how many seconds more.
        segments: the networks of its interfaces, such as 10.0.0.0/24, sorted.
        problems: why an address could not be had, by address; one sentence each.
        again_s: when the neighbours are to be told again; None: they know.
    """

    up: Mapping[str, float] = {}
    segments: tuple[str, ...] = ()
    problems: Mapping[str, str] = {}
    again_s: float | None = None


class HostAddresses(Protocol):
    """The host's addresses; what it was given ends in the kernel, whatever becomes of the agent.

    Every method raises HostError when the kernel does not answer as it should.
    """

    async def look(self) -> HostStatus:
        """Return what is there; change nothing."""
        ...

    async def apply(self, wishes: Sequence[Wish]) -> HostStatus:
        """Answer these floating addresses and no others; tell the neighbours of those that are new.

        Idempotent. What is there and not ours is left alone.
        """
        ...

    async def answered_by(self, wish: Wish) -> str:
        """Ask the segment who answers an address; return a sentence, empty: nobody does."""
        ...
