"""From one table to another, in scripts that name what changes and nothing else."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from node_agent.balance.family import Family
from node_agent.balance.table import NOTHING, Found, Table, change, found_of, whole
from tests.balance_tables import FOUR, SIX, obey, tables

STRANGE = Found(frame=frozenset({"vips ipv4_addr"}), chains={"x": ("",)})


BOTH = st.sampled_from((FOUR, SIX))


@given(st.data(), BOTH)
def test_a_change_makes_any_table_into_any_other(data: st.DataObject, family: Family) -> None:
    ours = tables(family).map(found_of)
    before = data.draw(st.one_of(ours, st.sampled_from((NOTHING, STRANGE))))
    wanted = data.draw(tables(family))
    after = obey(before, change(before, wanted))
    assert after == found_of(wanted)
    assert change(after, wanted) == ""


@given(st.data(), BOTH)
def test_making_it_new_needs_to_know_nothing(data: st.DataObject, family: Family) -> None:
    before, wanted = data.draw(tables(family)), data.draw(tables(family))
    assert obey(found_of(before), whole(wanted)) == found_of(wanted)


@given(tables(FOUR), tables(SIX))
def test_the_tables_of_both_families_are_not_each_others(four: Table, six: Table) -> None:
    assert all(" ip hafen_services" in line for line in whole(four).splitlines())
    assert all(" ip6 hafen_services" in line for line in whole(six).splitlines())
    assert change(found_of(four), six) == whole(six)


def table(count: int, rule: str = "drop") -> Table:
    chains = {f"vip.shop.s{number}": ("drop",) for number in range(count)}
    vips = {f"198.18.200.{number}": f"vip.shop.s{number}" for number in range(count)}
    return Table(family=FOUR, chains={**chains, "vip.shop.s7": (rule,)}, vips=vips)


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
