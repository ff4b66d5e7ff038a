"""Balancing in the kernel: how soon a change is in force, and what the way through it costs."""

import tempfile
from typing import Any

from bench.apart import apart


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
        return await apart("services_inside", what, folder)
