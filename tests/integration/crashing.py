"""A program for tests: brings a lab up and kills itself after so many steps.

`crashing.py LAB STEPS`; with more steps than there are it says that it survived.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

# What `up` imports while it runs is imported here once, see tests/forked.py.
import deploy.host.certificates  # noqa: F401
from deploy.lab import command, hosts
from deploy.lab.lab import Lab

P = ParamSpec("P")
T = TypeVar("T")


class Fuse:
    """Ends this process, as a crash does, when its steps are used up."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def step(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Return the function, counted as a step."""

        async def counted(*args: P.args, **kwargs: P.kwargs) -> T:
            result = await function(*args, **kwargs)
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return counted


def main(lab: str, steps: str) -> None:
    fuse = Fuse(int(steps))
    for owner, name in ((command, "run"), (hosts, "power_on"), (hosts.Starting, "go")):
        setattr(owner, name, fuse.step(getattr(owner, name)))
    asyncio.run(Lab(lab).up(2, program=("sleep", "600")))
    sys.stdout.write("survived\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
