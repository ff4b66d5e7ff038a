"""The one program that is asked to change and to list the table."""

import asyncio
from typing import Final

from node_agent.balance.listing import found_in
from node_agent.balance.table import NAME, NOTHING, Found
from shared.errors import HostError

# Thousands of services take 2 s; a lock or a machine that swaps, longer.
_DEADLINE_S: Final = 30.0
_ABSENT: Final = "No such file or directory"


async def run(script: str) -> None:
    """Apply a script as one transaction.

    Raises:
        HostError: nft refused it; with its first line.
    """
    code, _, said = await _nft("-f", "-", given=script)
    if code != 0:
        raise HostError(f"nft refused the rules of table {NAME}: {_first(said)}")


async def found() -> Found:
    """Return what the kernel has of the table.

    Raises:
        HostError: nft does not say.
    """
    code, out, said = await _nft("-j", "list", "table", "ip", NAME)
    if code == 0:
        return found_in(out)
    if _ABSENT in said:
        return NOTHING
    raise HostError(f"nft does not list table {NAME}: {_first(said)}")


async def _nft(*arguments: str, given: str = "") -> tuple[int, bytes, str]:
    try:
        process = await asyncio.create_subprocess_exec(
            "nft",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise HostError(f"nft cannot be started: {error}") from error
    try:
        async with asyncio.timeout(_DEADLINE_S):
            out, said = await process.communicate(given.encode())
    except TimeoutError as error:
        raise HostError(f"nft is silent for {_DEADLINE_S:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out, said.decode(errors="replace")


def _first(said: str) -> str:
    return (said.strip().splitlines() or ["it said nothing"])[0]
