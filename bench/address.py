"""The floating address that load goes to, and who holds it before a fault."""

import enum
from collections.abc import Sequence

from deploy.lab.story import ALONE_S
from deploy.lab.tally import Outcome


class Via(enum.StrEnum):
    """What the load is sent to."""

    HOST = "host"  # the own address of a host that stays
    VIP = "vip"  # a floating address, held by a host that stays
    HOLDER = "holder"  # a floating address, held by the host that is broken


def on_holder(outcomes: Sequence[Outcome], at_s: float) -> frozenset[int]:
    """Return which failed requests were on connections to the host that broke at `at_s`."""
    return frozenset(
        number
        for number, each in enumerate(outcomes)
        if each.failure and each.opened_s is not None and each.opened_s < at_s + ALONE_S
    )
