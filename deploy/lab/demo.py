"""The demo: three hosts, services under load; one host dies, then a service gets new versions.

This module drives a lab; what it means is told by deploy.lab.story and deploy.lab.updates, what it
looks like by deploy.lab.view. Whatever happens, the lab is taken down before it ends.
"""

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from deploy.client import ApiClient
from deploy.compose import LoadedStack
from deploy.compose import load as load_compose
from deploy.lab.address import give_address, until_held
from deploy.lab.ground import leftovers
from deploy.lab.images import CRASH, build_whoami
from deploy.lab.lab import Lab
from deploy.lab.plan import CLIENT, floating_address
from deploy.lab.ready import wait_ready
from deploy.lab.screen import Screen
from deploy.lab.story import Scene
from deploy.lab.tally import LoadReport
from deploy.lab.typed import hafen
from deploy.lab.updates import DONE, ROLLED_BACK, Sample, Update, sample
from deploy.lab.view import Picture, ready_replicas
from shared import codec
from shared.api import Accepted, StackUpload
from shared.errors import ConvergenceError, HostError, StoreError
from shared.model import Event, NodeName, Record, ServiceName, ServiceSpec

T = TypeVar("T")

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "whoami" / "compose.yaml"
# The service of the example that has one replica: what happens to it is the story.
ALONE: Final = ServiceName("single")
# The service whose versions are watched, and what of the example's file decides about them.
UPDATED: Final = ServiceName("web")
_TAG: Final = "WHOAMI_TAG"
_FIRST, _SECOND = "1", "2"
# Load before the cut shows what normal is; after it, recovery must fit in with room to spare.
SECONDS_MIN: Final = 12.0
_AFTER_CUT_S_MIN: Final = 8.0
_READY_DEADLINE_S: Final = 60.0
# Each takes most of a second.
_PORTS_ATTEMPTS: Final = 20
_RECOVERY_DEADLINE_S: Final = 60.0
_POLL_S: Final = 0.2
# Load before an update and after it: what a replica's late end breaks is seen, too.
_AROUND_UPDATE_S: Final = 1.5
# An update of three replicas takes seconds; the command gives up before we do.
_UPDATE_LIMIT_S: Final = 60
_UPDATE_HANGS_S: Final = 80.0


class DemoPlan(Record, frozen=True, kw_only=True):
    """What a person may choose.

    Attributes:
        lab: the name of the one that is made.
        rate_per_s: requests to all services together.
        seconds: of load; longer if recovery takes longer.
    """

    lab: str
    nodes: int = 3
    seconds: float = 15.0
    rate_per_s: float = 200.0

    @property
    def before_cut_s(self) -> float:
        """Return how long the load runs before the power is cut."""
        return min(self.seconds / 3, self.seconds - _AFTER_CUT_S_MIN)


class _Demo:
    """One run; `lab_is_ours` says whether there is something to take down."""

    def __init__(self, plan: DemoPlan, screen: Screen) -> None:
        self._plan = plan
        self._screen = screen
        self._picture = Picture(phase="")
        self._began_s = time.monotonic()
        self._samples: list[Sample] = []
        self._version = ""  # which the service is getting
        self.lab = Lab(plan.lab)
        self.lab_is_ours = False

    def show(self, **changes: Any) -> None:
        """Change the picture and show it."""
        elapsed_s = time.monotonic() - self._began_s
        self._picture = msgspec.structs.replace(self._picture, elapsed_s=elapsed_s, **changes)
        self._screen.show(self._picture)

    async def play(self) -> Scene:
        """Do everything up to the end of the load; the caller takes the lab down."""
        self.show(phase=f"switching {self._plan.nodes} hosts on")
        await self.lab.up(self._plan.nodes)
        self.lab_is_ours = True
        stack = load_compose([EXAMPLE], {}, None)
        await self._prepare()
        victim, entry = await self._deploy(stack)
        async with (
            ApiClient.unix(self.lab.api_socket(entry)) as client,
            asyncio.TaskGroup() as group,
        ):
            watching = group.create_task(self._watch(client, stack))
            self.show(phase=f"hafen vip add {floating_address()}; hafen vip move to {victim}")
            await give_address(client, victim)
            await self._wait_for_ports(stack)
            scene = await self._lose_host(client, stack, victim)
            updates = [
                await self._update(entry, stack, _FIRST, _SECOND, DONE),
                await self._update(entry, stack, _SECOND, CRASH, ROLLED_BACK),
            ]
            watching.cancel()
        return msgspec.structs.replace(scene, updates=tuple(updates))

    async def _prepare(self) -> None:
        """Wait for the cluster while the image goes to every host: neither needs the other."""
        self.show(phase="waiting for the cluster; loading images into every host")

        async def load_images() -> None:
            with tempfile.TemporaryDirectory(prefix="hafen-demo-") as folder:
                for tag in (_FIRST, _SECOND, CRASH):
                    archive = Path(folder) / f"{tag}.tar"
                    await asyncio.to_thread(build_whoami, archive, tag)
                    await self.lab.load(archive)

        async with asyncio.TaskGroup() as group:
            group.create_task(load_images())
            group.create_task(
                wait_ready(
                    self.lab,
                    deadline_s=_READY_DEADLINE_S,
                    progress=lambda text: self.show(note=text),
                )
            )
        self.show(note="")

    async def _deploy(self, stack: LoadedStack) -> tuple[NodeName, NodeName]:
        """Deploy, wait until all is ready; return the host to kill and one to send requests to."""
        self.show(phase=f"deploying {stack.name}")
        async with ApiClient.unix(self.lab.api_socket(self.lab.nodes[0])) as client:
            upload = StackUpload(
                services=stack.services, source=stack.source, networks=stack.networks
            )
            accepted = await client.deploy(stack.name, upload)
            await self._wait_until_deployed(client, accepted)
            found = await client.allocations(stack.name, ALONE)
        victim = found.allocations[0].node
        entry = next(NodeName(name) for name in self.lab.nodes if name != victim)
        return victim, entry

    async def _wait_until_deployed(self, client: ApiClient, accepted: Accepted) -> None:
        try:
            async with (
                asyncio.timeout(_READY_DEADLINE_S),
                aclosing(client.progress(accepted.stack, accepted.revision)) as all_progress,
            ):
                async for progress in all_progress:
                    self.show(note="; ".join(progress.blocked))
        except TimeoutError as error:
            raise ConvergenceError(
                f"{accepted.stack} is not up after {_READY_DEADLINE_S:.0f} s: "
                f"{self._picture.note or 'nothing says why'}"
            ) from error

    async def _watch(self, client: ApiClient, stack: LoadedStack) -> None:
        """Keep the picture up to date, for ever."""
        while True:
            try:
                nodes = (await client.nodes()).nodes
                allocations = (await client.allocations(stack.name)).allocations
            except StoreError as error:
                self.show(note=str(error))
            else:
                self.show(nodes=nodes, allocations=allocations, note="")
                now_s = time.time()  # noqa: TID251 - compared with the load's on this same machine
                self._samples.append(sample(allocations, UPDATED, self._version, now_s))
            await asyncio.sleep(_POLL_S)

    async def _wait_for_ports(self, stack: LoadedStack) -> None:
        """Return when every service answers on its published port at the floating address.

        Replicas are ready before every gateway has opened their port; measuring begins after.
        """
        self.show(phase=f"waiting until {floating_address()} answers on the published ports")
        argv = self._load_argv(stack, "--rate", "20", "--seconds", "0.2", "--timeout", "1")
        for _ in range(_PORTS_ATTEMPTS):
            async with self._on_client(argv, stdout=asyncio.subprocess.DEVNULL) as probe:
                if await probe.wait() == 0:
                    return
        raise ConvergenceError(
            f"{floating_address()} does not answer on the published ports after"
            f" {_PORTS_ATTEMPTS} attempts"
        )

    @asynccontextmanager
    async def _on_client(
        self, argv: Sequence[str], *, stdout: int
    ) -> AsyncGenerator[asyncio.subprocess.Process, None]:
        """Run a program on the client; it has ended when this is left."""
        process = await self.lab.run_in(
            CLIENT, argv, stdin=asyncio.subprocess.DEVNULL, stdout=stdout
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def _load_argv(self, stack: LoadedStack, *options: str) -> list[str]:
        address = floating_address()
        urls = [
            part
            for service in stack.services
            for part in ("--url", f"{service.name}=http://{address}:{_port(service)}/")
        ]
        return [sys.executable, "-m", "deploy.lab.load", *urls, *options]

    @asynccontextmanager
    async def _load(self, stack: LoadedStack) -> AsyncGenerator[list[LoadReport], None]:
        """Send requests to every service inside the `with`; what is in flight is waited for."""
        argv = self._load_argv(stack, "--rate", str(self._plan.rate_per_s))
        reports: list[LoadReport] = []
        runs = asyncio.Event()
        async with (
            self._on_client(argv, stdout=asyncio.subprocess.PIPE) as load,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(self._read_reports(load, reports, runs))
            await runs.wait()
            self.show(
                phase=f"{self._plan.rate_per_s:.0f} requests a second to {floating_address()}"
            )
            yield reports
            self.show(phase="stopping the load")
            load.terminate()

    async def _lose_host(self, client: ApiClient, stack: LoadedStack, victim: NodeName) -> Scene:
        replicas = {service.name: service.replicas for service in stack.services}
        async with self._load(stack) as reports:
            await asyncio.sleep(self._plan.before_cut_s)
            killed_at_s = time.time()  # noqa: TID251 - compared with events of this same machine
            self.show(phase=f"cutting the power of {victim}", victim=victim)
            await self.lab.kill(victim)
            self.show(phase=f"{victim} is dead; waiting for every replica to be replaced")
            await asyncio.sleep(self._plan.seconds - self._plan.before_cut_s)
            await self._wait_for_replicas(replicas, victim)
            held = await until_held(client, lambda one: one.holder not in {victim, ""})
        return Scene(
            stack=stack.name,
            victim=victim,
            alone=ALONE,
            killed_at_s=killed_at_s,
            address=held.address,
            holder=held.holder,
            claimed_at_s=held.since_s,
            replicas=replicas,
            ready=self._ready(victim),
            events=await _events(client),
            reports=tuple(reports),
        )

    async def _update(
        self, entry: NodeName, stack: LoadedStack, before: str, version: str, expected: int
    ) -> Update:
        """Deploy the example with another version, as a person would, under load."""
        async with self._load(stack) as reports:
            await asyncio.sleep(_AROUND_UPDATE_S)
            self._version, self._samples = version, []
            began_at_s = time.time()  # noqa: TID251 - compared with samples of this same machine
            self.show(phase=f"{_TAG}={version} hafen deploy -f {EXAMPLE.name}")
            words = ("deploy", "-f", str(EXAMPLE), "--timeout", str(_UPDATE_LIMIT_S))
            typed = await hafen(
                self.lab.api_socket(entry),
                words,
                deadline_s=_UPDATE_HANGS_S,
                more={_TAG: version},
            )
            self.show(phase=f"the command has ended with exit code {typed.exit_code}")
            await asyncio.sleep(_AROUND_UPDATE_S)
        return Update(
            service=UPDATED,
            replicas=next(each.replicas for each in stack.services if each.name == UPDATED),
            before=before,
            version=version,
            expected=expected,
            began_at_s=began_at_s,
            took_s=typed.took_s,
            exit_code=typed.exit_code,
            said=typed.said,
            samples=tuple(self._samples),
            reports=tuple(reports),
        )

    async def _read_reports(
        self, load: asyncio.subprocess.Process, reports: list[LoadReport], runs: asyncio.Event
    ) -> None:
        assert load.stdout is not None
        async for line in load.stdout:
            reports.append(codec.decode(LoadReport, line, "the load generator"))
            runs.set()
            self.show(load=reports[-1])
        code = await load.wait()
        if not (reports and reports[-1].final):
            raise HostError(f"the load generator ended early, with exit code {code}")

    def _ready(self, victim: NodeName) -> Mapping[ServiceName, int]:
        """Return ready replicas by service; what the API says of the victim does not count."""
        return ready_replicas(each for each in self._picture.allocations if each.node != victim)

    async def _wait_for_replicas(
        self, replicas: Mapping[ServiceName, int], victim: NodeName
    ) -> None:
        """Return when every replica is ready, or late: the verdict will say what is missing."""
        for _ in range(int(_RECOVERY_DEADLINE_S / _POLL_S)):
            ready = self._ready(victim)
            if all(ready.get(name, 0) >= count for name, count in replicas.items()):
                return
            await asyncio.sleep(_POLL_S)


def _port(service: ServiceSpec) -> int:
    assert service.workload.ports, f"{EXAMPLE}: {service.name} publishes no port"
    return service.workload.ports[0].published


async def _events(client: ApiClient) -> tuple[Event, ...]:
    return tuple([event async for event in client.events()])


async def run_demo(plan: DemoPlan, screen: Screen) -> Scene | None:
    """Run the demo and take its lab down; None: a signal ended it early.

    Raises:
        HostError: a lab of that name is up already, this machine lacks something, or something of
            the lab could not be removed.
        HafenError: the cluster did not come up.
    """
    demo = _Demo(plan, screen)
    with screen:
        try:
            scene = await _unless_interrupted(demo.play())
        finally:
            # Nobody cancels this task: signals only end `play`. So this always runs to its end.
            if demo.lab_is_ours:
                try:
                    demo.show(phase="taking everything down")
                finally:  # also when the terminal is gone
                    await demo.lab.down()
    left = leftovers(plan.lab) if demo.lab_is_ours else []
    if left:
        raise HostError(f"the demo left something behind: {', '.join(left)}")
    return scene


async def _unless_interrupted(work: Coroutine[Any, Any, T]) -> T | None:
    """Return what `work` returns; None: a signal came, and it has been cancelled."""
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, interrupted.set)
    async with asyncio.TaskGroup() as group:
        working = group.create_task(work)
        watching = group.create_task(_cancel_when(interrupted, working))
        working.add_done_callback(lambda _: watching.cancel())
    return None if working.cancelled() else working.result()


async def _cancel_when(event: asyncio.Event, task: asyncio.Task[Any]) -> None:
    await event.wait()
    task.cancel()
