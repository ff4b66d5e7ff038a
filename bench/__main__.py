"""`python -m bench [NAME...]`: runs benchmarks and writes bench/out/NAME.json, one file each.

Each file has the command, the machine's load before and after, the number of runs and the figures.
Nothing here passes or fails: speed is measured, never asserted.
"""

import asyncio
import json
import os
import platform
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from bench import gateway, names, peers, place, services, start, steady, store, whole

Figures = dict[str, Any]
BENCHMARKS: Final[dict[str, Callable[[], Coroutine[Any, Any, Figures]]]] = {
    "gateway": gateway.run,
    "names": names.run,
    "peers": peers.run,
    "place": place.run,
    "services": services.run,
    "store": store.run,
    "start": start.run,
    "steady": steady.run,
    "whole": whole.run,
}
OUT: Final = Path(__file__).parent / "out"


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all; return the exit code."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {unknown[0]}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    OUT.mkdir(parents=True, exist_ok=True)
    for name in names or BENCHMARKS:
        before = os.getloadavg()[0]
        figures = asyncio.run(BENCHMARKS[name]())
        record = {
            "name": name,
            "command": f"python -m bench {name}",
            "load": {"before": before, "after": os.getloadavg()[0], "cores": os.cpu_count()},
            "machine": f"{platform.platform()}, Python {platform.python_version()}",
            **figures,
        }
        path = OUT / f"{name}.json"
        path.write_text(json.dumps(record, indent=2) + "\n")
        print(f"{name}: {json.dumps(figures)}")
        print(f"  -> bench/out/{path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
