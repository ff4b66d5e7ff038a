"""Configs and secrets as files of one container: secrets in memory only.

    data_dir/containers/<id>/configs/<n>     a config; n counts the workload's files
    run_dir/secrets/<id>/<n>                 a secret

They stay while the container does: it can be started again without anybody to ask. A reboot empties
run_dir, and with it the secrets; then they are given anew.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from node_agent.oci.files import Files, write_file
from shared.errors import RuntimeFailureError
from shared.model import MountedFile

_PRIVATE: Final = 0o700
_MODE_MAX: Final = 0o7777


def paths(files: Files, wanted: Sequence[MountedFile]) -> tuple[str, ...]:
    """Return where each file is."""
    return tuple(str(_path(files, number, each)) for number, each in enumerate(wanted))


def are_there(files: Files, wanted: Sequence[MountedFile]) -> bool:
    """Say whether all files are there."""
    return all(Path(path).exists() for path in paths(files, wanted))


def write(files: Files, wanted: Sequence[MountedFile], contents: Mapping[str, bytes]) -> None:
    """Write all files, each with its owner and mode.

    Raises:
        RuntimeFailureError: a content was not given, or an owner is no number.
    """
    for number, each in enumerate(wanted):
        if each.content not in contents:
            raise RuntimeFailureError(f"{each.target}: its content {each.content} was not given")
        path = _path(files, number, each)
        path.parent.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        owner = (_id(each.uid, each.target), _id(each.gid, each.target))
        write_file(path, contents[each.content], each.mode & _MODE_MAX)
        os.chown(path, *owner)
        # The kernel takes setuid bits away from what changes its owner.
        path.chmod(each.mode & _MODE_MAX)


def forget(files: Files) -> None:
    """Remove the secrets; configs go with the container's data."""
    shutil.rmtree(files.secrets, ignore_errors=True)


def _path(files: Files, number: int, each: MountedFile) -> Path:
    return (files.secrets if each.is_secret else files.data / "configs") / str(number)


def _id(text: str, target: str) -> int:
    if text and not (text.isascii() and text.isdigit()):
        raise RuntimeFailureError(f"{target}: owner {text!r} is not in digits")
    return int(text or "0")
