"""What test_oci_network.py runs as a process: containers of the real runtime on a real network."""

import asyncio
import sys
from pathlib import Path

from tests.contract.network_cases import kernel, network, reaches
from tests.contract.oci_inside import sleeping
from tests.contract.runtimes import ground, oci_bench


async def who_is_made_is_on_its_network(place: Path, run_dir: Path) -> None:
    """No more than making it: the next look at the whole may be seconds away."""
    net = network(run_dir)
    await net.set_up()
    async with oci_bench(place, net) as bench:
        first, second = [await net.find(await sleeping(bench)) for _ in range(2)]
        assert first is not None
        assert second is not None
        assert reaches(first, second.address)
        assert reaches(second, first.address)


if __name__ == "__main__":
    kernel(lambda ip: ip.link("set", index=1, state="up"))
    with ground() as ground_:
        asyncio.run(who_is_made_is_on_its_network(ground_, Path(sys.argv[1])))
