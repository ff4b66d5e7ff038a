"""Which images may go: nobody asks for them, and nobody has for long.

Pure.
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

import msgspec


class Held(msgspec.Struct, frozen=True):
    """An image that is here.

    Attributes:
        name: its full one.
        used_at_s: wall clock when it came, or was last seen asked for.
    """

    name: str
    digest: str
    used_at_s: float


def stale(
    held: Iterable[Held],
    asked_for: AbstractSet[str],
    running: AbstractSet[str],
    *,
    now_s: float,
    days: float,
) -> tuple[str, ...]:
    """Return the names that may be forgotten, sorted.

    Args:
        held: what is here.
        asked_for: full names that some record of the cluster asks for, and those of manifests.
        running: digests that containers here are made of.
        now_s: wall clock.
        days: for how long an image stays that nobody asks for; 0: for ever.
    """
    if days <= 0:
        return ()
    return tuple(
        sorted(
            one.name
            for one in held
            if one.name not in asked_for
            and one.digest not in running
            and now_s - one.used_at_s > days * 86_400
        )
    )
