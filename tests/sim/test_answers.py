"""Floating addresses in virtual time: whom a fault leaves with them, and for how long with two."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from shared import codec, keys
from shared.model import Availability, FloatingClaim, NodeSpec, Revision
from shared.store import Delete, Put, exactly, under
from shared.timing import PROFILES
from tests.sim.cluster import Machinery, SimCluster
from tests.sim.faults import KINDS, heal_all
from tests.sim.host import SimHost
from tests.sim.run import simulate

# Clocks that run apart by 1 % each way, the most that is allowed.
APART = Machinery(rates=(0.99, 1.01, 1.0))
Fault = Callable[[SimCluster, SimHost], None]


def _by_kind(kind: str) -> Fault:
    return lambda cluster, host: KINDS[kind](cluster, host, 30.0)


async def _held(cluster: SimCluster) -> None:
    cluster.answers.ask()
    await cluster.until(cluster.answers.complaint, 30)
    # Nobody is missed who was never heard.
    await cluster.sleep(1.0)


def _host_with_some(cluster: SimCluster) -> SimHost:
    name = next(hosts[0] for hosts in cluster.answers.holders().values() if hosts)
    return next(host for host in cluster.hosts if host.name == name)


def _after(fault: Fault, seen: dict[str, float]) -> Callable[[SimCluster], Awaitable[None]]:
    """Return a scenario: the fault happens to a holder; `seen` gets what came of it."""

    async def scenario(cluster: SimCluster) -> None:
        await _held(cluster)
        cluster.answers.unanswered_s = 0.0
        holder = _host_with_some(cluster)
        began_s = cluster.loop.now_s
        fault(cluster, holder)

        def is_elsewhere() -> str:
            held = cluster.answers.holders().values()
            others = [[name for name in names if name != holder.name] for names in held]
            return "" if all(len(names) == 1 for names in others) else f"answered by {held}"

        await cluster.until(is_elsewhere, 30)
        seen["taken_s"] = cluster.loop.now_s - began_s
        await cluster.sleep(5.0)
        seen["unanswered_s"] = cluster.answers.unanswered_s
        seen["longest_s"] = cluster.answers.longest_s
        seen["longest_apart_s"] = cluster.answers.longest_apart_s
        heal_all(cluster)
        await cluster.until(cluster.answers.complaint, 60)
        assert cluster.answers.longest_s == seen["longest_s"]

    return scenario


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", ["kill_host", "cut_host", "cut_host_inwards", "cut_host_outwards"])
def test_a_host_that_is_gone_or_cut_off_is_followed_and_never_overlaps(
    kind: str, seed: int, tmp_path: Path
) -> None:
    seen: dict[str, float] = {}

    simulate(seed, _after(_by_kind(kind), seen), tmp_path, APART)

    assert seen["longest_s"] == seen["longest_apart_s"] == 0.0
    assert seen["taken_s"] < 1.5


@pytest.mark.parametrize("seed", range(10))
def test_a_frozen_agent_s_addresses_are_taken_once_its_kernel_has_dropped_them(
    seed: int, tmp_path: Path
) -> None:
    seen: dict[str, float] = {}

    simulate(seed, _after(_by_kind("freeze_agent"), seen), tmp_path, APART)

    assert seen["longest_s"] == seen["longest_apart_s"] == 0.0


@pytest.mark.parametrize("seed", range(10))
def test_a_host_whose_gateway_does_not_serve_hands_them_on(seed: int, tmp_path: Path) -> None:
    seen: dict[str, float] = {}

    simulate(seed, _after(_by_kind("break_gateway"), seen), tmp_path, APART)

    assert seen["longest_s"] == seen["longest_apart_s"] == 0.0
    # FAILS_AFTER_S, a look each second, SAID_EVERYWHERE_S.
    assert 4.5 * 0.98 < seen["taken_s"] < 6.0
    assert seen["unanswered_s"] < 0.1


async def gateways_that_all_fail(cluster: SimCluster) -> None:
    """Break every gateway for a minute: nobody serves better."""
    await _held(cluster)
    before = cluster.answers.holders()
    cluster.answers.unanswered_s = 0.0
    for host in cluster.hosts:
        host.gateway.trouble = "broken"
        await cluster.sleep(0.3)
    await cluster.sleep(60.0)
    assert cluster.answers.holders() == before
    assert cluster.answers.unanswered_s == 0.0


async def a_gateway_that_stumbles(cluster: SimCluster) -> None:
    """Let a holder's gateway fail for two seconds, again and again."""
    await _held(cluster)
    before, holder = cluster.answers.holders(), _host_with_some(cluster)
    for _ in range(20):
        holder.gateway.trouble = "broken"
        await cluster.sleep(2.0)
        holder.gateway.trouble = ""
        await cluster.sleep(1.5)
    assert cluster.answers.holders() == before


async def a_restart(cluster: SimCluster) -> None:
    """Kill every agent, one after the other; each is back at once."""
    await _held(cluster)
    before = cluster.answers.holders()
    cluster.answers.unanswered_s = 0.0
    for host in cluster.hosts:
        host.crash("agent")
        await cluster.sleep(5.0)
    assert cluster.answers.holders() == before
    assert cluster.answers.unanswered_s == 0.0


async def a_store_that_is_away(cluster: SimCluster) -> None:
    """Take etcd away for a minute."""
    await _held(cluster)
    before = cluster.answers.holders()
    cluster.answers.unanswered_s = 0.0
    cluster.server.lose_leader()
    await cluster.sleep(60.0)
    assert cluster.answers.holders() == before
    cluster.server.elect()
    await cluster.sleep(10.0)
    assert cluster.answers.holders() == before
    assert cluster.answers.unanswered_s == 0.0


async def a_host_that_comes_back(cluster: SimCluster) -> None:
    """Take a host's power and give it back: what others have they keep."""
    await _held(cluster)
    holder = _host_with_some(cluster)
    holder.power_loss()
    await cluster.until(cluster.answers.complaint, 10)
    moved = cluster.answers.holders()
    holder.boot()
    await cluster.sleep(20.0)
    assert cluster.answers.holders() == moved


@pytest.mark.parametrize(
    "scenario",
    [
        a_restart,
        a_store_that_is_away,
        a_host_that_comes_back,
        gateways_that_all_fail,
        a_gateway_that_stumbles,
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_addresses_stay_where_they_are(
    scenario: Callable[[SimCluster], Awaitable[None]], seed: int, tmp_path: Path
) -> None:
    simulate(seed, scenario, tmp_path, Machinery())


async def _left_to_one(cluster: SimCluster) -> None:
    """Cordon all hosts but one until that one has everything."""
    await _held(cluster)
    keeper, *others = cluster.hosts
    _set(cluster, others, Availability.CORDONED)

    def elsewhere() -> str:
        held = cluster.answers.holders()
        return "" if all(names == [keeper.name] for names in held.values()) else f"{held}"

    await cluster.until(elsewhere, 10)
    _set(cluster, others, Availability.ACTIVE)
    cluster.answers.unanswered_s = 0.0


def _set(cluster: SimCluster, hosts: Sequence[SimHost], availability: Availability) -> None:
    for host in hosts:
        key = keys.node_spec(host.name)
        (item,) = cluster.server.list(exactly(key)).items
        spec = codec.decode(NodeSpec, item.value, key)
        spec = msgspec.structs.replace(spec, availability=availability)
        cluster.server.txn([], [Put(key, codec.encode(spec))])


def _moves(cluster: SimCluster, since: Revision) -> list[tuple[float, str]]:
    """Return who took which address since then, by the clock of who took it."""
    batch = cluster.server.replay(under(keys.VIPS), since)
    changes = batch.changes if batch is not None else ()
    claims = [codec.decode(FloatingClaim, c.now.value, c.key) for c in changes if c.now]
    return [(claim.since_s, claim.node) for claim in claims if claim.node]


@pytest.mark.parametrize("seed", range(5))
def test_after_failures_addresses_are_levelled_one_at_a_time_and_never_have_two_holders(
    seed: int, tmp_path: Path
) -> None:
    level_s = PROFILES["lan"].level_s

    async def levelled(cluster: SimCluster) -> None:
        await _left_to_one(cluster)
        before, began_s = cluster.revision(), cluster.loop.now_s
        await cluster.until(cluster.answers.uneven, 3 * level_s)
        # Clocks run 1 % apart.
        assert cluster.loop.now_s - began_s > 2 * level_s * 0.98
        moves = _moves(cluster, before)
        assert len({node for _, node in moves}) == len(moves) == 2
        assert moves[1][0] - moves[0][0] > level_s * 0.98
        assert cluster.answers.longest_s == cluster.answers.longest_apart_s == 0.0
        assert cluster.answers.unanswered_s < 0.1
        address = min(cluster.answers.holders())
        gone = [Delete(keys.floating(address)), Delete(keys.vip(address))]
        cluster.server.txn([], gone)
        await cluster.sleep(2 * level_s)
        assert _moves(cluster, before) == moves, "one more or less is level"

    simulate(seed, levelled, tmp_path, APART)


async def _goes(cluster: SimCluster, host: SimHost) -> None:
    """Be away for so long that the session ends."""
    host.power_loss()
    await cluster.sleep(PROFILES["lan"].level_s / 4)
    host.boot()


async def _blinks(cluster: SimCluster, host: SimHost) -> None:
    """Be suspected and nothing more: the session outlasts it."""
    host.power_loss()
    await cluster.sleep(PROFILES["lan"].lease_ttl_s / 3)
    host.boot()


async def _is_cordoned(cluster: SimCluster, host: SimHost) -> None:
    """Be well all the time; what is asked of it changes."""
    _set(cluster, [host], Availability.CORDONED)
    await cluster.sleep(1.0)
    _set(cluster, [host], Availability.ACTIVE)


@pytest.mark.parametrize("change", [_goes, _blinks, _is_cordoned])
def test_nothing_is_levelled_while_hosts_change(
    change: Callable[[SimCluster, SimHost], Awaitable[None]], tmp_path: Path
) -> None:
    level_s = PROFILES["lan"].level_s

    async def changes(cluster: SimCluster) -> None:
        await _left_to_one(cluster)
        before = cluster.answers.holders()
        for _ in range(4):
            await cluster.sleep(level_s / 2)
            await change(cluster, cluster.hosts[-1])
        assert cluster.answers.holders() == before

    simulate(1, changes, tmp_path, Machinery())


def test_three_addresses_go_to_three_hosts(tmp_path: Path) -> None:
    async def spread(cluster: SimCluster) -> None:
        await _held(cluster)
        assert sorted(hosts[0] for hosts in cluster.answers.holders().values()) == [
            host.name for host in cluster.hosts
        ]

    simulate(1, spread, tmp_path, Machinery())


def test_the_measure_of_overlaps_sees_one(tmp_path: Path) -> None:
    async def both(cluster: SimCluster) -> None:
        await _held(cluster)
        for host in cluster.hosts:
            host.addresses.give("198.18.0.50", 100.0)
        await cluster.sleep(100.0)

    with pytest.raises(BaseExceptionGroup, match="unhandled errors") as caught:
        simulate(1, both, tmp_path, Machinery())
    assert caught.group_contains(AssertionError, match="two answer one address")


def test_an_overlap_is_measured_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    async def both(cluster: SimCluster) -> None:
        await _held(cluster)
        # A quiet time before it, and another one before it is measured.
        await cluster.sleep(3.003)
        other = next(h for h in cluster.hosts if not h.addresses.answers("198.18.0.50"))
        other.addresses.give("198.18.0.50", 0.5)
        await cluster.sleep(3.0)
        assert 0.48 < cluster.answers.longest_s <= 0.52

    simulate(1, both, tmp_path, Machinery())


def test_an_address_is_missed_from_the_moment_at_which_nobody_answers_it(tmp_path: Path) -> None:
    async def off(cluster: SimCluster) -> None:
        await _held(cluster)
        for host in cluster.hosts:
            host.power_loss()
        await cluster.sleep(1.0)
        assert 0.96 < cluster.answers.unanswered_s <= 1.0
        for host in cluster.hosts:
            host.boot()
        await cluster.until(cluster.answers.complaint, 60)

    simulate(1, off, tmp_path, Machinery())
