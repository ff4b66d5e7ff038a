"""From the manifest's write to the first answer, against `crun run` on the same bundle."""

from typing import Any

from bench.labs import inside, lab
from bench.statistics import spread

RUNS = 20


async def run() -> dict[str, Any]:
    """Return milliseconds of both, measured in turns inside one virtual host."""
    async with lab(1) as one:
        taken = await inside(one, "node-1", "start_inside.py", str(RUNS))
    return {
        "runs": RUNS,
        "unit": "ms",
        "figures": {
            "hafen: manifest seen in etcd -> first HTTP answer": spread(taken["hafen"]),
            "hafen: of it, until the agent's report says running": spread(taken["reported"]),
            "crun run, same bundle -> first HTTP answer": spread(taken["crun"]),
        },
    }
