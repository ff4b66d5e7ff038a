"""What was promised outlives the agent; what cannot be read is never taken for no promise."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.peers.promise import PromiseFile
from shared.errors import HostError


def test_who_promised_nothing_is_bound_by_nothing(tmp_path: Path) -> None:
    assert PromiseFile(tmp_path).read() == 0.0


@given(until_boot_s=st.floats(0.0, 1e9))
def test_another_life_of_the_agent_reads_the_same_moment(
    tmp_path_factory: pytest.TempPathFactory, until_boot_s: float
) -> None:
    folder = tmp_path_factory.mktemp("run")
    PromiseFile(folder).write(1.0)
    PromiseFile(folder).write(until_boot_s)
    assert PromiseFile(folder).read() == until_boot_s


@pytest.mark.parametrize("garbled", [b"", b"soon\n", b"\xff\xfe"])
def test_a_garbled_file_is_an_error_that_names_it(tmp_path: Path, garbled: bytes) -> None:
    PromiseFile(tmp_path).write(5.0)
    (file,) = tmp_path.iterdir()
    file.write_bytes(garbled)
    with pytest.raises(HostError, match=f"{file}: .*; remove it if no peer waits for us"):
        PromiseFile(tmp_path).read()


@pytest.mark.parametrize("garbled", ["nan", "inf", "-1"])
def test_a_moment_that_is_none_is_an_error_too(tmp_path: Path, garbled: str) -> None:
    PromiseFile(tmp_path).write(5.0)
    (file,) = tmp_path.iterdir()
    file.write_text(garbled)
    with pytest.raises(HostError, match="remove it"):
        PromiseFile(tmp_path).read()
