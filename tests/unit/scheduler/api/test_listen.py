"""The unix socket: private, replaced when dead, respected when alive."""

import socket
import stat
from pathlib import Path

import pytest

from scheduler.api.listen import listening
from shared.errors import HostError


def refusal(path: Path) -> str:
    with pytest.raises(HostError) as refused, listening(path):
        pass
    return str(refused.value)


def test_only_its_owner_may_connect_and_it_is_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "run" / "api.sock"
    with listening(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))

    assert list(path.parent.iterdir()) == []


def test_one_that_a_killed_process_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    (tmp_path / "api.sock.new").touch()  # killed while it made one

    with listening(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_one_that_answers_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with listening(path):
        assert refusal(path) == f"another hafen already answers at {path}"
        assert path.exists()


def test_something_else_of_that_name_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    path.write_text("precious")

    assert refusal(path) == f"{path} is there and is no socket; move it away"
    assert path.read_text() == "precious"


def test_a_successors_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with listening(path):
        path.unlink()
        path.write_text("somebody else's")

    assert path.exists()


def test_a_path_that_no_socket_can_have_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 100) / "api.sock"

    assert refusal(path) == f"{path}: the path of a unix socket has at most 103 bytes"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "api.sock"

    assert refusal(path) == f"cannot listen at {path}: File exists"
