"""What programs start without: each of these costs a tenth of a second, or some MB for good."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("scheduler.__main__", {"acme", "josepy", "pygments", "requests", "OpenSSL"}),
        ("node_agent.__main__", {"cryptography", "dns.message", "pygments"}),
        ("node_agent.names.__main__", {"aiohttp", "cryptography", "grpc", "pygments", "pyroute2"}),
        ("deploy.host.__main__", {"aiohttp", "click", "grpc", "pygments", "pyroute2"}),
        ("deploy.cli.lab", {"aiohttp", "cryptography", "rich", "ruamel"}),
    ],
)
def test_a_program_starts_without_what_it_may_never_need(module: str, unwanted: set[str]) -> None:
    program = f"import sys, {module}; print(*sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.split()) & unwanted == set()
