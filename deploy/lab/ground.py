"""What a lab stands on besides its hosts: files, certificates, mounts; and how all is cleared.

`clear` needs no memory: everything is found again by the lab's name. It can be run after a crash at
any point, its own crash included.
"""

import datetime as dt
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from deploy.host.files import write_file
from deploy.host.settings_text import toml
from deploy.lab import cgroups, command, disks, network, record
from deploy.lab.hosts import power_off
from deploy.lab.plan import RUN_ROOT, STATE_ROOT, Host, Paths, hosts_file, settings_of

# A lab is for an afternoon; a year is for the one that was forgotten.
_VALID_DAYS: Final = 365
# Hosts see these as their own; the machine must have the directories for that, if only empty ones.
_MOUNT_POINTS: Final = (Path("/etc/hafen"), Path("/var/lib/hafen"))
_MADE: Final = STATE_ROOT / "mount-points.json"


async def make(paths: Paths, hosts: Sequence[Host], disk_mib: int | None) -> None:
    """Make everything that the hosts are started on; the lab's record must be written already.

    Args:
        paths: of the lab.
        hosts: of the lab.
        disk_mib: the size of every host's disk; None: it shares the machine's.

    Raises:
        HostError: the machine refuses something.
    """
    await _make_mount_points()
    paths.run.mkdir(mode=0o755, parents=True, exist_ok=True)
    await command.run(
        ["mount", "-t", "tmpfs", "-o", "mode=0755,nosuid,nodev", "hafen", str(paths.run)]
    )
    _make_files(paths, tuple(hosts))
    if disk_mib is not None:
        for host in hosts:
            await disks.make(paths, host.name, disk_mib)
    await network.make_dead_end(paths)
    await network.make_switch(paths)


def _make_files(paths: Paths, hosts: tuple[Host, ...]) -> None:
    # Cryptography is slow to import, and every other command of a lab does without.
    from deploy.host.certificates import Authority, write_issued  # noqa: PLC0415
    from shared.seal import KEY_BYTES  # noqa: PLC0415

    now = dt.datetime.now(dt.UTC)
    paths.pki.mkdir(mode=0o700)
    authority = Authority.make(f"hafen lab {paths.lab}", now=now, valid_days=_VALID_DAYS)
    authority.write(paths.pki / "ca.crt", paths.pki / "ca.key")
    secrets_key = secrets.token_bytes(KEY_BYTES)
    operator = authority.issue_operator("operator", now=now, valid_days=_VALID_DAYS)
    write_issued(operator, paths.pki / "operator.crt", paths.pki / "operator.key")
    for host in hosts:
        node, etc = paths.node(host.name), paths.etc(host.name)
        for directory in (node, etc, paths.disk(host.name), node / "tmp"):
            directory.mkdir(mode=0o700)
        paths.node_run(host.name).mkdir(mode=0o755)
        issued = authority.issue_node(host.name, host.address, now=now, valid_days=_VALID_DAYS)
        write_issued(issued, etc / "node.crt", etc / "node.key")
        write_file(etc / "secrets.key", secrets_key, 0o600)
        write_file(etc / "ca.crt", authority.certificate, 0o644)
        write_file(etc / "hafen.toml", toml(settings_of(host, hosts)).encode(), 0o644)
        write_file(node / "hosts", hosts_file(host, hosts).encode(), 0o644)
        write_file(node / "hostname", f"{host.name}\n".encode(), 0o644)
        # No name server: a question that would leave the lab fails at once instead of timing out.
        write_file(node / "resolv.conf", b"", 0o644)


async def clear(paths: Paths) -> None:
    """Remove everything of the lab, running or half-made; idempotent. The lab's lock must be held.

    Raises:
        HostError: something cannot be removed; the next call goes on where this one stopped.
    """
    places = cgroups.find(paths.lab)
    await power_off(None, places, f"lab {paths.lab}")
    cgroups.remove_parents([place.parent for place in places])
    await network.remove_switch(paths)
    while _is_mounted(paths.run):
        # Lazily: a person's shell that stands in there must not keep the lab.
        await command.run(["umount", "--lazy", str(paths.run)])
    _remove_tree(paths.run)
    await network.remove_dead_end(paths)
    await disks.remove(paths)
    _remove_tree(paths.state)
    await _release_mount_points()


def leftovers(name: str) -> list[str]:
    """Return everything of a lab that exists on this machine, one sentence each, sorted by kind.

    Empty after `down`; after a crash it says what the next `up` or `down` will remove.
    """
    paths = Paths(name)
    places = cgroups.find(name)
    found = [f"process {pid}" for pid in sorted(cgroups.processes(places))]
    found += [f"mount {point}" for point in _mounts(paths)]
    found += [
        f"network namespace {name_}"
        for name_ in (paths.switch, paths.client)
        if (Path("/run/netns") / name_).exists()
    ]
    found += [f"route with metric {paths.metric}"] if _has_route(paths) else []
    found += [f"cgroup {place}" for place in places]
    return found + [f"files {path}" for path in (paths.state, paths.run) if path.exists()]


def _mounts(paths: Paths) -> list[str]:
    """Return the lab's mount points in every mount namespace of the machine."""
    wanted = (
        str(paths.run),
        str(paths.state),
        *(f"/run/netns/{n}" for n in (paths.switch, paths.client)),
    )
    seen: dict[str, str] = {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                seen.setdefault(
                    str((process / "ns" / "mnt").readlink()),
                    (process / "mountinfo").read_text(),
                )
            except OSError:
                continue  # ended since it was listed: it holds no mount
    points = {
        line.split()[4]
        for text in seen.values()
        for line in text.splitlines()
        if any(_is_at(part, each) for part in line.split()[3:5] for each in wanted)
    }
    return sorted(points)


def _is_at(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory + "/")


def _has_route(paths: Paths) -> bool:
    """Look for the lab's route in the kernel's own table: destination, mask and metric, in hex."""
    rows = [line.split() for line in Path("/proc/net/route").read_text().splitlines()[1:]]
    return any(int(row[6]) == paths.metric for row in rows)


def _is_mounted(path: Path) -> bool:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == str(path) for line in lines)


def _remove_tree(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return


async def _make_mount_points() -> None:
    async with record.all_labs_locked():
        made = _made() | {str(path) for path in _MOUNT_POINTS if not path.exists()}
        # Written first: a directory that we made and forgot would stay for ever.
        write_file(_MADE, msgspec.json.encode(sorted(made)), 0o600)
        for path in _MOUNT_POINTS:
            path.mkdir(mode=0o755, parents=True, exist_ok=True)


async def _release_mount_points() -> None:
    """With the last lab gone, remove the directories that labs made, if they are empty."""
    async with record.all_labs_locked():
        if record.names():
            return
        for path in map(Path, sorted(_made())):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        _MADE.unlink(missing_ok=True)
        for path in (STATE_ROOT, RUN_ROOT):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def _made() -> set[str]:
    try:
        return set(msgspec.json.decode(_MADE.read_bytes(), type=list[str]))
    except FileNotFoundError:
        return set()
