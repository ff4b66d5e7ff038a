"""A program for tests: supervises some parts, without the checks of a whole host.

`supervised.py parts JSON RUN_DIR` runs the parts of a JSON list; `supervised.py etcd CONFIG` runs
only the etcd member that a host's settings ask for.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from deploy.host.parts import Part, parts_of
from deploy.host.supervise import only_one, supervise
from shared import settings as settings_file
from shared.errors import HafenError


async def run(run_dir: Path, parts: Sequence[Part]) -> None:
    with only_one(run_dir):
        await supervise(parts)


def main(arguments: list[str]) -> None:
    if arguments[0] == "parts":
        parts = msgspec.json.decode(arguments[1], type=list[Part])
        asyncio.run(run(Path(arguments[2]), parts))
    else:
        settings = settings_file.load(Path(arguments[1]))
        asyncio.run(run(settings.run_dir, parts_of(settings, Path(arguments[1]))[:1]))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except HafenError as error:
        sys.exit(f"{error}")
