"""The way through a gateway, against HAProxy by itself and against none, in one run."""

import tempfile
from typing import Any

from bench.apart import apart


async def run() -> dict[str, Any]:
    """Return requests a second and CPU per request, measured in a namespace of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return await apart("gateway_inside", folder)
