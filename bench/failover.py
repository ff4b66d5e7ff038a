"""`python -m bench.failover`: hosts die under load, many times; when do users get answers again?

Writes bench/out/failover.json (a record for each combination of fault and service, after each) and
bench/out/failover_runs.json (the moments of every single run).
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from bench import members
from bench.address import Via, on_holder
from bench.overlap import by_service, overlaps
from bench.results import Combination, RunRecord, record_of, replace_in
from bench.rig import KINDS, RATE, STACK, Load, Rig, load, rig, spec_of
from bench.seen import Case, moments, silence_s, slowest_s, suspicions
from deploy.client import ApiClient
from deploy.lab import cgroups, command
from deploy.lab.address import give_address
from deploy.lab.http1 import HALF_READ
from deploy.lab.plan import floating_address
from deploy.lab.tally import Outcome
from shared.model import Constraint, NodeName, Placement, ServiceSpec, Want

NAME: Final = "failover"
OUT: Final = Path(__file__).parent / "out"
# What a fault can show of a service; the rest would measure the same again.
FAULTS: Final = {
    "vanish": KINDS,
    "cut": KINDS,
    "kill": ("single", "replicas3", "exclusive"),
    "leader": ("single", "replicas3"),
    "all-in-one": ("single", "standby", "exclusive"),
}
_MEMBERS: Final = 3
_WARM_S: Final = 0.6
# The load reports twice a second; this is seen in the first report after all is well again.
_STEADY_S: Final = 0.4
_AFTER_S: Final = 1.0
_RECOVER_S: Final = 30.0


class Bench:
    """One lab, used for every combination that was asked for."""

    def __init__(self, rig_: Rig, runs: int, rng: random.Random, via: Via, rate: int) -> None:
        self._rig, self._runs, self._rng = rig_, runs, rng
        self._via, self._rate = via, rate

    async def combination(self, fault: str, kind: str) -> tuple[Combination, list[RunRecord]]:
        """Run one fault against one service many times."""
        nodes = len(self._rig.lab.nodes)
        await self._rig.deploy([_spec(fault, kind, nodes)])
        self._rig.witness.forget()
        found = []
        for number in range(1, self._runs + 1):
            one = await self.once(fault, kind, number)
            found.append(one)
            print(f"{fault} {kind} {number}/{self._runs}: {one.line()}", flush=True)
        lives = by_service(self._rig.witness.runs()).values()
        pairs = [pair for each in lives for pair in overlaps(each)] if kind == "exclusive" else []
        for pair in pairs:
            print(f"OVERLAP {pair}", flush=True)
        return record_of(fault, kind, nodes, found, overlaps=len(pairs)), found

    async def once(self, fault: str, kind: str, number: int) -> RunRecord:
        """Break, watch, mend."""
        await self._begin(fault, number)
        await self._rig.forget()
        victim = await self._prepare(fault)
        before = self._rig.state.routed(STACK)
        roles, term = await self._roles(victim), await members.term(self._rig.lab)
        entry = self._rng.choice([node for node in self._rig.lab.nodes if node != victim])
        spec = self._rig.specs[0]
        async with load(self._rig, await self._way(victim, entry), spec, rate=self._rate) as one:
            await asyncio.sleep(_WARM_S)
            at_s = await self._break(fault, victim)
            over = partial(self._is_over, fault, victim, before)
            await self._rig.until(lambda: over() and _is_steady(one, at_s), _RECOVER_S)
            outcomes = await one.stop()
        began_s = one.reports[0].began_at_s
        case = Case(victim=victim, stack=STACK, service=spec.name, at_s=at_s)
        starts = [s for s in self._rig.witness.starts() if s[0].startswith(case.prefix)]
        lost = on_holder(outcomes, at_s - began_s) if self._via is Via.HOLDER else frozenset()
        others = [each for number, each in enumerate(outcomes) if number not in lost]
        told = moments(case, self._rig.state.seen, starts)
        elections = await members.term(self._rig.lab) - term
        await self._mend(fault, victim)
        told = msgspec.structs.replace(
            told,
            answering=silence_s(outcomes, at_s - began_s),
            slowest=slowest_s(outcomes, at_s - began_s),
        )
        return RunRecord(
            fault=fault,
            service=kind,
            nodes=len(self._rig.lab.nodes),
            number=number,
            victim=victim,
            entry=entry,
            moments=told,
            requests=len(outcomes),
            failed_idempotent=_failed(others, idempotent=True),
            half_read=sum(each.idempotent and each.error == HALF_READ for each in others),
            failed_other=_failed(others, idempotent=False),
            roles=roles,
            elections=elections,
            via=self._via.value,
            rate=self._rate,
            on_holder=len(lost),
            errors=Counter(each.failure for each in outcomes if each.failure),
            suspected=self._suspected(case),
        )

    def _suspected(self, case: Case) -> dict[str, float]:
        """Return the seconds from the fault to each peer's first suspicion."""
        told = suspicions(case, self._rig.state.seen)
        return {peer: round(told_s - case.at_s, 3) for peer, told_s in told.items()}

    async def _begin(self, fault: str, number: int) -> None:
        if fault == "kill":
            # A container that was killed before waits longer and longer until it is started again:
            # that is not what is measured.
            await self._rig.deploy([_anew(self._rig.specs[0], number)])
        await self._rig.whole()

    async def _way(self, victim: str, entry: str) -> str:
        """Return the address to send to, once who should hold it does."""
        if self._via is Via.HOST:
            return self._rig.lab.address(entry)
        holder = victim if self._via is Via.HOLDER else entry
        socket = self._rig.lab.api_socket((await self._rig.on())[0])
        async with ApiClient.unix(socket) as client:
            await give_address(client, NodeName(holder))
        return floating_address()

    async def _roles(self, node: str) -> tuple[str, ...]:
        leads = {"etcd": await members.leader(self._rig.lab), "scheduler": self._rig.state.leader}
        return tuple(role for role, leader in leads.items() if leader == node)

    async def _prepare(self, fault: str) -> str:
        """Choose the victim and make it what the fault says that it is."""
        state = self._rig.state
        holders = [node for node, _ in state.assignments(STACK, Want.RUN)]
        victim: str = self._rng.choice(holders)
        if fault == "leader":
            elsewhere = [node for node in self._rig.lab.nodes if node not in holders]
            victim = self._rng.choice(elsewhere) if elsewhere else victim
            await self._rig.lead(victim)
        if fault == "all-in-one":
            await members.move(self._rig.lab, victim)
            await self._rig.lead(victim)
        await self._rig.whole()
        return victim

    def _is_over(self, fault: str, victim: str, before: set[str]) -> bool:
        """Say whether the cluster has done what it should; its users may have felt nothing."""
        match fault:
            case "kill":
                return True
            case "leader":
                return self._rig.state.leader not in {None, victim}
            case _:
                return bool(self._rig.state.routed(STACK) - before)

    async def _break(self, fault: str, victim: str) -> float:
        """Do it and return the wall clock just before."""
        lab = self._rig.lab
        pids = _tickers(self._rig, victim)
        port = f"p{victim.removeprefix('node-')}"
        at_s = time.time()  # noqa: TID251 - lined up with the events of the same machine
        if fault == "kill":
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            return at_s
        # What kill and cut do first; done here, so that the clock is read a moment before it.
        await command.batch(lab.paths.switch, [f"link set {port} down"])
        await (lab.cut(victim) if fault == "cut" else lab.kill(victim))
        return at_s

    async def _mend(self, fault: str, victim: str) -> None:
        match fault:
            case "cut":
                await self._rig.lab.heal(victim)
            case "kill":
                return
            case _:
                await self._rig.lab.boot(victim)


def _spec(fault: str, kind: str, nodes: int) -> ServiceSpec:
    """Return the service; for `all-in-one` it stays where etcd is."""
    spec = spec_of(kind)
    if fault != "all-in-one" or nodes <= _MEMBERS:
        return spec
    where = Constraint(key="node.labels.member", value="yes")
    return msgspec.structs.replace(spec, placement=Placement(constraints=(where,)))


def _anew(spec: ServiceSpec, number: int) -> ServiceSpec:
    """Return the service in another version, which no allocation of before has."""
    workload = msgspec.structs.replace(spec.workload, environment={"RUN": str(number)})
    return msgspec.structs.replace(spec, workload=workload)


def _tickers(rig_: Rig, node: str) -> list[int]:
    """Return process 1 of every container on a host."""
    found = cgroups.processes(cgroups.find(f"{rig_.lab.name}/{node}"))
    return [pid for pid in found if _command_line(pid)[:2] == ["/bin/sh", "/bin/tick"]]


def _command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def _is_steady(one: Load, fault_s: float) -> bool:
    """Say whether the newest report shows a service that answers, some time after the fault."""
    last = one.reports[-1]
    told_s = last.began_at_s + last.at_s
    held = sum(target.held for target in last.targets)
    return (
        told_s > fault_s + _AFTER_S
        and not held
        and one.last_success_s > max(fault_s, told_s - _STEADY_S)
    )


def _failed(outcomes: Sequence[Outcome], *, idempotent: bool) -> int:
    return sum(bool(each.failure) and each.idempotent is idempotent for each in outcomes)


async def run(options: argparse.Namespace) -> None:
    """Run all that was asked for; what is done is on disk when it is interrupted."""
    async with rig(options.nodes, NAME) as one:
        rng = random.Random(options.seed)  # noqa: S311 - a choice of victims
        bench = Bench(one, options.runs, rng, Via(options.via), options.rate)
        for kind in KINDS:
            for fault, kinds in FAULTS.items():
                chosen = options.fault in {fault, "all"} and options.service in {kind, "all"}
                if chosen and kind in kinds:
                    record, found = await bench.combination(fault, kind)
                    replace_in(OUT, record, found)
                    print(msgspec.json.encode(record).decode(), flush=True)


def main(words: Sequence[str]) -> int:
    """Read the options and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.failover", description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--fault", choices=(*FAULTS, "all"), default="all")
    parser.add_argument("--service", choices=(*KINDS, "all"), default="all")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--via", choices=tuple(Via), default=Via.HOST)
    parser.add_argument("--rate", type=int, default=RATE)
    parser.add_argument("--seed", type=int, default=1)
    asyncio.run(run(parser.parse_args(words)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
