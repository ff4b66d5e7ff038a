"""Where the things of one container are, and the record that says it is whole.

    data_dir/containers/<id>/container.json   the record, written last: without it the container is
                                              half-made, and the next pass removes it
                             upper/, work/    what the container wrote; survives its restarts
                             log, exit/<id>   written by conmon
                             hosts, ...       mounted into it
                             configs/         mounted into it, too; see node_agent.oci.contents
                             volumes/<n>/     those of its volumes that have no name
    run_dir/containers/<id>/                  of this boot only: bundle, pid files, mount points
    run_dir/secrets/<id>/                     mounted into it; never on the disk

Nothing here is synced to the disk on purpose: what a power cut tears is found half-made afterwards,
and its processes are gone anyway.
"""

import base64
import os
import shutil
from pathlib import Path
from typing import Final

import msgspec

from node_agent.oci import mounts
from shared.files import naming
from shared.model import AllocId, Assignment

_PRIVATE: Final = 0o700
_RECORD: Final = "container.json"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A whole container.

    Attributes:
        run: which process of this container was made last, from 1. It counts as started when the
            runtime's fifo that holds it back is gone.
        pid: of that process, as this node's kernel counts; conmon_pid its keeper's.
        fuse_pid: of the fuse's timer, fuse_init_pid of process 1 in its namespace; 0 unless
            exclusive.
        digest: of the image: its name may come to mean another one. Empty: made before this was
            noted.
        devices: the generic devices that it has.
    """

    assignment: Assignment
    address: str
    stop_signal: int
    run: int
    pid: int
    conmon_pid: int
    fuse_pid: int = 0
    fuse_init_pid: int = 0
    digest: str = ""
    devices: tuple[str, ...] = ()


class Files(msgspec.Struct, frozen=True):
    """The paths of one container.

    `runtime_root` is where crun or runc keeps its own state, `secrets` where its secrets are.
    """

    id: AllocId
    data: Path
    bundle: Path
    runtime_root: Path
    secrets: Path

    @property
    def record(self) -> Path:
        """Return the record's file."""
        return self.data / _RECORD

    @property
    def log(self) -> Path:
        """Return conmon's log of the container's output."""
        return self.data / "log"

    @property
    def exit_dir(self) -> Path:
        """Return the directory where conmon leaves the exit code."""
        return self.data / "exit"

    @property
    def exit_file(self) -> Path:
        """Return the file with the exit code of the last run."""
        return self.exit_dir / self.id

    @property
    def rootfs(self) -> Path:
        """Return the mount point of the container's root file system."""
        return self.bundle / "rootfs"

    @property
    def config(self) -> Path:
        """Return the bundle's config.json."""
        return self.bundle / "config.json"

    @property
    def pid_file(self) -> Path:
        """Return the file with the process id of the container's first process."""
        return self.bundle / "pid"

    @property
    def conmon_pid_file(self) -> Path:
        """Return the file with conmon's process id."""
        return self.bundle / "conmon.pid"

    @property
    def state(self) -> Path:
        """Return the directory that crun or runc keeps for this container."""
        return self.runtime_root / self.id

    @property
    def epoch(self) -> Path:
        """Return the file with the epoch of an exclusive container."""
        return self.data / "epoch"

    def volume(self, number: int) -> Path:
        """Return the home of a volume without a name; `number` counts the workload's mounts."""
        return self.data / "volumes" / str(number)

    def pin(self, number: int) -> Path:
        """Return where we mount a part of a volume, to be mounted from there."""
        return self.bundle / "pins" / str(number)

    @property
    def is_held_back(self) -> bool:
        """Say whether the process was made but not started: it waits at the runtime's fifo."""
        return (self.state / "exec.fifo").exists()

    def compiled_seccomp(self) -> str:
        """Return the system call filter that crun compiled for this container, in base64, or ""."""
        try:
            return base64.b64encode((self.state / "seccomp.bpf").read_bytes()).decode()
        except FileNotFoundError:  # runc keeps none
            return ""

    def exit_code(self) -> int | None:
        """Return the exit code that conmon wrote for the last run, or None."""
        try:
            text = self.exit_file.read_text().strip()
        except FileNotFoundError:
            return None
        return int(text) if text.isdigit() else None

    def prepare(self, lower: Path) -> None:
        """Make the directories; `lower` is the image's root file system."""
        for directory in (self.data, self.bundle, self.exit_dir, self.data / "work", self.rootfs):
            directory.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        upper = self.data / "upper"
        if not upper.exists():
            # The container sees this directory's owner and mode as those of its "/": with ours, a
            # process that is not root could not even look for its program.
            like = lower.stat()
            upper.mkdir()
            os.chown(upper, like.st_uid, like.st_gid)
            upper.chmod(like.st_mode & 0o7777)

    def write_epoch(self, epoch: int) -> None:
        """Write the file that tells an exclusive container its epoch."""
        write_file(self.epoch, f"{epoch}\n".encode(), 0o644)

    def write_config(self, config: bytes) -> None:
        """Write the bundle's config.json. The environment may hold secrets: for root only."""
        write_file(self.config, config, 0o600)

    def write_names(self, name: str, hosts: str, resolv_conf: str) -> None:
        """Write the files that are mounted into /etc; every user in the container may read them."""
        write_file(self.data / "hosts", hosts.encode(), 0o644)
        write_file(self.data / "hostname", f"{name}\n".encode(), 0o644)
        write_file(self.data / "resolv.conf", resolv_conf.encode(), 0o644)

    def read(self) -> Record | None:
        """Return the record, or None of a container that is half-made or not there."""
        return read_record(self.data)

    def write(self, record: Record) -> None:
        """Declare the container whole."""
        fresh = self.data / "container.json.new"
        write_file(fresh, msgspec.json.encode(record), 0o600)
        fresh.rename(self.record)

    def delete_run(self) -> None:
        """Delete what belongs to one boot. Nothing may be mounted below it: asserted."""
        assert not mounts.below(self.bundle), f"something is still mounted below {self.bundle}"
        for directory in (self.bundle, self.state):
            shutil.rmtree(directory, ignore_errors=True)

    def delete_data(self) -> None:
        """Delete what the container wrote, its log included."""
        shutil.rmtree(self.data, ignore_errors=True)


def read_record(data: Path) -> Record | None:
    """Return the record in a container's data directory, or None."""
    try:
        return msgspec.json.decode((data / _RECORD).read_bytes(), type=Record)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write_file(file: Path, content: bytes, mode: int) -> None:
    """Replace the file in place, so that a mount of it keeps showing what it says now."""
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with naming(file), open(fd, "wb") as stream:  # noqa: PTH123 - not a path: the mode counts
        stream.write(content)
        os.fchmod(fd, mode)
