"""One question to HAProxy over a Unix socket, and how long an answer may take.

The time is counted in ticks of our own loop: when the whole host stood still, both of us did, and
the clock that went on says nothing about HAProxy.
"""

import asyncio
from pathlib import Path
from typing import Final

from shared.errors import HafenError

# A command takes well under a millisecond, half a second with 2000 backends.
COMMAND_S: Final = 5.0
_TICK_S: Final = 0.1


class HaproxyError(HafenError):
    """HAProxy refused something, or does not answer; the message is its own line."""


class SilentError(HaproxyError):
    """Something listens at the socket and does not answer."""


async def ask(path: Path, line: str) -> str:
    """Send one line and return the whole answer.

    Raises:
        SilentError: there is none within COMMAND_S.
        HaproxyError: nothing listens there.
    """
    async with asyncio.TaskGroup() as group:
        talk = group.create_task(_talk(path, line))
        for _ in range(round(COMMAND_S / _TICK_S)):
            done, _ = await asyncio.wait((talk,), timeout=_TICK_S)
            if done:
                break
        else:
            talk.cancel()
    if talk.cancelled():
        raise SilentError(f"HAProxy does not answer at {path}: nothing within {COMMAND_S:g} s")
    answer = talk.result()
    if isinstance(answer, OSError):
        raise HaproxyError(f"HAProxy does not answer at {path}: {answer}") from answer
    return answer


async def _talk(path: Path, line: str) -> str | OSError:
    try:
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            writer.write(f"{line}\n".encode())
            await writer.drain()
            # The master waits for more commands until it is told that there are none.
            writer.write_eof()
            return (await reader.read(-1)).decode(errors="replace")
        finally:
            writer.close()
    except OSError as error:
        return error
