"""How long a container waits for a name that is known, and how many a node can give."""

from typing import Any

from bench.apart import apart


async def run() -> dict[str, Any]:
    """Return microseconds per answer, answers a second, CPU and memory of the name server."""
    alone = ("--pid", "--fork", "--kill-child", "--mount-proc")
    return await apart("names_inside", isolation=alone)
