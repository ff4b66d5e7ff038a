"""Runtimes to hold to the contract: the fake, and the real one in its sandbox."""

import asyncio
import itertools
import math
import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, Protocol

import msgspec

from deploy.lab.images import build_whoami
from node_agent.network.network import ContainerNetwork
from node_agent.oci import mounts
from node_agent.oci.images import load_image
from node_agent.oci.runtime import OciRuntime, Options
from node_agent.runtime import Container, Phase, Runtime
from shared.clock import SystemClock
from shared.model import AllocId, Assignment, ServiceName, StackName, Workload
from tests.contract.host_sandbox import CGROUP_PARENT, BareNetwork, sandbox
from tests.fakes.runtime import Behaviour, FakeRuntime, Timings

IMAGE: Final = "hafen.local/whoami:1"
# Nobody listens there, and nothing leaves this machine.
UNKNOWN_IMAGE: Final = "127.0.0.1:1/none:1"
WITHIN_S: Final = 10.0
_NUMBERS: Final = itertools.count(1)


def assignment(workload: Workload | None = None, epoch: int = 0) -> Assignment:
    number = next(_NUMBERS)
    return Assignment(
        id=AllocId(f"test.web.{number}.k3f9x2"),
        stack=StackName("test"),
        service=ServiceName("web"),
        slot=number,
        generation=1,
        workload=workload or Workload(image=IMAGE),
        epoch=epoch,
    )


def shell(text: str, **more: object) -> Workload:
    """Return a workload that runs a shell script."""
    plain = Workload(image=IMAGE, command=("/bin/sh", "-c", text))
    return msgspec.structs.replace(plain, **more)


class Bench(Protocol):
    """A runtime under test, and what a test does to it behind its back."""

    runtime: Runtime

    def plan(self, behaviour: Behaviour, *, exclusive: bool = False) -> Assignment:
        """Return an assignment whose program behaves so."""
        ...

    def command(self, behaviour: Behaviour) -> tuple[str, ...]:
        """Return a command that ends as the behaviour says of commands."""
        ...

    def kill(self, id_: AllocId) -> None:
        """Let SIGKILL hit the container's first process."""
        ...

    def restart_agent(self) -> None:
        """Forget all that the runtime has in memory."""
        ...

    def full(self) -> AbstractContextManager[None]:
        """Leave no room on the disk meanwhile; a real one's must be small, see `small_ground`."""
        ...


class FakeBench:
    """The fake."""

    def __init__(self) -> None:
        self._behaviours: dict[AllocId, Behaviour] = {}
        self.fake = FakeRuntime(
            SystemClock(),
            known=[IMAGE],
            behaviour=lambda assignment: self._behaviours[assignment.id],
            timings=Timings(pull_s=0.001, create_s=0.01, start_s=0.001, remove_s=0.001),
        )
        self.runtime: Runtime = self.fake

    def plan(self, behaviour: Behaviour, *, exclusive: bool = False) -> Assignment:
        planned = assignment(Workload(image=IMAGE, exclusive=exclusive))
        self._behaviours[planned.id] = behaviour
        return planned

    def command(self, behaviour: Behaviour) -> tuple[str, ...]:
        return (behaviour.exec_output,)

    def kill(self, id_: AllocId) -> None:
        self.fake.crash(id_, 128 + signal.SIGKILL)

    def restart_agent(self) -> None:
        self.fake.agent_crash()

    @contextmanager
    def full(self) -> Iterator[None]:
        self.fake.is_full = True
        try:
            yield
        finally:
            self.fake.is_full = False


class OciBench:
    """The real one; its containers are removed afterwards."""

    def __init__(self, directory: Path, network: ContainerNetwork | None = None) -> None:
        self.directory = directory
        self.network = network or BareNetwork(directory / "netns")
        self.oci = self.fresh()
        self.runtime: Runtime = self.oci

    def fresh(self, options: Options | None = None) -> OciRuntime:
        """Return a runtime that knows nothing yet, as after a start of the agent."""
        return OciRuntime(
            self.directory / "data",
            self.directory / "run",
            self.network,
            SystemClock(),
            options or Options(cgroup_parent=CGROUP_PARENT),
        )

    def plan(self, behaviour: Behaviour, *, exclusive: bool = False) -> Assignment:
        lines = "".join(f"echo '{line}'; " for line in behaviour.output)
        trap = "''" if behaviour.stops_after_s == math.inf else f"'exit {behaviour.exit_code}'"
        sleep_s = 100_000 if behaviour.ends_after_s == math.inf else behaviour.ends_after_s
        text = f"trap {trap} TERM; {lines}sleep {sleep_s} & wait; exit {behaviour.exit_code}"
        return assignment(shell(text, exclusive=exclusive))

    def command(self, behaviour: Behaviour) -> tuple[str, ...]:
        text = f"sleep {behaviour.exec_s}; echo '{behaviour.exec_output.rstrip()}'"
        return ("sh", "-c", f"{text}; exit {behaviour.exec_code}")

    def kill(self, id_: AllocId) -> None:
        os.kill(self.pid(id_), signal.SIGKILL)

    def pid(self, id_: AllocId) -> int:
        """Return the container's first process, by conmon's pid file."""
        return int((self.directory / "run" / "containers" / id_ / "pid").read_text())

    def restart_agent(self) -> None:
        self.oci.close()
        self.oci = self.fresh()
        self.runtime = self.oci

    def full(self) -> AbstractContextManager[None]:
        return full(self.directory / "data")

    async def clean(self) -> None:
        """Remove every container."""
        for container in await self.oci.list():
            await self.oci.remove(container.id)
        self.oci.close()


@contextmanager
def ground() -> Iterator[Path]:
    """Give a directory for real runtimes, in the sandbox."""
    with sandbox(), tempfile.TemporaryDirectory(prefix="hafen-test-") as name:
        for part in ("netns", "data", "run"):
            Path(name, part).mkdir()
        yield Path(name)


@contextmanager
def small_ground() -> Iterator[Path]:
    """Give such a directory whose parts `data` and `run` are file systems of their own, of 64 MiB.

    In memory: nothing of the machine's disk can be full by it.
    """
    with ground() as directory:
        parts = [directory / part for part in ("data", "run")]
        for part in parts:
            argv = ("mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "small", part)
            subprocess.run(argv, check=True)
        try:
            yield directory
        finally:
            for part in parts:
                mounts.unmount(part)


@contextmanager
def full(directory: Path) -> Iterator[None]:
    """Take all the room of a file system."""
    ballast, room = directory / "ballast", os.statvfs(directory)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize)
    try:
        yield
    finally:
        ballast.unlink()


@asynccontextmanager
async def oci_bench(
    directory: Path, network: ContainerNetwork | None = None
) -> AsyncGenerator[OciBench, None]:
    """Give a real runtime that has the image; without more, on a network that leads nowhere."""
    bench = OciBench(directory, network)
    try:
        if not await bench.runtime.has_image(IMAGE):
            archive = directory / "whoami.tar"
            build_whoami(archive)
            assert await load_image(directory / "data", archive) == IMAGE
        yield bench
    finally:
        await bench.clean()


@asynccontextmanager
async def any_bench(directory: Path | None) -> AsyncGenerator[Bench, None]:
    """Give a runtime that has the image: the fake, or with a directory a real one."""
    if directory is None:
        fake = FakeBench()
        await fake.runtime.pull(IMAGE)
        yield fake
        return
    async with oci_bench(directory) as real:
        yield real


async def only(bench: Bench) -> Container:
    """Return the bench's only container."""
    (container,) = await bench.runtime.list()
    return container


async def ended(bench: Bench) -> Container:
    """Wait for the only container's exit by being told of it."""
    heard = asyncio.Event()
    bench.runtime.on_exit(heard.set)
    if (await only(bench)).phase is not Phase.EXITED:
        async with asyncio.timeout(WITHIN_S):
            await heard.wait()
    return await only(bench)


async def said(bench: Bench, id_: AllocId, text: str) -> None:
    """Wait until the program has written a line: then it listens to signals, too."""
    async with asyncio.timeout(WITHIN_S):
        async with aclosing(bench.runtime.logs(id_, follow=True, tail=None)) as lines:
            async for line in lines:
                if line.text == text:
                    return
