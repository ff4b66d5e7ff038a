"""Balancing in the kernel: how soon a change is in force, and what the way through it costs."""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]


async def run() -> dict[str, Any]:
    """Return the figures of both, measured in namespaces of their own; needs wrk and root."""
    return {
        "runs": 1,
        "figures": {
            "500 services x 10 replicas": await _inside("changes"),
            "through a virtual address": await _inside("way"),
        },
    }


async def _inside(what: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            *("unshare", "--net", "--mount", "--propagation", "private"),
            *(sys.executable, "-m", "bench.services_inside", what, folder),
            cwd=_ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"bench.services_inside {what} ended with {process.returncode}")
    found: dict[str, Any] = json.loads(out)
    return found
