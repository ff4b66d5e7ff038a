"""From one table to another, in scripts that name what changes and nothing else."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from node_agent.balance.table import NOTHING, Found, Table, change, found_of, whole
from tests.balance_tables import POOL, obey, tables

STRANGE = Found(frame=frozenset({"vips ipv4_addr"}), chains={"x": ("",)})


@given(st.one_of(tables().map(found_of), st.sampled_from((NOTHING, STRANGE))), tables())
def test_a_change_makes_any_table_into_any_other(before: Found, wanted: Table) -> None:
    after = obey(before, change(before, wanted))
    assert after == found_of(wanted)
    assert change(after, wanted) == ""


@given(tables(), tables())
def test_making_it_new_needs_to_know_nothing(before: Table, wanted: Table) -> None:
    assert obey(found_of(before), whole(wanted)) == found_of(wanted)


def table(count: int, rule: str = "drop") -> Table:
    chains = {f"vip.shop.s{number}": ("drop",) for number in range(count)}
    vips = {f"198.18.200.{number}": f"vip.shop.s{number}" for number in range(count)}
    return Table(pool=POOL, chains={**chains, "vip.shop.s7": (rule,)}, vips=vips)


def test_a_change_of_one_service_names_it_alone() -> None:
    before = found_of(table(200))
    script = change(before, table(200, "dnat to 198.19.1.2"))
    first, second = script.splitlines()
    assert first == "flush chain ip hafen_services vip.shop.s7"
    assert second.startswith('add rule ip hafen_services vip.shop.s7 dnat to 198.19.1.2 comment "')


def test_a_rule_that_somebody_added_is_removed_with_its_chain() -> None:
    wanted = table(8)
    chains = {
        **found_of(wanted).chains,
        "vip.shop.s3": (*found_of(wanted).chains["vip.shop.s3"], ""),
    }
    found = msgspec.structs.replace(found_of(wanted), chains=chains)
    assert obey(found, change(found, wanted)) == found_of(wanted)
