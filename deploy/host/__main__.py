"""`python -m deploy.host --config FILE`: `hafen serve` without the rest of the command line.

The lab and the systemd unit start hosts with it: it imports little, so a host is up sooner.
"""

import argparse
import asyncio
import sys
from pathlib import Path

import shared.without_rich  # noqa: F401 - before structlog is imported

# isort: split
from deploy.host.supervise import run_host
from shared.errors import HafenError
from shared.settings import DEFAULT_PATH


def main() -> int:
    """Run the host; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.host", description="run this host")
    parser.add_argument("--config", type=Path, default=DEFAULT_PATH, help="the host's settings")
    config: Path = parser.parse_args().config
    try:
        asyncio.run(run_host(config))
    except HafenError as error:
        sys.stderr.write(f"hafen: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
