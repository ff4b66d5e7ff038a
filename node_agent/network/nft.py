"""The node's nftables table in the kernel: changed by nft, compared with what it should be.

nft prints a rule in its own way, which differs between versions. So the chains are compared with
what nft printed when they had just been made, and elements with what they should be.
"""

import asyncio
import socket
import struct
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from node_agent.network import rules
from node_agent.network.policy import Ruleset
from shared.errors import HostError

_DEADLINE_S: Final = 10.0
# Loads until nobody else changed the ruleset at the same moment; then what was found counts.
_TRIES: Final = 3
_NETFILTER: Final = 12
_GET_GENERATION: Final = 0xA10
_HEADER: Final = struct.Struct("=IHHIIBBH")  # nlmsghdr and nfgenmsg
_ATTRIBUTE: Final = struct.Struct("=HH")
_GENERATION: Final = struct.Struct(">I")
_ANSWER_S: Final = 2.0

Chains = Mapping[str, bytes]


class Listed(msgspec.Struct, frozen=True):
    """The table as the kernel has it.

    Attributes:
        items: what is in every set and map; of a map "key chain".
        chains: all rules of each, as nft prints them.
    """

    items: Mapping[str, frozenset[str]]
    chains: Chains


class Table:
    """Keeps the kernel's table equal to a ruleset."""

    def __init__(self) -> None:
        self.there: Ruleset | None = None
        self._chains: Chains = {}
        self._generation: int | None = None

    async def make(self, wanted: Ruleset) -> None:
        """Make the table what it should be; a change is sent as a change.

        Looks at the kernel only if anybody has changed any rule since it was right.

        Raises:
            HostError: nft refused it; with its last line. What was in force stays.
        """
        if self.there is None or not await self._is_as_left(self.there):
            await self._load(wanted)
            return
        script = rules.change(self.there, wanted)
        if not script:
            return
        right, is_learnt = self._generation, not rules.changes_chains(self.there, wanted)
        if await self._send(script, wanted) != right:
            self._generation = None
        if not is_learnt:
            await self._learn(wanted)

    async def remove(self) -> None:
        """Remove the table."""
        await run(rules.remove())
        self.there, self._generation = None, None

    async def _load(self, wanted: Ruleset) -> None:
        for _ in range(_TRIES):
            await self._send(rules.whole(wanted), wanted)
            await self._learn(wanted)
            if self._generation is not None:
                return

    async def _send(self, script: str, wanted: Ruleset) -> int:
        """Carry out a script; return the generation that it was carried out on."""
        before = generation()
        try:
            await run(script)
        except HostError:
            # It may still have been done, if nft did not answer in time.
            self.there = None
            raise
        self.there = wanted
        after = generation()
        # Another number: somebody else has changed something between; the next pass looks.
        self._generation = after if after == (before + 1) & 0xFFFFFFFF else None
        return before

    async def _learn(self, wanted: Ruleset) -> None:
        """Remember how nft prints what has just been made."""
        found = await listed(terse=True)
        if found is None or found.chains.keys() != rules.chains_of(wanted).keys():
            self.there = self._generation = None
            raise HostError(f"table {rules.TABLE} was changed by somebody else at this moment")
        self._chains = found.chains
        if generation() != self._generation:
            self._generation = None

    async def _is_as_left(self, there: Ruleset) -> bool:
        now = generation()
        if now == self._generation:
            return True
        found = await listed()
        if found is None or found.chains != self._chains or found.items != _items(there):
            return False
        self._generation = now
        return True


def _items(there: Ruleset) -> dict[str, frozenset[str]]:
    return {name: elements.items for name, elements in there.sets.items()} | {
        name: frozenset(f"{key} {chain}" for key, chain in verdicts.items())
        for name, (_, verdicts) in there.maps.items()
    }


async def listed(*, terse: bool = False) -> Listed | None:
    """Return what the kernel has; None: there is no such table.

    Args:
        terse: leave out what is in sets and maps.
    """
    code, out, _ = await _nft("-j", *(("-t",) if terse else ()), "list", "table", "inet", "hafen")
    return parsed(out) if code == 0 else None


def parsed(text: bytes) -> Listed:
    """Return the table that `nft -j list table` printed.

    Raises:
        HostError: it is no such text.
    """
    try:
        objects = msgspec.json.decode(text, type=dict[str, list[dict[str, Any]]])["nftables"]
    except (msgspec.DecodeError, KeyError) as error:
        raise HostError(
            f"nft -j list table inet {rules.TABLE} printed no table: {error}"
        ) from error
    items: dict[str, frozenset[str]] = {}
    chains: dict[str, list[object]] = {}
    for each in objects:
        for kind, body in each.items():
            if kind in {"set", "map"}:
                items[body["name"]] = frozenset(map(_item, body.get("elem", ())))
            elif kind == "chain":
                said = {key: value for key, value in body.items() if key != "handle"}
                chains[body["name"]] = [said]
            elif kind == "rule":
                chains[body["chain"]].append(body["expr"])
    return Listed(items, {name: msgspec.json.encode(said) for name, said in chains.items()})


def _item(element: Any) -> str:
    match element:
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address}/{length}"
        case [key, {"goto": {"target": chain}}]:
            return f"{key} {chain}"
        case _:
            return str(element)


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


async def run(script: str) -> None:
    """Apply a script as one transaction.

    Raises:
        HostError: nft refused it; with its first line, or it did not end in time.
    """
    code, _, said = await _nft("-f", "-", given=script.encode())
    if code != 0:
        first = (said.decode(errors="replace").strip().splitlines() or ["it said nothing"])[0]
        raise HostError(f"nft refused the rules of table {rules.TABLE}: {first}")


async def _nft(*words: str, given: bytes = b"") -> tuple[int, bytes, bytes]:
    process = await asyncio.create_subprocess_exec(
        "nft",
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_DEADLINE_S):
            out, said = await process.communicate(given)
    except TimeoutError as error:
        raise HostError(f"nft did not end within {_DEADLINE_S:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out, said
