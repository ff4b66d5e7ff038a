"""Waiting until a lab's cluster is whole, and saying what is missing while it is not."""

import asyncio
from collections.abc import Callable
from typing import Final

import aiohttp
import msgspec

from deploy.lab.lab import Lab
from deploy.lab.plan import READY_S
from shared import api
from shared.errors import ConvergenceError

_ANSWER_S: Final = 2.0
_POLL_S: Final = 0.1


async def wait_ready(
    lab: Lab, *, deadline_s: float = READY_S, progress: Callable[[str], None] = print
) -> None:
    """Return when the API of every host that is on says that the nodes of all of them are ready.

    Args:
        lab: that is up.
        deadline_s: seconds from now.
        progress: is told what is missing, whenever that changes.

    Raises:
        ConvergenceError: not within the deadline; says what is missing.
    """
    on = {host.name for host in (await lab.status()).hosts if host.state != "off"}
    said = ""
    try:
        async with asyncio.timeout(deadline_s):
            while lacking := await _lacking(lab, on):
                if lacking != said:
                    said = lacking
                    progress(lacking)
                await asyncio.sleep(_POLL_S)
    except TimeoutError as error:
        raise ConvergenceError(
            f"lab {lab.name} is not ready after {deadline_s:.0f} s: {said or 'nothing answers'}; "
            f"`hafen lab status --name {lab.name}` says where the hosts' consoles are"
        ) from error


async def _lacking(lab: Lab, on: set[str]) -> str:
    """Return what is missing, one sentence; empty: nothing."""
    for node in sorted(on):
        try:
            view = await _status(lab, node)
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError) as error:
            return f"the API of {node} does not answer ({type(error).__name__})"
        states: dict[str, str] = {each.name: each.state for each in view.nodes}
        unready = [name for name in sorted(on) if states.get(name) != "ready"]
        if unready:
            seen = ", ".join(f"{name} is {states.get(name, 'unknown')}" for name in unready)
            return f"{node} says: {seen}"
    return ""


async def _status(lab: Lab, node: str) -> api.ClusterView:
    """Ask one host's API, by its socket.

    Raises:
        ClientError, OSError, TimeoutError, DecodeError: it is not there yet.
    """
    connector = aiohttp.UnixConnector(path=str(lab.api_socket(node)))
    limit = aiohttp.ClientTimeout(total=_ANSWER_S)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=limit) as session,
        session.get(f"http://hafen{api.STATUS}") as response,
    ):
        response.raise_for_status()
        return msgspec.json.decode(await response.read(), type=api.ClusterView)
