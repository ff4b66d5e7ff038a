"""A program of its own: becomes process 1 of a virtual host.

Run as `python -I -S init.py` with a job (JSON, one line) on standard input; it must not import
anything of ours. It answers on standard output: first the pid of the host's process 1, then "ok",
when the line "go" has come (the host's network card is in place by then) and the host is set up. If
whoever started it dies before "go", there is nobody left to own a host, and it ends.

The job: hostname; address (with prefix); leave: mount points of others to let go of; binds:
[source, target] pairs; run: what to have at /run; staging: an empty directory, keep: paths under
/tmp that must stay visible; cgroups: directories to be in, leaf: the name of a child of them for
the host's own processes (version 2 only); cgroup_mounts: [name, file system, options]; argv: what
process 1 becomes.
"""

import ctypes
import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

# From the kernel's sched.h and mount.h: mount, cgroup, uts, ipc, pid and network namespaces.
NEW_NAMESPACES: Final = 0x20000 | 0x2000000 | 0x4000000 | 0x8000000 | 0x20000000 | 0x40000000
NO_SUID, NO_DEV, NO_EXEC = 2, 4, 8
BIND, MOVE, RECURSIVE, SLAVE = 4096, 8192, 16384, 1 << 19
DETACH: Final = 2
CGROUP_ROOT: Final = Path("/sys/fs/cgroup")
SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - the host gets its own, that is the point
TMP: Final = "/tmp"  # noqa: S108 - the host gets its own, that is the point

_libc = ctypes.CDLL(None, use_errno=True)

Job = dict[str, Any]  # what JSON gives; its shape is said above


def main() -> int:
    """Leave the machine's namespaces, fork process 1 of the new ones, name it and end."""
    job: Job = json.loads(sys.stdin.readline())
    os.setsid()
    for directory in job["cgroups"]:
        join(directory)
    # The new cgroup namespace has the host's directory as its root, so this comes after joining.
    _check(_libc.unshare(NEW_NAMESPACES), "unshare")
    if job["leaf"]:
        step_down(job["cgroups"], job["leaf"])
    pid = os.fork()
    if pid == 0:
        become_host(job)
    answer(str(pid))
    return 0


def become_host(job: Job) -> NoReturn:
    """Set the host up from inside and become its init program."""
    socket.sethostname(job["hostname"])
    make_mounts(job)
    if sys.stdin.readline() != "go\n":
        raise SystemExit("nobody wants this host any more")
    set_network(job["address"])
    answer("ok")
    # Closed by the kernel when process 1 becomes its init program: whoever waits reads the end
    # then, and nothing but "ok" before it.
    waiting = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    os.chdir("/")
    try:
        os.execvp(job["argv"][0], job["argv"])  # noqa: S606 - no shell has a part in it
    except BaseException:
        os.write(waiting, b"failed\n")
        raise


def make_mounts(job: Job) -> None:
    """Give the host a view of the files in which what must differ between hosts is its own."""
    # What the machine unmounts later is unmounted here too; what is mounted here stays here.
    mount("none", "/", flags=RECURSIVE | SLAVE)
    for path in job["leave"]:
        # Else this host would keep other labs' file systems and namespaces alive.
        let_go(path)
    for path in ("/proc", "/sys", SHARED_MEMORY):
        # Not merely covered: programs that read the list of mounts would find the machine's first.
        let_go(path)
    mount("proc", "/proc", "proc", NO_SUID | NO_DEV | NO_EXEC)
    mount("sysfs", "/sys", "sysfs", NO_SUID | NO_DEV | NO_EXEC)
    make_cgroup_mounts(job["cgroup_mounts"])
    mount("tmpfs", SHARED_MEMORY, "tmpfs", NO_SUID | NO_DEV)
    if Path("/dev/mqueue").is_dir():
        mount("mqueue", "/dev/mqueue", "mqueue", NO_SUID | NO_DEV | NO_EXEC)
    for source, target in job["binds"]:
        mount(source, target, flags=BIND)
    make_tmp(job["staging"], job["keep"])
    # Last: the paths of the others lie under the machine's /run.
    mount(job["run"], "/run", flags=BIND)


def let_go(path: str) -> None:
    """Unmount all that is mounted at `path`, with all below it."""
    while _libc.umount2(path.encode(), DETACH) == 0:
        pass  # mounts pile up: there may be another under it
    # EINVAL: nothing is mounted there any more. ENOENT: another lab that is just going down had it.
    if ctypes.get_errno() not in {errno.EINVAL, errno.ENOENT}:
        _check(-1, f"umount {path}")


def make_cgroup_mounts(mounts: list[list[str]]) -> None:
    """Mount the hierarchies; each shows the host's own directory as its root."""
    if len(mounts) == 1 and mounts[0][1] == "cgroup2":
        mount("cgroup2", str(CGROUP_ROOT), "cgroup2", NO_SUID | NO_DEV | NO_EXEC)
        return
    mount("tmpfs", str(CGROUP_ROOT), "tmpfs", NO_SUID | NO_DEV | NO_EXEC, "mode=755")
    for name, kind, options in mounts:
        path = CGROUP_ROOT / name
        path.mkdir()
        mount("cgroup", str(path), kind, NO_SUID | NO_DEV | NO_EXEC, options)
        # "cpu,cpuacct" is also looked for as "cpu".
        for alias in name.split(","):
            if alias != name:
                (CGROUP_ROOT / alias).symlink_to(name)


def make_tmp(staging: str, keep: list[str]) -> None:
    """Give the host an empty /tmp in which only the paths to keep can be seen."""
    mount("tmpfs", staging, "tmpfs", NO_SUID | NO_DEV, "mode=1777")
    for path in keep:
        inside = Path(staging, path.removeprefix(TMP).lstrip("/"))
        inside.mkdir(parents=True, exist_ok=True)
        mount(path, str(inside), flags=BIND | RECURSIVE)
    mount(staging, TMP, flags=MOVE)


def set_network(address: str) -> None:
    """Bring the host's card up. There is no default route: nothing may leave the switch."""
    commands = f"link set lo up\naddress add {address} dev eth0\nlink set eth0 up\n"
    subprocess.run(["ip", "-batch", "-"], input=commands.encode(), check=True)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="ascii")


def step_down(directories: list[str], leaf: str) -> None:
    """Move into a leaf, so that the directories may hand controllers to the host's cgroups."""
    for directory in map(Path, directories):
        (directory / leaf).mkdir(exist_ok=True)
        join(str(directory / leaf))
        names = (directory / "cgroup.controllers").read_text(encoding="ascii").split()
        control = " ".join(f"+{name}" for name in names)
        (directory / "cgroup.subtree_control").write_text(control, encoding="ascii")


def join(directory: str) -> None:
    """Move this process into a cgroup."""
    Path(directory, "cgroup.procs").write_text("0", encoding="ascii")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount `source` on `target`, as the system call does.

    Raises:
        OSError: the kernel's answer, with both paths.
    """
    done = _libc.mount(
        source.encode(), target.encode(), kind.encode() or None, flags, options.encode() or None
    )
    _check(done, f"mount {source} on {target}")


def answer(line: str) -> None:
    """Tell whoever started this how far it is."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    sys.exit(main())
