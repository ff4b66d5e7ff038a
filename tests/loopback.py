"""Loopback addresses that no other worker listens at: its own files run one after the other."""

import os


def own(number: int) -> str:
    """Return the address of a worker's first, second, ... host."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return f"127.84.{worker}.{number}"
