"""The floating address that load goes to, and who answers it."""

import asyncio
from collections.abc import Callable
from typing import Final

from deploy.client import ApiClient
from deploy.lab.plan import floating_address
from shared.api import FloatingAsked, FloatingView
from shared.errors import ConvergenceError, UnavailableError
from shared.model import NodeName

# Longer than any fault takes that an address outlives.
_LOOKS: Final = 300
_LOOK_S: Final = 0.2


async def give_address(client: ApiClient, node: NodeName) -> None:
    """Let a host have the floating address; return once it is said to.

    Raises:
        ConvergenceError: it does not go there.
    """
    await _add(client)
    held = await until_held(client, lambda one: bool(one.holder))
    if held.holder != node:
        await client.move_floating(floating_address(), node)
        await until_held(client, lambda one: one.holder == node)


async def _add(client: ApiClient) -> None:
    """Ask for the address, of a scheduler that may only just begin."""
    for _ in range(_LOOKS):
        try:
            await client.add_floating(floating_address(), FloatingAsked())
        except UnavailableError:
            await asyncio.sleep(_LOOK_S)
        else:
            return
    raise ConvergenceError(f"nobody took {floating_address()}: hafen status")


async def until_held(client: ApiClient, wanted: Callable[[FloatingView], bool]) -> FloatingView:
    """Return the floating address once it is as wanted and has no problem.

    Raises:
        ConvergenceError: it takes too long.
    """
    for _ in range(_LOOKS):
        for one in (await client.floating()).addresses:
            if one.address == floating_address() and not one.problem and wanted(one):
                return one
        await asyncio.sleep(_LOOK_S)
    raise ConvergenceError(f"{floating_address()} did not go where it should: hafen vip ls")
