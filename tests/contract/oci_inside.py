"""Looking at a container of the real runtime from inside."""

from collections.abc import Mapping
from pathlib import Path

from node_agent.runtime import NO_CONTENTS, Phase
from shared.model import AllocId, Workload
from tests.contract.runtimes import IMAGE, WITHIN_S, OciBench, assignment, shell
from tests.waiting import until

SLEEP = "sleep 1000"


async def run(
    bench: OciBench, workload: Workload, given: Mapping[str, bytes] = NO_CONTENTS
) -> AllocId:
    """Create and start a container; return its id."""
    planned = assignment(workload)
    await bench.oci.create(planned, given)
    await bench.oci.start(planned.id)
    return planned.id


async def sleeping(bench: OciBench, **more: object) -> AllocId:
    """Run a container that only sleeps, with more in its workload."""
    return await run(bench, shell(SLEEP, **more))


async def inside(bench: OciBench, id_: AllocId, text: str) -> str:
    """Return what a shell in the container says."""
    return (await bench.oci.exec(id_, ("/bin/sh", "-c", text), WITHIN_S)).output


async def written(bench: OciBench, id_: AllocId) -> list[str]:
    """Return the container's log."""
    return [line.text async for line in bench.oci.logs(id_, follow=False, tail=None)]


async def exited(bench: OciBench, id_: AllocId) -> None:
    """Wait for the exit code, which conmon writes."""
    file = bench.directory / "data" / "containers" / id_ / "exit" / id_
    await until(file.exists, WITHIN_S)
    (container,) = [one for one in await bench.oci.list() if one.id == id_]
    assert container.phase is Phase.EXITED


async def output(bench: OciBench, workload: Workload) -> list[str]:
    """Return what a container that ends by itself has written."""
    id_ = await run(bench, workload)
    await exited(bench, id_)
    return await written(bench, id_)


def lower(bench: OciBench, image: str = IMAGE) -> Path:
    """Return the root file system of an image, for a test to put something there."""
    images = bench.oci._images  # noqa: SLF001 - an image that the archive's builder cannot make
    found = images.find(image)
    assert found is not None
    return images.rootfs(found)
