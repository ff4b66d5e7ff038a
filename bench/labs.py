"""A lab for one benchmark, and programs run inside its hosts."""

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from deploy.lab.images import build_whoami
from deploy.lab.lab import Lab
from deploy.lab.ready import wait_ready

NAME = "bench"
_HERE = Path(__file__).parent


@asynccontextmanager
async def lab(nodes: int) -> AsyncIterator[Lab]:
    """Bring up a lab with the whoami image; take it down whatever happens."""
    one = Lab(NAME)
    await one.down()
    try:
        await one.up(nodes)
        await wait_ready(one, progress=lambda _: None)
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "whoami.tar"
            build_whoami(archive)
            await one.load(archive)
        yield one
    finally:
        await one.down()


async def inside(one: Lab, node: str, script: str, *words: str) -> Any:
    """Run bench/SCRIPT in a host and return the JSON it prints."""
    process = await one.run_in(
        node,
        [sys.executable, str(_HERE / script), *words],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{script} ended with {process.returncode} in {node}")
    return json.loads(out)
