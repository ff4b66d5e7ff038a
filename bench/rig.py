"""A lab under observation: what is written to its etcd, what its containers log and users see."""

import asyncio
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from bench import members
from bench.cluster import State
from bench.members import end
from bench.seen import decode_line
from bench.witness import Witness
from deploy.client import ApiClient
from deploy.lab.images import TICK, build_tick
from deploy.lab.lab import Lab
from deploy.lab.plan import CLIENT
from deploy.lab.programs import Program
from deploy.lab.ready import wait_ready
from deploy.lab.sockets import Life
from deploy.lab.tally import LoadReport, Outcome
from shared import codec
from shared.api import StackUpload
from shared.errors import ConvergenceError, HostError
from shared.model import (
    Network,
    NodeName,
    Protocol,
    PublishedPort,
    Resources,
    ServiceName,
    ServiceSpec,
    StackName,
    Workload,
)
from shared.settings import ETCD_CLIENT_PORT, NetworkMode

STACK: Final = StackName("bench")
# The label of hosts that have an etcd member.
MEMBER: Final = {"member": "yes"}
_MIB: Final = 1024 * 1024
_FIRST_PORT: Final = 8080
_POLL_S: Final = 0.02
# A boot with all that follows takes some 4 s; a leader that must first be lost, 10.
WHOLE_S: Final = 90.0
_LEAD_S: Final = 10.0
_LEAD_TRIES: Final = 8
_LOAD_UP_S: Final = 10.0
_REQUESTS: Final = "requests"
_LIVES: Final = "lives"
# Half a core of load generator, gateway and replicas, on a machine with two.
RATE: Final = 150
_POSTS: Final = ("--post-every", "10", "--post-path", "/cgi-bin/post")

KINDS: Final = ("single", "standby", "replicas3", "exclusive")


def spec_of(kind: str, number: int = 0) -> ServiceSpec:
    """Return a service of one of the KINDS; `number` makes its port."""
    port = PublishedPort(published=_FIRST_PORT + number, target=80, protocol=Protocol.HTTP)
    return ServiceSpec(
        name=ServiceName(kind),
        workload=Workload(
            image=TICK,
            stop_grace_period_s=1.0,
            ports=(port,),
            reservations=Resources(memory_bytes=16 * _MIB),
            exclusive=kind == "exclusive",
        ),
        replicas=3 if kind == "replicas3" else 1,
        standby=int(kind == "standby"),
    )


class Rig:
    """A lab that is up, with an observer on its client and a witness of its logs."""

    def __init__(self, lab: Lab, witness: Witness) -> None:
        self.lab, self.witness = lab, witness
        self.state = State()
        self.specs: tuple[ServiceSpec, ...] = ()
        self.member_nodes: tuple[str, ...] = ()

    async def observe(self) -> None:
        """Read what the observer sees, for ever.

        Raises:
            HostError: it ended.
        """
        hosts = [host for host in (await self.lab.status()).hosts if host.member]
        self.member_nodes = tuple(host.name for host in hosts)
        endpoints = [f"{host.address}:{ETCD_CLIENT_PORT}" for host in hosts]
        argv = [sys.executable, "-m", "bench.observe", str(self.lab.paths.pki), *endpoints]
        # A report of a large node is one line.
        streams = {"stdin": DEVNULL, "stdout": PIPE, "stderr": DEVNULL, "limit": 4 * _MIB}
        process = await self.lab.run_in(CLIENT, argv, **streams)
        try:
            assert process.stdout is not None
            async for line in process.stdout:
                self.state.add(decode_line(line))
        finally:
            await end(process)
        raise HostError("the observer ended")

    async def deploy(self, specs: Sequence[ServiceSpec], networks: Sequence[Network] = ()) -> None:
        """Replace what runs by these services and wait until all is whole."""
        on = await self.on()
        async with ApiClient.unix(self.lab.api_socket(on[0])) as api:
            await api.deploy(STACK, StackUpload(services=tuple(specs), networks=tuple(networks)))
        self.specs = tuple(specs)
        await self.whole()

    async def on(self) -> list[str]:
        """Return the hosts that have power."""
        return [host.name for host in (await self.lab.status()).hosts if host.state != "off"]

    async def whole(self, within_s: float = WHOLE_S) -> None:
        """Return when the cluster is as if nothing had happened; all hosts must be on.

        Raises:
            ConvergenceError: with what is missing.
        """
        lacking = ""
        try:
            async with asyncio.timeout(within_s):
                while lacking := await self._lacking():  # noqa: ASYNC110 - lies in other processes
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            raise ConvergenceError(f"not whole after {within_s:.0f} s: {lacking}") from error

    async def _lacking(self) -> str:
        lacking = self.state.lacking(self.lab.nodes, STACK, self.specs)
        return lacking or await self._members_lacking()

    async def _members_lacking(self) -> str:
        leaders = await members.status(self.lab)
        missing = [name for name in self.member_nodes if name not in leaders]
        if missing:
            return f"etcd on {missing[0]} does not answer"
        return "" if any(leaders.values()) else "etcd has no leader"

    async def lead(self, node: str) -> None:
        """Let a host's scheduler lead: the others resign until it does.

        Raises:
            ConvergenceError: it did not come to that.
        """
        for _ in range(_LEAD_TRIES):
            now = self.state.leader
            if now == node:
                return
            if now is not None:
                self.lab.signal(now, Program.SCHEDULER, signal.SIGTERM)
            await self.until(partial(self._led_by_another_than, now), _LEAD_S)
        raise ConvergenceError(f"the scheduler of {node} does not come to lead")

    async def forget(self) -> None:
        """Start every scheduler anew, so that none knows anything of the faults so far.

        A scheduler, leading or not, remembers which nodes flap and believes them less each time; a
        bench that lets the same hosts die again and again would measure that, not a failover.
        """
        before = self.state.led
        for node in self.lab.nodes:
            with suppress(HostError):  # It is just being started anew.
                self.lab.signal(node, Program.SCHEDULER, signal.SIGTERM)
        await self.until(lambda: self.state.led > before and self.state.leader is not None, _LEAD_S)
        # A fault before every scheduler could lead would be one of two hosts at once.
        await wait_ready(self.lab, deadline_s=_LEAD_S, progress=lambda _: None)

    def _led_by_another_than(self, node: NodeName | None) -> bool:
        return self.state.leader not in {None, node}

    async def until(self, condition: Callable[[], bool], within_s: float) -> bool:
        """Return whether a condition came true in time."""
        try:
            async with asyncio.timeout(within_s):
                while not condition():  # noqa: ASYNC110 - what it waits for is in other processes
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            return condition()
        return True


class Load:
    """One run of the load generator through one host's gateway, to one service."""

    def __init__(self, process: Process, folder: Path) -> None:
        self._process, self._folder = process, folder
        self.reports: list[LoadReport] = []

    async def read(self) -> None:
        """Read its reports until it ends."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.reports.append(codec.decode(LoadReport, line, "the load generator"))

    @property
    def last_success_s(self) -> float:
        """Return the wall clock of the last answer that was reported."""
        if not self.reports:
            return 0.0
        last = self.reports[-1]
        return last.began_at_s + max(each.last_success_s or 0.0 for each in last.targets)

    async def stop(self) -> list[Outcome]:
        """Send nothing more, wait for what is in flight, return every request in order.

        Raises:
            HostError: it ended early.
        """
        self._process.send_signal(signal.SIGTERM)
        await self._process.wait()
        lines = (self._folder / _REQUESTS).read_bytes().splitlines()
        if not lines:
            raise HostError("the load generator sent nothing")
        return [codec.decode(Outcome, line, _REQUESTS) for line in lines]

    def lives(self) -> list[Life]:
        """Return every websocket's lives, once `stop` has returned."""
        lines = (self._folder / _LIVES).read_bytes().splitlines()
        return [codec.decode(Life, line, _LIVES) for line in lines]


@asynccontextmanager
async def load(
    rig: Rig, address: str, spec: ServiceSpec, options: Sequence[str] = _POSTS, rate: int = RATE
) -> AsyncIterator[Load]:
    """Send `rate` requests a second to a service at an address; `options` are the generator's."""
    url = f"{spec.name}=http://{address}:{spec.workload.ports[0].published}/"
    async with sending(rig, ("--url", url, "--rate", str(rate), *options)) as one:
        yield one


@asynccontextmanager
async def sending(
    rig: Rig, options: Sequence[str], before: Sequence[str] = ()
) -> AsyncIterator[Load]:
    """Send requests as `options` say, once the first was answered.

    Args:
        rig: whose client sends.
        options: of the load generator.
        before: a command that becomes the one behind it, such as one that enters a namespace.
    """
    with tempfile.TemporaryDirectory(prefix="hafen-bench-") as name:
        folder = Path(name)
        argv = [
            *(*before, sys.executable, "-m", "deploy.lab.load", *options),
            *("--requests", str(folder / _REQUESTS), "--lives", str(folder / _LIVES)),
        ]
        process = await rig.lab.run_in(CLIENT, argv, stdin=DEVNULL, stdout=PIPE)
        try:
            async with asyncio.TaskGroup() as group:
                one = Load(process, folder)
                reading = group.create_task(one.read())
                if not await rig.until(lambda: bool(one.last_success_s), _LOAD_UP_S):
                    raise HostError(f"no answer: {' '.join(options)}")
                yield one
                reading.cancel()
        finally:
            await end(process)


@asynccontextmanager
async def rig(
    nodes: int,
    name: str,
    *,
    disk_mib: int | None = None,
    images: Sequence[Callable[[Path], str]] = (build_tick,),
    network: NetworkMode = "routed",
) -> AsyncIterator[Rig]:
    """Bring a lab up with some images and observe it; take it down whatever happens."""
    lab = Lab(name)
    await lab.down()
    try:
        labels = {f"node-{n}": MEMBER for n in (1, 2, 3)}
        await lab.up(nodes, disk_mib=disk_mib, labels=labels, network_mode=network)
        await wait_ready(lab, progress=lambda _: None)
        with tempfile.TemporaryDirectory() as folder:
            for number, build in enumerate(images):
                archive = Path(folder) / f"{number}.tar"
                build(archive)
                await lab.load(archive)
        with Witness(lab) as witness:
            one = Rig(lab, witness)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one.observe()), group.create_task(witness.watch())]
                yield one
                for task in tasks:
                    task.cancel()
    finally:
        await lab.down()
