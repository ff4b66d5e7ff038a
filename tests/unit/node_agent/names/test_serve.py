"""How a name server's process begins."""

import subprocess
import sys
from pathlib import Path

import pytest

from node_agent.names.serve import alone
from shared.errors import HostError


def test_of_two_that_begin_one_waits_for_the_other(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with alone(path), pytest.raises(HostError, match="held by a name server"), alone(path, 0.0):
        pytest.fail("two began at once")
    with alone(path, 0.0):
        pass


UNABLE_TO_IMPORT = """
import dns.message, dns.rrset, sys
from node_agent.names.forward import _relayed
from node_agent.names.messages import read
from node_agent.names.serve import prepare

prepare()
query = dns.message.make_query("example.com", "MX")
sys.meta_path.clear()
wire = (
    query.to_wire()[:2] + bytes.fromhex("8180 0001 0001 0000 0000") + query.to_wire()[12:]
    + bytes.fromhex("c00c 000f 0001 0000003c 0009 000a 046d61696c c00c")
)
found = _relayed(read(query.to_wire()), dns.message.from_wire(wire), 0)
print(dns.message.from_wire(found).answer[0])
"""


def test_once_it_serves_it_needs_no_file_of_the_library() -> None:
    """Who may not read it would pass on a name as the pointer that it is in another message."""
    done = subprocess.run(
        [sys.executable, "-c", UNABLE_TO_IMPORT], capture_output=True, text=True, check=False
    )
    assert done.stdout == "example.com. 60 IN MX 10 mail.example.com.\n", done.stderr
