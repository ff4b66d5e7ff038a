"""Runs the part of a benchmark that needs namespaces of its own."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]


async def apart(module: str, *words: str, isolation: tuple[str, ...] = ()) -> dict[str, Any]:
    """Run `python -m bench.<module> <words>`; return its last line, decoded from JSON.

    Args:
        module: has the part.
        words: its arguments.
        isolation: more of `unshare` than a network and mounts of its own.

    Raises:
        RuntimeError: it ended with another code than 0.
    """
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--net", "--mount", "--propagation", "private", *isolation),
        *(sys.executable, "-m", f"bench.{module}", *words),
        cwd=_ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    if process.returncode != 0:
        named = " ".join((f"bench.{module}", *words))
        raise RuntimeError(f"{named} ended with {process.returncode}")
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found
