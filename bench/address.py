"""The floating address that load goes to, and who holds it before a fault."""

import asyncio
import enum
from collections.abc import Sequence
from typing import Final

from bench.rig import Rig
from deploy.client import ApiClient
from deploy.lab.plan import floating_address
from deploy.lab.story import ALONE_S
from deploy.lab.tally import Outcome
from shared.api import FloatingAsked
from shared.errors import ConvergenceError
from shared.model import NodeName

_LOOKS: Final = 300
_LOOK_S: Final = 0.1


class Via(enum.StrEnum):
    """What the load is sent to."""

    HOST = "host"  # the own address of a host that stays
    VIP = "vip"  # a floating address, held by a host that stays
    HOLDER = "holder"  # a floating address, held by the host that is broken


async def give(rig: Rig, node: str) -> None:
    """Let a host have the floating address; return once it is said to.

    Raises:
        ConvergenceError: it does not go there.
    """
    async with ApiClient.unix(rig.lab.api_socket((await rig.on())[0])) as api:
        await api.add_floating(floating_address(), FloatingAsked())
        asked = False
        for _ in range(_LOOKS):
            holder = next((a.holder for a in (await api.floating()).addresses if not a.problem), "")
            if holder == node:
                return
            if holder and not asked:
                await api.move_floating(floating_address(), NodeName(node))
                asked = True
            await asyncio.sleep(_LOOK_S)
    raise ConvergenceError(f"{floating_address()} did not go to {node}")


def on_holder(outcomes: Sequence[Outcome], at_s: float) -> frozenset[int]:
    """Return which failed requests were on connections to the host that broke at `at_s`."""
    return frozenset(
        number
        for number, each in enumerate(outcomes)
        if each.failure and each.opened_s is not None and each.opened_s < at_s + ALONE_S
    )
