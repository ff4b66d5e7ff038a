"""Running the system's programs (ip, and what people ask to run), from argument lists only."""

import asyncio
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from shared.errors import HostError

# `ip` waits for nothing but a lock of the kernel; longer means that the machine is in trouble.
_DEADLINE_S: Final = 20.0


class Route(msgspec.Struct, frozen=True):
    """One route, as `ip -json route` prints it."""

    dst: str
    dev: str = ""
    type: str = "unicast"
    protocol: str = ""
    metric: int = 0


class Link(msgspec.Struct, frozen=True):
    """One link, as `ip -json link` prints it."""

    ifname: str
    flags: tuple[str, ...] = ()


async def run(argv: Sequence[str], *, text: str = "") -> bytes:
    """Run a program to its end, hand it `text` on standard input, return its standard output.

    Raises:
        HostError: it is missing, failed, or did not end in time; with its own last line.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=PIPE if text else DEVNULL, stdout=PIPE, stderr=PIPE
        )
    except FileNotFoundError as error:
        raise HostError(f"{argv[0]} is not installed") from error
    try:
        async with asyncio.timeout(_DEADLINE_S):
            out, err = await process.communicate(text.encode() if text else None)
    except TimeoutError as error:
        raise HostError(f"{' '.join(argv)}: no end within {_DEADLINE_S:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        last = (err.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
        raise HostError(f"{' '.join(argv)}: {last}")
    return out


async def batch(netns: str, commands: Sequence[str]) -> None:
    """Let one `ip` do many things in a named network namespace; it stops at the first that fails.

    Raises:
        HostError: with ip's own words.
    """
    await run(["ip", "-n", netns, "-batch", "-"], text="\n".join(commands) + "\n")


async def links(netns: str) -> dict[str, Link]:
    """Return the links of a named network namespace; none if there is no such namespace."""
    if not (Path("/run/netns") / netns).exists():
        return {}
    out = await run(["ip", "-n", netns, "-json", "link", "show"])
    found = msgspec.json.decode(out or b"[]", type=list[Link])
    return {link.ifname: link for link in found}


async def routes() -> list[Route]:
    """Return all IPv4 routes of this network namespace, of every table."""
    out = await run(["ip", "-4", "-N", "-json", "route", "show", "table", "all"])
    return msgspec.json.decode(out or b"[]", type=list[Route])
