"""Commands typed by forks are processes like any other."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import SpecError
from tests.forked import ROOT
from tests.integration.typist import type_
from tests.waiting import until_sync

# Says who types for it, then dies without a word.
DYING = """
import os, pathlib, signal
from tests.integration.typist import type_
type_("version")
print(pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_command_has_its_own_words_folder_and_exit_code(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("name: here\nservices: {web: {image: a}}\n")

    well, wrong = type_("config", folder=tmp_path), type_("config", "--wrong", folder=tmp_path)

    assert (well.returncode, well.stderr) == (0, "")
    assert "name: here" in well.stdout
    assert (wrong.returncode, wrong.stdout) == (SpecError.exit_code, "")
    assert "--wrong" in wrong.stderr


def test_a_command_has_its_own_environment() -> None:
    done = type_("ps", environment={**os.environ, "HAFEN_HOST": "unix:/nowhere/api.sock"})

    assert "nothing answers at /nowhere/api.sock" in done.stderr
    assert "/nowhere" not in type_("ps").stderr


def test_a_command_that_hangs_is_given_up_and_others_come_after_it(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "api.sock"))
        silent.listen()
        where = {**os.environ, "HAFEN_HOST": f"unix:{tmp_path}/api.sock"}
        with pytest.raises(subprocess.TimeoutExpired):
            type_("ps", environment=where, within_s=0.2)

    assert type_("version").returncode == 0


def test_nobody_types_for_tests_that_were_killed() -> None:
    died = subprocess.run(
        [sys.executable, "-c", DYING], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    (typist,) = died.stdout.split()

    until_sync(lambda: not Path("/proc", typist).exists(), 10)
