"""Which certificates are due, and that the cluster's own authority issues and renews them."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from scheduler.issuing.authority import Made
from scheduler.issuing.due import Due, due, failed, renew_at_s, unwanted, wishes
from scheduler.issuing.issuer import Desk
from scheduler.world import StackState, World
from shared import keys
from shared.errors import FencedError
from shared.model import (
    Certificate,
    HttpRoute,
    Origin,
    Revision,
    RouteTls,
    Stack,
    StackName,
)
from shared.store import Delete
from tests.build import service
from tests.issuing_rig import IssuingRig
from tests.waiting import until

DAY_S = 86400.0
SHOP = StackName("shop")


def world(*records: tuple[str, Certificate], acme: tuple[str, ...] = ()) -> World:
    routes = tuple(HttpRoute(host=host, tls=RouteTls.ACME) for host in acme)
    spec = msgspec.structs.replace(service(), routes=routes)
    stack = Stack(name=SHOP, generation=1, services=(spec,))
    return World(certificates=dict(records), stacks={SHOP: StackState(stack, Revision(1))})


def wish(name: str, *hosts: str) -> tuple[str, Certificate]:
    record = Certificate(name=name, origin=Origin.CLUSTER, hosts=hosts or (name,))
    return keys.certificate(name), record


def issued(
    name: str, origin: Origin = Origin.CLUSTER, *, host: str = "", **said: object
) -> tuple[str, Certificate]:
    record = Certificate(
        name=name,
        origin=origin,
        hosts=(host or name,),
        chain="PEM",
        not_before_s=0.0,
        not_after_s=90 * DAY_S,
    )
    return keys.issued(name), msgspec.structs.replace(record, **said)


def names(found: tuple[Due, ...]) -> list[str]:
    return [one.wish.name for one in found]


def test_wishes_are_peoples_and_routes() -> None:
    brought = Certificate(name="b", origin=Origin.FILE, hosts=("b",), chain="PEM")
    found = wishes(world(wish("a"), (keys.certificate("b"), brought), acme=("c.org",)))
    assert list(found) == ["a", "acme:c.org"]


@pytest.mark.parametrize(
    ("record", "day", "expected"),
    [
        (issued("a"), 0, []),
        (issued("a"), 59, []),
        (issued("a"), 61, ["a"]),
        (issued("a", host="other"), 0, ["a"]),
        (issued("a", chain="", not_after_s=0.0), 0, ["a"]),
        (issued("a", chain="", not_after_s=0.0, failures=1, next_try_s=2 * DAY_S), 1, []),
        (issued("a", chain="", not_after_s=0.0, failures=1, next_try_s=2 * DAY_S), 2, ["a"]),
        (issued("a", failures=1, next_try_s=62 * DAY_S), 61, []),
        (issued("a", failures=1, next_try_s=62 * DAY_S), 62, ["a"]),
    ],
)
def test_when_one_is_due(record: tuple[str, Certificate], day: int, expected: list[str]) -> None:
    assert names(due(world(wish("a"), record), day * DAY_S)) == expected


def test_what_ends_first_comes_first() -> None:
    late, soon = issued("a"), issued("b", not_after_s=80 * DAY_S)
    found = due(world(wish("a"), wish("b"), wish("c"), late, soon), 70 * DAY_S)
    assert names(found) == ["c", "b", "a"]


def test_what_nobody_wants_goes_but_what_others_issued_stays_until_it_ends() -> None:
    state = world(issued("a"), issued("acme:b", Origin.ACME, host="b"))
    assert unwanted(state, DAY_S) == ("a",)
    assert unwanted(state, 90 * DAY_S) == ("a", "acme:b")
    assert unwanted(world(wish("a"), issued("a"), acme=("b",)), DAY_S) == ()


@given(st.integers(1, 40), st.floats(0, 1))
def test_each_failure_waits_longer_up_to_a_day_and_three_fit_in_an_hour(
    times: int, jitter: float
) -> None:
    one = Due(wishes(world(wish("a")))["a"])
    now_s, waits = 0.0, []
    for _ in range(times):
        record = failed(one, "why", now_s, jitter)
        waits.append(round(record.next_try_s - now_s))
        assert record.failures == len(waits)
        assert names(due(world(wish("a"), (keys.issued("a"), record)), now_s)) == []
        now_s, one = record.next_try_s, Due(one.wish, record)
        assert names(due(world(wish("a"), (keys.issued("a"), record)), now_s)) == ["a"]
    assert waits == sorted(waits)
    assert 900 <= waits[0] <= waits[-1] <= 1.25 * DAY_S


def test_a_failure_leaves_what_was_there_in_force() -> None:
    _, before = issued("a")
    after = failed(Due(wishes(world(wish("a")))["a"], before), "why", 70 * DAY_S, 0.0)
    assert (after.chain, after.problem) == ("PEM", "why")
    assert renew_at_s(after) == 60 * DAY_S


async def test_the_clusters_authority_issues_renews_and_forgets(tmp_path: Path) -> None:
    rig = IssuingRig(tmp_path)
    async with asyncio.TaskGroup() as group:
        await rig.put(*wish("a", "a.test", "*.a.test"))
        tasks = await rig.lead(group)
        await until(lambda: rig.issued("a") is not None, 10)
        first = rig.issued("a")
        assert first is not None
        leaf, authority = x509.load_pem_x509_certificates(first.chain.encode())
        leaf.verify_directly_issued_by(authority)
        assert b"PRIVATE" not in rig.view.items[keys.issued("a")].value
        # Its end comes near.
        old = msgspec.structs.replace(
            first, not_before_s=0.0, not_after_s=rig.clock.now_s() + DAY_S
        )
        await rig.put(keys.issued("a"), old)
        await until(lambda: rig.issued("a") not in {old, first}, 10)
        renewed = rig.issued("a")
        assert renewed is not None
        assert renewed.chain.endswith(first.chain.partition("END CERTIFICATE-----\n")[2])
        await rig.store.txn([], [Delete(keys.certificate("a"))])
        await until(lambda: rig.issued("a") is None, 10)
        for task in tasks:
            task.cancel()


async def test_without_a_directory_a_route_says_what_is_missing(tmp_path: Path) -> None:
    rig = IssuingRig(tmp_path)
    async with asyncio.TaskGroup() as group:
        stack = world(acme=("a.test",)).stacks[SHOP].stack
        await rig.put(keys.stack(SHOP), stack)
        tasks = await rig.lead(group)
        await until(lambda: rig.issued("acme:a.test") is not None, 10)
        found = rig.issued("acme:a.test")
        assert found is not None
        assert (found.failures, "no [acme]" in found.problem) == (1, True)
        for task in tasks:
            task.cancel()


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (OSError("Could not find a CA bundle, invalid path: /etc/ca.pem"), "/etc/ca.pem"),
        (KeyError("newNonce"), "KeyError: 'newNonce'"),
        (ExceptionGroup("all at once", [ValueError("one")]), "all at once"),
        (AssertionError(), "AssertionError"),
    ],
)
async def test_whatever_an_issuing_fails_with_is_a_try_that_failed(
    tmp_path: Path, error: Exception, problem: str
) -> None:
    async def fetch(_hosts: tuple[str, ...], _desk: Desk) -> Made:
        raise error

    rig = IssuingRig(tmp_path)
    async with asyncio.TaskGroup() as group:
        await rig.put(keys.stack(SHOP), world(acme=("a.test",)).stacks[SHOP].stack)
        await rig.put(*wish("b"))
        tasks = await rig.lead(group, fetch)
        await until(lambda: None not in {rig.issued("acme:a.test"), rig.issued("b")}, 10)
        found, other = rig.issued("acme:a.test"), rig.issued("b")
        assert found is not None
        assert other is not None
        assert (found.failures, problem in found.problem) == (1, True)
        assert found.next_try_s > rig.clock.now_s() + 600
        assert (bool(other.chain), other.failures) == (True, 0)
        for task in tasks:
            task.cancel()


async def test_who_no_longer_leads_issues_nothing(tmp_path: Path) -> None:
    rig = IssuingRig(tmp_path)

    async def scenario() -> None:
        async with asyncio.TaskGroup() as group:
            await rig.lead(group)
            await rig.store.txn([], [Delete(keys.LEADER)])
            await rig.put(*wish("a"))

    with pytest.raises(ExceptionGroup) as ended:
        await scenario()
    assert ended.group_contains(FencedError)
    assert rig.issued("a") is None
