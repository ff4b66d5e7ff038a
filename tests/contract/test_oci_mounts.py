"""What is mounted into real containers: volumes, paths of the host, memory; seen from inside."""

import os
import subprocess
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from node_agent.oci.runtime import OciRuntime, Options
from node_agent.runtime import Phase
from shared.clock import SystemClock
from shared.errors import RuntimeFailureError
from shared.model import Mount, MountKind, Security, Tuning
from tests.contract.host_sandbox import CGROUP_PARENT
from tests.contract.oci_inside import SLEEP, exited, inside, lower, run, sleeping, written
from tests.contract.runtimes import OciBench, assignment, oci_bench, shell

pytestmark = pytest.mark.real

MIB = 1 << 20


@pytest.fixture
async def bench(place: Path) -> AsyncGenerator[OciBench, None]:
    async with oci_bench(place) as real:
        yield real
        for container in await real.oci.list():
            await real.oci.remove(container.id)
        for name in real.oci.volumes():
            await real.oci.remove_volume(name)


def volume(source: str, target: str, **more: Any) -> tuple[Mount, ...]:
    return (Mount(kind=MountKind.VOLUME, source=source, target=target, **more),)


def bind(source: Path, target: str, **more: Any) -> tuple[Mount, ...]:
    return (Mount(kind=MountKind.BIND, source=str(source), target=target, **more),)


def data_of(bench: OciBench, name: str) -> Path:
    return bench.directory / "data" / "volumes" / name / "data"


@pytest.fixture
def seeded(bench: OciBench) -> Iterator[Path]:
    """Put a directory of nobody's, with a file and a link, into the image."""
    seed = lower(bench) / "seed"
    seed.mkdir()
    (seed / "file").write_text("of the image\n")
    (seed / "link").symlink_to("/etc/passwd")
    os.chown(seed / "file", 65534, 65534)
    os.chown(seed, 65534, 65534)
    seed.chmod(0o750)
    yield seed
    for path in (seed / "file", seed / "link"):
        path.unlink()
    seed.rmdir()


async def test_a_new_volume_has_what_the_image_has_there_and_outlives_its_containers(
    bench: OciBench, seeded: Path
) -> None:
    first = await sleeping(bench, mounts=volume("shop_data", "/seed"))
    assert await inside(bench, first, "stat -c '%u %g %a' /seed /seed/file; cat /seed/file") == (
        "65534 65534 750\n65534 65534 644\nof the image\n"
    )
    assert await inside(bench, first, "readlink /seed/link; echo more > /seed/new") == (
        "/etc/passwd\n"
    )
    assert bench.oci.volumes() == ("shop_data",)
    assert data_of(bench, "shop_data").parent.stat().st_mode & 0o777 == 0o700
    await bench.oci.remove(first)

    # What the image has by now does not come again.
    (seeded / "file").write_text("changed\n")
    second = await sleeping(bench, mounts=volume("shop_data", "/elsewhere"))
    assert await inside(bench, second, "cat /elsewhere/file /elsewhere/new") == (
        "of the image\nmore\n"
    )


async def test_a_volume_that_is_not_to_be_filled_begins_empty(
    bench: OciBench, seeded: Path
) -> None:
    id_ = await sleeping(bench, mounts=volume("bare", f"/{seeded.name}", copy=False))

    assert await inside(bench, id_, "ls -A /seed; stat -c '%u %a' /seed") == "0 755\n"


async def test_a_volume_that_was_half_filled_when_the_agent_died_is_filled_anew(
    bench: OciBench, seeded: Path
) -> None:
    fresh = data_of(bench, "torn").with_name("fresh")
    fresh.mkdir(parents=True)
    (fresh / "half").touch()
    assert bench.oci.volumes() == ()
    id_ = await sleeping(bench, mounts=volume("torn", f"/{seeded.name}"))

    assert await inside(bench, id_, "ls /seed") == "file\nlink\n"


async def test_a_volume_is_removed_only_when_no_container_has_it(bench: OciBench) -> None:
    id_ = await sleeping(bench, mounts=volume("kept", "/data"))
    await inside(bench, id_, "echo 1 > /data/file")
    with pytest.raises(RuntimeFailureError, match=f"volume kept: {id_} still uses it"):
        await bench.oci.remove_volume("kept")
    await bench.oci.stop(id_, 0.1)
    with pytest.raises(RuntimeFailureError, match="still uses it"):
        await bench.oci.remove_volume("kept")
    await bench.oci.remove(id_)
    for _ in range(2):
        await bench.oci.remove_volume("kept")

    assert bench.oci.volumes() == ()
    assert not data_of(bench, "kept").parent.exists()


async def test_what_a_removal_left_that_was_cut_off_goes_with_the_next_one(
    bench: OciBench,
) -> None:
    left = bench.directory / "data" / "volumes" / ".leaving" / "0011"
    (left / "data").mkdir(parents=True)
    (left / "data" / "big").touch()
    await bench.oci.remove_volume("any")

    assert not left.exists()
    assert bench.oci.volumes() == ()


async def test_a_volume_without_a_name_lives_as_long_as_its_container(
    bench: OciBench, seeded: Path
) -> None:
    planned = assignment(
        shell(
            "cat /seed/new || echo 1 > /seed/new; cat /seed/file",
            mounts=volume("", f"/{seeded.name}"),
        )
    )
    await bench.oci.create(planned)
    for _ in range(2):
        await bench.oci.start(planned.id)
        await exited(bench, planned.id)
    assert (await written(bench, planned.id))[-2:] == ["1", "of the image"]
    assert bench.oci.volumes() == ()
    home = bench.directory / "data" / "containers" / planned.id
    assert (home / "volumes" / "0" / "data" / "new").exists()
    await bench.oci.remove(planned.id)

    assert not home.exists()


async def test_a_part_of_a_volume_is_mounted_and_the_rest_is_not_seen(bench: OciBench) -> None:
    id_ = await sleeping(bench, mounts=volume("parts", "/part", subpath="a/b"))
    await inside(bench, id_, "echo kept > /part/file; ls -A /part/..")
    assert (data_of(bench, "parts") / "a" / "b" / "file").read_text() == "kept\n"
    await bench.oci.stop(id_, 0.1)
    await bench.oci.start(id_)
    assert await inside(bench, id_, "cat /part/file") == "kept\n"
    await bench.oci.remove(id_)

    # The mount of ours was taken away before the files of the container were.
    assert (data_of(bench, "parts") / "a" / "b" / "file").read_text() == "kept\n"


async def test_a_run_directory_behind_a_link_costs_no_data(bench: OciBench, tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to(bench.directory / "run")
    led = OciRuntime(
        bench.directory / "data",
        tmp_path / "run",
        bench.network,
        SystemClock(),
        Options(cgroup_parent=CGROUP_PARENT),
    )
    planned = assignment(
        shell("echo 1 > /part/file; echo 1 > /kept", mounts=volume("far", "/part", subpath="a"))
    )
    await led.create(planned)
    await led.start(planned.id)
    await exited(bench, planned.id)
    await led.start(planned.id)
    await exited(bench, planned.id)
    assert (bench.directory / "data" / "containers" / planned.id / "upper" / "kept").exists()
    await led.remove(planned.id)
    led.close()

    assert (data_of(bench, "far") / "a" / "file").read_text() == "1\n"
    assert planned.id not in Path("/proc/thread-self/mountinfo").read_text()  # noqa: ASYNC240


@pytest.mark.parametrize("subpath", ["trap", "trap/etc", "../other", "/etc", "deep/../../x"])
async def test_a_part_of_a_volume_cannot_lead_out_of_it(bench: OciBench, subpath: str) -> None:
    setter = await sleeping(bench, mounts=volume("traps", "/data"))
    await inside(bench, setter, "ln -s / /data/trap; mkdir -p /data/deep")

    with pytest.raises(RuntimeFailureError, match="subpath"):
        await bench.oci.create(
            assignment(shell(SLEEP, mounts=volume("traps", "/in", subpath=subpath)))
        )


async def test_a_volumes_name_cannot_be_a_path(bench: OciBench) -> None:
    with pytest.raises(RuntimeFailureError, match="cannot be the name of a volume"):
        await sleeping(bench, mounts=volume("../x", "/data"))


async def test_a_path_of_the_host_is_made_or_named(bench: OciBench, tmp_path: Path) -> None:
    id_ = await sleeping(bench, mounts=bind(tmp_path / "a" / "b", "/here"))
    await inside(bench, id_, "echo x > /here/file")
    assert (tmp_path / "a" / "b" / "file").read_text() == "x\n"

    absent = tmp_path / "absent"
    with pytest.raises(RuntimeFailureError, match=f"bind mount {absent}: this node has no such"):
        await sleeping(bench, mounts=bind(absent, "/here", create=False))
    with pytest.raises(RuntimeFailureError, match="absolute path"):
        await sleeping(bench, mounts=bind(Path("relative"), "/here"))
    assert not absent.exists()


async def test_a_single_file_of_the_host_can_be_mounted(bench: OciBench, tmp_path: Path) -> None:
    (tmp_path / "conf").write_text("one\n")
    id_ = await sleeping(bench, mounts=bind(tmp_path / "conf", "/etc/app.conf", read_only=True))

    assert await inside(bench, id_, "cat /etc/app.conf") == "one\n"
    assert "Read-only" in await inside(bench, id_, "echo 2 > /etc/app.conf")


@contextmanager
def mounted(*argv: str, at: Path) -> Iterator[None]:
    subprocess.run(["mount", *argv, str(at)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(at)], check=True)


async def test_read_only_reaches_what_is_mounted_below(bench: OciBench, tmp_path: Path) -> None:
    below = tmp_path / "below"
    below.mkdir()
    with mounted("-t", "tmpfs", "none", at=below):
        id_ = await sleeping(bench, mounts=bind(tmp_path, "/ro", read_only=True))
        said = await inside(bench, id_, "touch /ro/x; touch /ro/below/y; ls -A /ro/below")
        await bench.oci.remove(id_)

    assert said.count("Read-only") == 2


@pytest.mark.parametrize(("propagation", "is_seen"), [("", False), ("rslave", True)])
async def test_what_the_host_mounts_later_is_seen_only_by_who_asked(
    bench: OciBench, tmp_path: Path, propagation: str, *, is_seen: bool
) -> None:
    (tmp_path / "shared" / "later").mkdir(parents=True)
    with mounted("--bind", str(tmp_path / "shared"), at=tmp_path / "shared"):
        subprocess.run(["mount", "--make-shared", str(tmp_path / "shared")], check=True)  # noqa: ASYNC221
        id_ = await sleeping(bench, mounts=bind(tmp_path / "shared", "/s", propagation=propagation))
        with mounted("-t", "tmpfs", "none", at=tmp_path / "shared" / "later"):
            seen = await inside(bench, id_, "grep -c ' /s/later ' /proc/self/mountinfo")
        await bench.oci.remove(id_)

    assert seen == ("1\n" if is_seen else "0\n")


async def test_memory_has_the_size_and_the_mode_that_were_asked_for(bench: OciBench) -> None:
    mounts = (
        Mount(kind=MountKind.TMPFS, target="/fast", size_bytes=2 * MIB, mode=0o700),
        Mount(kind=MountKind.TMPFS, target="/plain"),
    )
    id_ = await sleeping(bench, mounts=mounts)
    said = await inside(bench, id_, "stat -c %a /fast /plain; df -k /fast | tail -n 1")

    assert said.split()[:2] == ["700", "1777"]
    assert said.split()[3] == "2048"


async def test_parents_are_mounted_before_what_lies_in_them(bench: OciBench) -> None:
    mounts = (
        *volume("inner", "/a/b/c"),
        Mount(kind=MountKind.TMPFS, target="/a"),
        *volume("middle", "/a/b/"),
    )
    id_ = await sleeping(bench, mounts=mounts)
    await inside(bench, id_, "echo 1 > /a/b/c/inner; echo 1 > /a/b/middle")

    assert (data_of(bench, "inner") / "inner").exists()
    assert (data_of(bench, "middle") / "middle").exists()


@pytest.mark.parametrize("target", ["/", "/proc", "//dev", "relative", "/x/../sys"])
async def test_what_every_container_needs_cannot_be_covered(bench: OciBench, target: str) -> None:
    with pytest.raises(RuntimeFailureError, match=r"mount at .*(needs that place|absolute path)"):
        await sleeping(bench, mounts=volume("any", target))


async def test_a_link_in_the_image_does_not_lead_a_mount_out_of_it(
    bench: OciBench, tmp_path: Path
) -> None:
    evil = lower(bench) / "evil"
    evil.symlink_to(f"../../../../../../../../../../..{tmp_path}")
    try:
        id_ = await sleeping(bench, mounts=volume("led", "/evil/in"))
        await inside(bench, id_, "echo 1 > /evil/in/file")
        seen = await inside(bench, id_, f"ls {tmp_path}/in")
    finally:
        evil.unlink()

    assert seen == "file\n"
    assert (data_of(bench, "led") / "file").exists()
    assert not (tmp_path / "in").exists()


async def test_a_link_in_the_image_does_not_fill_a_volume_from_the_host(
    bench: OciBench, tmp_path: Path
) -> None:
    (tmp_path / "private").write_text("of the host")
    evil = lower(bench) / "evil"
    evil.symlink_to(tmp_path)
    try:
        id_ = await sleeping(bench, mounts=volume("stolen", "/evil"))
        assert await inside(bench, id_, "ls -A /evil/") == ""
    finally:
        evil.unlink()


@pytest.mark.parametrize(("shm_bytes", "kib"), [(0, 65536), (8 * MIB, 8192)])
async def test_shared_memory_has_its_size(bench: OciBench, shm_bytes: int, kib: int) -> None:
    id_ = await sleeping(bench, tuning=Tuning(shm_bytes=shm_bytes))

    assert (await inside(bench, id_, "df -k /dev/shm | tail -n 1")).split()[1] == str(kib)


async def test_a_read_only_container_writes_only_where_something_is_mounted(
    bench: OciBench,
) -> None:
    id_ = await sleeping(
        bench, security=Security(read_only=True), mounts=volume("writable", "/data")
    )

    assert "Read-only" in await inside(bench, id_, "touch /x")
    assert await inside(bench, id_, "touch /data/x && echo done") == "done\n"


async def test_mounts_come_again_with_every_run(bench: OciBench) -> None:
    id_ = await run(bench, shell("cat /data/n; echo 1 >> /data/n", mounts=volume("runs", "/data")))
    await exited(bench, id_)
    bench.restart_agent()
    await bench.oci.start(id_)
    await exited(bench, id_)

    assert (await written(bench, id_))[-1] == "1"
    assert (await bench.oci.list())[0].phase is Phase.EXITED
