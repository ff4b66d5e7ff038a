"""Whole peers over a network that only virtual time separates."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import pytest

from node_agent.peers.asking import hold_s_max
from node_agent.peers.net import Received, Way
from node_agent.peers.prober import Peers
from node_agent.peers.wire import Datagram, Kind, decode, encode
from shared.clock import Clock
from shared.model import NodeName, Silence
from shared.timing import LAN
from tests.build import node_spec
from tests.virtual import on_virtual_time

_DELAY_S: Final = 0.0005
ONE, TWO, THREE = (NodeName(f"node-{number}") for number in (1, 2, 3))
SPECS: Final = [node_spec(f"node-{number}") for number in (1, 2, 3)]


class Air:
    """Between all hosts; `cut` holds the addresses that nothing reaches or leaves."""

    def __init__(self) -> None:
        self.hosts: dict[str, Received] = {}
        self.cut: set[str] = set()
        self.sent: list[tuple[str, str, bytes]] = []

    def carry(self, way: Way, source: str, target: str, data: bytes) -> None:
        self.sent.append((source, target, data))
        loop = asyncio.get_running_loop()
        if way is Way.AGENT:
            loop.call_later(_DELAY_S, self._arrive, way, source, target, data)
        elif not {source, target} & self.cut:
            loop.call_later(2 * _DELAY_S, self._arrive, way, target, source, data)

    def _arrive(self, way: Way, source: str, target: str, data: bytes) -> None:
        if target in self.hosts and not {source, target} & self.cut:
            self.hosts[target](way, source, data)


class Port:
    """One host's Net."""

    def __init__(self, air: Air, address: str) -> None:
        self._air, self._address = air, address

    def open(self, received: Received) -> None:
        self._air.hosts[self._address] = received

    def send(self, way: Way, address: str, datagram: bytes) -> None:
        self._air.carry(way, self._address, address, datagram)

    def close(self) -> None:
        self._air.hosts.pop(self._address, None)


class Paper:
    """A promise in memory; a full disk keeps none."""

    def __init__(self, until_boot_s: float = 0.0) -> None:
        self.until_boot_s, self.is_full = until_boot_s, False

    def read(self) -> float:
        return self.until_boot_s

    def write(self, until_boot_s: float) -> None:
        if self.is_full:
            raise OSError(28, "No space left on device", "promise")
        self.until_boot_s = until_boot_s


class Rig:
    """Three nodes."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.air = clock, Air()
        self.papers = {spec.name: Paper() for spec in SPECS}
        self.sessions = {spec.name: False for spec in SPECS}
        self.changes: list[NodeName] = []
        self.peers = {spec.name: self.make(spec.name, spec.address) for spec in SPECS}
        self.tasks: dict[NodeName, asyncio.Task[None]] = {}

    def make(self, name: NodeName, address: str) -> Peers:
        peers = Peers(
            name,
            LAN,
            Port(self.air, address),
            self.papers[name],
            clock=self.clock,
            rng=random.Random(name),  # noqa: S311 - replays exactly
            has_session=lambda: self.sessions[name],
            on_change=lambda: self.changes.append(name),
        )
        peers.follow(SPECS)
        return peers

    def suspects(self) -> list[dict[NodeName, Silence]]:
        return [dict(self.peers[spec.name].suspicions) for spec in SPECS]


def with_three(scenario: Callable[[Rig], Coroutine[Any, Any, None]]) -> None:
    async def main(clock: Clock) -> None:
        rig = Rig(clock)
        async with asyncio.TaskGroup() as group:
            for name, peers in rig.peers.items():
                rig.tasks[name] = group.create_task(peers.run())
            await clock.sleep(1.0)
            await scenario(rig)
            for task in rig.tasks.values():
                task.cancel()

    on_virtual_time(main)


def test_quiet_peers_suspect_nobody() -> None:
    async def scenario(rig: Rig) -> None:
        await rig.clock.sleep(60.0)
        assert rig.suspects() == [{}, {}, {}]
        assert rig.changes == []

    with_three(scenario)


def test_a_host_that_is_cut_off_is_suspected_by_both_others_and_suspects_nobody() -> None:
    async def scenario(rig: Rig) -> None:
        rig.air.cut.add(SPECS[2].address)
        await rig.clock.sleep(LAN.probe_s + LAN.silent_s + LAN.probe_again_s)
        assert rig.suspects() == [{THREE: Silence.HOST}, {THREE: Silence.HOST}, {}]
        rig.air.cut.clear()
        await rig.clock.sleep(LAN.probe_s + 2 * _DELAY_S + 0.01)
        assert rig.suspects() == [{}, {}, {}]
        assert rig.changes.count(ONE) == rig.changes.count(TWO) == 2

    with_three(scenario)


@pytest.mark.parametrize(("pings_from", "expected"), [(2, 2), (9, 0)])
def test_who_is_pinged_by_a_peer_is_not_cut_off_and_stands_by_what_it_misses(
    pings_from: int, expected: int
) -> None:
    async def scenario(rig: Rig) -> None:
        rig.air.cut |= {SPECS[1].address, SPECS[2].address}
        ping = encode(Datagram(Kind.PING, 1, NodeName(f"node-{pings_from}")))
        for _ in range(20):
            rig.air.hosts[SPECS[0].address](Way.AGENT, f"198.18.0.{pings_from}", ping)
            await rig.clock.sleep(LAN.probe_s / 2)
        assert len(rig.suspects()[0]) == expected

    with_three(scenario)


def test_an_agent_that_ended_is_told_from_its_host() -> None:
    async def scenario(rig: Rig) -> None:
        rig.tasks[THREE].cancel()
        await rig.clock.sleep(LAN.probe_s + LAN.agent_silent_s + 0.05)
        assert rig.suspects()[:2] == [{THREE: Silence.AGENT}, {THREE: Silence.AGENT}]

    with_three(scenario)


def test_every_peer_without_a_session_promises_and_keeps_it() -> None:
    async def scenario(rig: Rig) -> None:
        asked_s = rig.clock.boot_s()
        assert await rig.peers[ONE].ask_all(2.0) == {TWO: True, THREE: True}
        for name in (TWO, THREE):
            assert rig.peers[name].promised_until_boot_s >= asked_s + 2.0
            again = rig.make(name, "198.18.0.9")
            assert again.promised_until_boot_s == rig.peers[name].promised_until_boot_s
        assert rig.peers[ONE].promised_until_boot_s == 0.0

    with_three(scenario)


def test_who_has_a_session_or_no_place_for_a_promise_says_no_and_the_dead_say_nothing() -> None:
    async def scenario(rig: Rig) -> None:
        rig.sessions[TWO], rig.papers[THREE].is_full = True, True
        assert await rig.peers[ONE].ask_all(2.0) == {TWO: False, THREE: False}
        assert rig.peers[TWO].promised_until_boot_s == 0.0
        rig.air.cut.add(SPECS[2].address)
        assert await rig.peers[ONE].ask_all(2.0) == {TWO: False, THREE: None}
        assert rig.peers[THREE].promised_until_boot_s == 0.0

    with_three(scenario)


def test_nobody_promises_for_longer_than_anybody_needs() -> None:
    async def scenario(rig: Rig) -> None:
        too_long_s = hold_s_max(LAN) + 1
        assert set((await rig.peers[ONE].ask_all(too_long_s)).values()) == {False}
        old = Paper(10**9)
        rig.papers[ONE] = old
        again = rig.make(ONE, "198.18.0.9")
        assert again.promised_until_boot_s <= rig.clock.boot_s() + hold_s_max(LAN)

    with_three(scenario)


def test_strangers_are_answered_but_promised_nothing_and_a_flood_is_not_answered() -> None:
    async def scenario(rig: Rig) -> None:
        stranger = "203.0.113.7"
        heard: list[Datagram] = []
        rig.air.hosts[stranger] = lambda _w, _a, data: heard.extend(_read(data))
        door = rig.air.hosts[SPECS[0].address]
        ask = Datagram(Kind.ASK, 7, TWO, hold_s=1.0)
        for datagram in (b"", b"x" * 82, encode(ask)):
            door(Way.AGENT, stranger, datagram)
        ping = encode(Datagram(Kind.PING, 8, NodeName("new")))
        for _ in range(10_000):
            door(Way.AGENT, stranger, ping)
        await rig.clock.sleep(0.01)
        assert {said.kind for said in heard} == {Kind.PONG}
        assert 1000 <= len(heard) <= 2000
        assert rig.peers[ONE].promised_until_boot_s == 0.0

    with_three(scenario)


def _read(data: bytes) -> Sequence[Datagram]:
    said = decode(data)
    assert said is not None
    return [said]


def test_an_answer_under_another_s_name_is_none() -> None:
    async def scenario(rig: Rig) -> None:
        rig.tasks[THREE].cancel()
        await rig.clock.sleep(0)
        address = SPECS[2].address

        def pose(_way: Way, source: str, data: bytes) -> None:
            said = decode(data)
            if said is not None and said.kind is Kind.PING:
                answer = encode(Datagram(Kind.PONG, said.nonce, NodeName("node-9")))
                rig.air.carry(Way.AGENT, address, source, answer)

        rig.air.hosts[address] = pose
        await rig.clock.sleep(2.0)
        assert rig.suspects()[0] == {THREE: Silence.AGENT}

    with_three(scenario)


@pytest.mark.parametrize("kind", [Kind.PING, Kind.ASK])
def test_no_answer_is_longer_than_its_question(kind: Kind) -> None:
    async def scenario(rig: Rig) -> None:
        question = encode(Datagram(kind, 1, TWO, hold_s=1.0))
        rig.air.sent.clear()
        rig.air.hosts[SPECS[0].address](Way.AGENT, SPECS[1].address, question)
        assert [len(data) for _, _, data in rig.air.sent] == [len(question)]

    with_three(scenario)
