"""The node's nftables table in the kernel: changed by nft, compared with what it should be.

nft prints a rule in its own way, which differs between versions. So the chains are compared with
what nft printed when they had just been made, and elements with what they should be.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from node_agent.network import rules
from node_agent.network.policy import Ruleset
from node_agent.nftables import Nftables
from shared.errors import HostError

_WITHIN_S: Final = 10.0
# Loads until nobody else changed the ruleset at the same moment; then what was found counts.
_TRIES: Final = 3

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

    def __init__(self, nft: Nftables) -> None:
        self.there: Ruleset | None = None
        self._nft = nft
        # As nft prints them; None: as they are now, they were never listed.
        self._chains: Chains | None = None
        # How many strangers there had been when it was right; None: it may not be.
        self._strangers: int | None = None

    async def make(self, wanted: Ruleset) -> None:
        """Make the table what it should be; a change is sent as a change.

        Looks at the kernel only if somebody else has changed any rule since it was right.

        Raises:
            HostError: nft refused it; with its first line. What was in force stays.
        """
        if self.there is None or not await self._is_as_left(self.there):
            await self._load(wanted)
            return
        script = rules.change(self.there, wanted)
        if not script:
            return
        if rules.changes_chains(self.there, wanted):
            self._chains = None
        await self._send(script, wanted)

    async def learn(self) -> None:
        """Remember how nft prints what was changed, unless somebody else has been there since.

        Not part of a change: listing takes longer than the change, and whoever waits for the rules
        need not wait for this. Until then a stranger's change has the table made new.

        Raises:
            HostError: the table is not what was made.
        """
        if self._chains is not None or self.there is None or self._strangers is None:
            return
        if await self._nft.strangers() != self._strangers:
            return
        await self._learn(self.there)
        if await self._nft.strangers() != self._strangers:
            self._chains = None

    async def _load(self, wanted: Ruleset) -> None:
        for _ in range(_TRIES):
            self._strangers = None
            before = await self._nft.strangers()
            await self._send(rules.whole(wanted), wanted)
            await self._learn(wanted)
            if await self._nft.strangers() == before:
                self._strangers = before
                return

    async def _send(self, script: str, wanted: Ruleset) -> None:
        try:
            await self._nft.run(script, rules.TABLE, _WITHIN_S)
        except HostError:
            # It may still have been done, if nft did not answer in time.
            self.there = None
            raise
        self.there = wanted

    async def _learn(self, wanted: Ruleset) -> None:
        """Remember how nft prints what has just been made."""
        found = await self._listed(terse=True)
        if found is None or found.chains.keys() != rules.chains_of(wanted).keys():
            self.there = None
            raise HostError(f"table {rules.TABLE} was changed by somebody else at this moment")
        self._chains = found.chains

    async def _is_as_left(self, there: Ruleset) -> bool:
        now = await self._nft.strangers()
        if now == self._strangers:
            return True
        if self._chains is None:
            return False
        found = await self._listed()
        if found is None or found.chains != self._chains or found.items != _items(there):
            return False
        self._strangers = now
        return True

    async def _listed(self, *, terse: bool = False) -> Listed | None:
        """Return what the kernel has; None: nothing that can be compared, so it is made new."""
        try:
            text = await self._nft.list("inet", rules.TABLE, _WITHIN_S, terse=terse)
        except HostError:
            return None
        return parsed(text) if text is not None else None


def _items(there: Ruleset) -> dict[str, frozenset[str]]:
    return {name: elements.items for name, elements in there.sets.items()} | {
        name: frozenset(f"{key} {chain}" for key, chain in verdicts.items())
        for name, (_, verdicts) in there.maps.items()
    }


def parsed(text: str) -> Listed:
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
