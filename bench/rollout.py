"""`python -m bench.rollout`: good and bad versions are rolled out under load, many times.

Writes bench/out/rollout.json (a record for each case, after each) and bench/out/rollout_runs.json
(every single run). It drives the command line that people use. Ends with 1 if a run was not as its
case says, or if a request failed.
"""

import argparse
import asyncio
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from bench.results import read, write
from bench.rig import STACK, Load, Rig, load, rig
from bench.rollouts import (
    CASES,
    OLD,
    Case,
    RolloutRun,
    Rollouts,
    ended_early,
    failed,
    figures,
    unexpected,
    websockets,
)
from deploy.compose import load as load_compose
from deploy.lab.echo_image import HEALTHCHECK, NAME, TAGS, build_echo
from deploy.lab.plan import Host
from deploy.lab.programs import Program
from deploy.lab.typed import Typed, hafen
from shared.errors import ConvergenceError, HostError, UnavailableError
from shared.model import ServiceSpec, Want

LAB: Final = "rollout"
OUT: Final = Path(__file__).parent / "out"
NOWHERE: Final = "hafen.local/nowhere:1"
_RATE: Final = 300
# Kept and new connections in halves, one in five a POST whose body must come back.
_LOAD: Final = (
    *("--fresh-every", "2", "--post-every", "5", "--post-bytes", "300"),
    *("--sockets", "12"),
)
_WARM_S: Final = 1.0
# The limit of the command: six slots, two at a time, each with its proof and its drain; and room.
_DEPLOY_S: Final = 200
_KILL_S: Final = 220.0
# A replica with open websockets drains for its grace, then its node stops it.
_SETTLE_S: Final = 60.0
_STEADY_S: Final = 1.5
# So many slots of six are through when it strikes.
_STRUCK_AT: Final = 2
# Enough to see a pattern.
_KEPT: Final = 20
_COMPOSE: Final = """\
name: {stack}
services:
  web:
    image: {image}
    ports: [{{target: 80, published: 8080, app_protocol: http}}]
    healthcheck:
      test: [CMD, {test}]
      interval: 1s
      timeout: 2s
      retries: 3
      start_interval: 0.2s
    stop_grace_period: 2s
    deploy:
      replicas: {replicas}
      update_config: {update}
      resources:
        reservations: {{memory: {memory}}}
"""


def compose_text(case: Case, *, is_old: bool) -> str:
    """Return the Compose file of a case's version, or of the one that it is rolled over."""
    tag = OLD if is_old else case.tag
    return _COMPOSE.format(
        stack=STACK,
        image=f"{NAME}:{tag}" if tag else NOWHERE,
        test=", ".join(HEALTHCHECK),
        replicas=case.replicas,
        # What is measured is the way to the new version; the way back only has to be quick.
        update="{parallelism: 0, monitor: 0s}" if is_old else "{parallelism: 2}",
        memory="16M" if is_old else case.memory,
    )


class Bench:
    """One lab, used for every case that was asked for."""

    def __init__(self, rig_: Rig, runs: int, rng: random.Random, folder: Path) -> None:
        self._rig, self._runs, self._rng = rig_, runs, rng
        self._folder = folder

    async def case(self, case: Case) -> list[RolloutRun]:
        """Run one case many times."""
        found = []
        for number in range(1, self._runs + 1):
            one = await self.once(case, number)
            found.append(one)
            print(f"{case.name} {number}/{self._runs}: {one.line()}", flush=True)
        return found

    async def once(self, case: Case, number: int) -> RolloutRun:
        """Bring the old version up, then roll the new one over it under load."""
        old = await self._bring_back(case)
        entry = self._rng.choice(self._rig.lab.nodes)
        async with load(self._rig, self._rig.lab.address(entry), old, _LOAD, _RATE) as one:
            await asyncio.sleep(_WARM_S)
            async with asyncio.TaskGroup() as group:
                deploying = group.create_task(self._deploy(case, entry, is_old=False))
                victim = await self._strike(case, entry, deploying)
                typed = await deploying
            await self._settle(case, victim)
            after = self._versions()
            await self._steady(one)
            outcomes = await one.stop()
            began_s, lives = one.reports[0].began_at_s, one.lives()
        dead = victim if case.fault == "node" else ""
        if dead:
            await self._rig.lab.boot(dead)
        answered = Counter(each.version for each in outcomes if not each.failure)
        early = ended_early(
            lives, self._rig.state.seen, STACK, began_s=began_s, dead=_subnet(dead) if dead else ""
        )
        return RolloutRun(
            case=case.name,
            number=number,
            requests=len(outcomes),
            failed_idempotent=len(failed(outcomes, idempotent=True)),
            failed_other=len(failed(outcomes, idempotent=False)),
            errors=Counter(each.failure for each in outcomes if each.failure),
            websockets=websockets(lives, len(early)),
            worst_latency_s=round(max(each.latency_s for each in outcomes), 3),
            took_s=round(typed.took_s, 2),
            exit_code=typed.exit_code,
            verdict=typed.said,
            answered=answered,
            versions_after=after,
            entry=entry,
            victim=victim,
            failures=tuple(each for each in outcomes if each.failure)[:_KEPT],
            early=tuple(early[:_KEPT]),
            unexpected=unexpected(case, exit_code=typed.exit_code, answered=answered, after=after),
        )

    async def _bring_back(self, case: Case) -> ServiceSpec:
        """Let the old version alone run, whole; return its service.

        Raises:
            HostError: the command line refuses it.
            ConvergenceError: it does not become whole.
        """
        file = self._write(case, is_old=True)
        self._rig.specs = load_compose([file], {}, None).services
        first, *others = await self._rig.on()
        typed = await self._deploy(case, first, is_old=True)
        for entry in others:
            # A host that was just booted may not have heard of etcd yet; the others have.
            if typed.exit_code == UnavailableError.exit_code:
                typed = await self._deploy(case, entry, is_old=True)
        if typed.exit_code != 0:
            raise HostError(f"version {OLD} does not come back: {' / '.join(typed.said)}")
        await self._rig.whole()
        if set(self._versions()) != {OLD}:
            raise ConvergenceError(f"not version {OLD} alone: {dict(self._versions())}")
        return self._rig.specs[0]

    def _write(self, case: Case, *, is_old: bool) -> Path:
        file = self._folder / f"{case.name}-{'old' if is_old else 'new'}.yaml"
        file.write_text(compose_text(case, is_old=is_old))
        return file

    async def _deploy(self, case: Case, entry: str, *, is_old: bool) -> Typed:
        """Run `hafen deploy` against one host."""
        file = self._write(case, is_old=is_old)
        words = ("deploy", "-f", str(file), "--timeout", str(_DEPLOY_S))
        return await hafen(self._rig.lab.api_socket(entry), words, deadline_s=_KILL_S)

    async def _strike(self, case: Case, entry: str, deploying: "asyncio.Task[object]") -> str:
        """Break what the case says in the middle of the rollout; return who it was."""
        if not case.fault:
            return ""
        half = partial(self._is_under_way, case, deploying)
        await self._rig.until(half, _KILL_S)
        if case.fault == "leader":
            leader = self._rig.state.leader
            if leader is None:
                raise HostError("nobody leads in the middle of a rollout")
            self._rig.lab.signal(leader, Program.SCHEDULER, signal.SIGKILL)
            return leader
        holders = {node for node, _ in self._rig.state.assignments(STACK, Want.RUN)}
        victim: str = self._rng.choice(sorted(holders - {entry}))
        await self._rig.lab.kill(victim)
        return victim

    def _is_under_way(self, case: Case, deploying: "asyncio.Task[object]") -> bool:
        return self._versions().get(case.tag, 0) >= _STRUCK_AT or deploying.done()

    async def _settle(self, case: Case, victim: str) -> None:
        """Wait until what drains is gone, so that websockets on it have ended under load."""
        if not case.is_good:
            return
        alive = [node for node in self._rig.lab.nodes if node != victim or case.fault != "node"]
        await self._rig.until(lambda: not self._is_draining(alive), _SETTLE_S)

    def _is_draining(self, alive: Sequence[str]) -> bool:
        """Say whether a node that lives still has something that is to go."""
        state = self._rig.state
        kept = {each.id for _, each in state.assignments(STACK, Want.RUN)}
        return any(each not in kept for node in alive for each in state.reported(node))

    async def _steady(self, one: Load) -> None:
        """Send for a while longer: what a late stop breaks is seen, too."""
        at_s = one.reports[-1].at_s
        await self._rig.until(lambda: one.reports[-1].at_s > at_s + _STEADY_S, _SETTLE_S)

    def _versions(self) -> Mapping[str, int]:
        """Return the replicas that take requests, by version."""
        routed = self._rig.state.routed(STACK)
        return Counter(
            each.workload.image.rpartition(":")[2]
            for _, each in self._rig.state.assignments(STACK, Want.RUN)
            if each.id in routed
        )


def _subnet(node: str) -> str:
    return Host(int(node.removeprefix("node-"))).subnet


def replace_in(folder: Path, record: Rollouts, found: Sequence[RolloutRun]) -> None:
    """Write a case and its runs in the place of the ones before; others are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    all_ = read(folder / "rollout.json", Rollouts)
    write(folder / "rollout.json", [*(e for e in all_ if e.case != record.case), record])
    runs = read(folder / "rollout_runs.json", RolloutRun)
    write(folder / "rollout_runs.json", [*(e for e in runs if e.case != record.case), *found])


async def run(options: argparse.Namespace) -> bool:
    """Run all that was asked for; say whether all was as it should be."""
    is_well = True
    images = tuple(partial(build_echo, tag=tag) for tag in TAGS)
    with tempfile.TemporaryDirectory(prefix="hafen-rollout-") as folder:
        async with rig(options.nodes, LAB, images=images) as one:
            rng = random.Random(options.seed)  # noqa: S311 - a choice of victims
            bench = Bench(one, options.runs, rng, Path(folder))
            for case in CASES:
                if {case.name, "all"} & set(options.case):
                    found = await bench.case(case)
                    record = figures(case.name, found)
                    replace_in(OUT, record, found)
                    lost = record.failed_idempotent + record.failed_other
                    is_well = is_well and not (lost or record.unexpected)
    return is_well


def main(words: Sequence[str]) -> int:
    """Read the options and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.rollout", description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    names = [*(case.name for case in CASES), "all"]
    parser.add_argument("--case", nargs="+", choices=names, default=["all"])
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    return 0 if asyncio.run(run(parser.parse_args(words))) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
