"""Cases of test_balance.py: what scripts do to real tables, and who has changed one."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings

from node_agent.balance.listing import found_in
from node_agent.balance.table import NAME, NOTHING, Found, Table, change, found_of, whole
from node_agent.nftables import Nftables
from shared.errors import HostError
from tests.balance_tables import FAMILY_OF, tables
from tests.contract.balance_rig import Shop


async def only_what_others_change_counts_as_strange(shop: Shop, _: AsyncExitStack) -> None:
    nft = Nftables()
    before = await nft.strangers()
    for script in ("add table ip hafen_a", "add table ip hafen_b", "delete table ip hafen_a"):
        await nft.run(script, "any", 30.0)
        assert await nft.strangers() == before
    with pytest.raises(HostError, match="nft refused the rules of table any: "):
        await nft.run("add chain ip hafen_a x", "any", 30.0)
    assert await nft.strangers() == before
    assert await nft.list("ip", "hafen_a", 30.0) is None
    await Nftables().run("delete table ip hafen_b", "any", 30.0)
    assert await nft.strangers() == before + 1
    await Nftables().run("add table ip hafen_b", "any", 30.0)
    await nft.run("delete table ip hafen_b", "any", 30.0)
    assert await nft.strangers() == before + 2
    assert "hafen_b" not in shop.first.run("nft", "list", "tables").stdout


async def the_kernel_has_whatever_table_is_wanted(shop: Shop, _: AsyncExitStack) -> None:
    """What the scripts do to a real table is what they do to the one that is a dict."""
    made: list[tuple[Table, Table]] = []
    keyword = shop.rig.family
    family = FAMILY_OF[keyword]

    @settings(max_examples=25, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(tables(family), tables(family))
    def draw(before: Table, after: Table) -> None:
        made.append((before, after))

    draw()
    nft = Nftables()

    async def run(script: str) -> None:
        await nft.run(script, NAME, 30.0)

    async def found() -> Found:
        text = await nft.list(keyword, NAME, 30.0)
        return found_in(text) if text is not None else NOTHING

    for before, after in made:
        await run(whole(before))
        assert await found() == found_of(before)
        script = change(found_of(before), after)
        await run(script)
        assert await found() == found_of(after), script
    await run(f"delete table {keyword} {NAME}")
    assert await found() == NOTHING


KERNEL_CASES: Final[dict[str, Callable[[Shop, AsyncExitStack], Awaitable[None]]]] = {
    case.__name__: case
    for case in (
        only_what_others_change_counts_as_strange,
        the_kernel_has_whatever_table_is_wanted,
    )
}
