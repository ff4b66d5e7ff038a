"""The one program that changes and lists nftables, and whether anybody else has changed anything.

Linux. Listing a table of thousands of elements takes nft and us 100 ms of CPU and more, and asking
the kernel for the number of its last change 0.1 ms: whoever keeps a table lists it only if somebody
else has been there. One object serves all tables of a process: to each other they are no strangers.
"""

import asyncio
import socket
import struct
from typing import Final

from node_agent.process import Completed, run
from shared.errors import HostError

_ABSENT: Final = "No such file or directory"
_NETFILTER: Final = 12
_GET_GENERATION: Final = 0xA10
_HEADER: Final = struct.Struct("=IHHIIBBH")  # nlmsghdr and nfgenmsg
_ATTRIBUTE: Final = struct.Struct("=HH")
_GENERATION: Final = struct.Struct(">I")
_GENERATION_MAX: Final = 0xFFFFFFFF
_ANSWER_S: Final = 2.0


class Nftables:
    """Changes and lists tables of this process's network namespace."""

    def __init__(self) -> None:
        # What the last change had for a number when we last looked; None: we never did.
        self._left: int | None = None
        self._strangers = 0
        self._lock = asyncio.Lock()

    async def strangers(self) -> int:
        """Return how often changes were seen that did not come through here.

        As long as it is the same number, all that anybody has changed came through here. A change
        that is under way here is waited for: it would look like a stranger's.

        Raises:
            HostError: the kernel does not say.
        """
        async with self._lock:
            self._look(generation())
            return self._strangers

    async def run(self, script: str, table: str, within_s: float) -> None:
        """Apply a script as one transaction.

        Args:
            script: what `nft -f -` reads.
            table: whose rules they are, for people.
            within_s: then nft is killed; what it was told may be done all the same.

        Raises:
            HostError: nft refused it, with its first line; or it did not end in time.
        """
        async with self._lock:
            before = generation()
            self._look(before)
            try:
                done = await _nft("-f", "-", given=script, within_s=within_s)
            finally:
                # One transaction is one change, or none if it was refused.
                after = generation()
                self._left = after if after == before else (before + 1) & _GENERATION_MAX
                self._look(after)
        if done.code != 0:
            raise HostError(f"nft refused the rules of table {table}: {_first(done.errors)}")

    async def list(
        self, family: str, table: str, within_s: float, *, terse: bool = False
    ) -> str | None:
        """Return what `nft -j list table` prints; None: there is no such table.

        Args:
            family: such as inet.
            table: its name.
            within_s: then nft is killed.
            terse: leave out what is in sets and maps.

        Raises:
            HostError: nft does not say.
        """
        words = ("-j", *(("-t",) if terse else ()), "list", "table", family, table)
        done = await _nft(*words, within_s=within_s)
        if done.code == 0:
            return done.output
        if _ABSENT in done.errors:
            return None
        raise HostError(f"nft does not list table {table}: {_first(done.errors)}")

    def _look(self, now: int) -> None:
        if now != self._left:
            self._left, self._strangers = now, self._strangers + 1


def generation() -> int:
    """Return the number of the last change of any rule of this network namespace.

    Raises:
        HostError: the kernel does not say.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as kernel:
            kernel.settimeout(_ANSWER_S)
            kernel.sendto(_HEADER.pack(_HEADER.size, _GET_GENERATION, 1, 1, 0, 0, 0, 0), (0, 0))
            answer = kernel.recv(4096)
    except OSError as error:
        raise HostError(f"nftables does not answer: {error}") from error
    length, kind = _ATTRIBUTE.unpack_from(answer, _HEADER.size)
    if kind != 1 or length != _ATTRIBUTE.size + _GENERATION.size:
        raise HostError("nftables does not say its generation; this kernel is too old")
    number: int = _GENERATION.unpack_from(answer, _HEADER.size + _ATTRIBUTE.size)[0]
    return number


async def _nft(*words: str, within_s: float, given: str = "") -> Completed:
    try:
        return await run("nft", *words, deadline_s=within_s, given=given)
    except TimeoutError as error:
        raise HostError(f"nft did not end within {within_s:g} s") from error
    except OSError as error:
        raise HostError(f"nft cannot be started: {error}") from error


def _first(said: str) -> str:
    return (said.strip().splitlines() or ["it said nothing"])[0]
