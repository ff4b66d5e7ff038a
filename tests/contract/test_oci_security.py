"""Who a real container's process is and what the kernel lets it do, seen from inside."""

from pathlib import Path

import pytest

from node_agent.oci import defaults
from node_agent.oci.runtime import Options
from shared.errors import RuntimeFailureError
from shared.model import AllocId, Device, Resources, Security
from tests.contract.host_sandbox import CGROUP_PARENT
from tests.contract.oci_inside import SLEEP, inside, output, run, sleeping, written
from tests.contract.runtimes import OciBench, assignment, shell

pytestmark = pytest.mark.real


def mask(*names: str) -> int:
    return sum(1 << defaults.ALL_CAPABILITIES.index(f"CAP_{name}") for name in names)


DEFAULT = mask(*(name.removeprefix("CAP_") for name in defaults.CAPABILITIES))


async def status(bench: OciBench, id_: AllocId, what: str) -> str:
    """Return a field of the first process's and of a command's status; both must agree."""
    said = await inside(bench, id_, f"grep -h '^{what}:' /proc/1/status /proc/self/status")
    first, second = said.splitlines()
    assert first == second
    return first.split(":")[1].strip()


def bounding() -> int:
    """Return the capabilities that we may give."""
    said = Path("/proc/self/status").read_text()
    return int(said.split("CapBnd:")[1].split()[0], 16)


@pytest.mark.parametrize(
    ("user", "groups", "said"),
    [
        ("nobody", (), "uid=65534(nobody) gid=65534(nogroup)"),
        ("65534:0", (), "uid=65534(nobody) gid=0(root)"),
        ("1234", ("nogroup", "77"), "uid=1234 gid=0(root) groups=77,65534(nogroup)"),
        ("root:nogroup", (), "uid=0(root) gid=65534(nogroup)"),
    ],
)
async def test_the_user_is_a_name_of_the_image_or_a_number_for_the_program_and_for_commands(
    bench: OciBench, user: str, groups: tuple[str, ...], said: str
) -> None:
    security = Security(user=user, groups=groups)
    id_ = await run(bench, shell(f"id; {SLEEP}", security=security))

    assert await inside(bench, id_, "id") == f"{said}\n"
    assert await written(bench, id_) == [said]


async def test_a_user_that_the_image_does_not_have_is_named(bench: OciBench) -> None:
    with pytest.raises(RuntimeFailureError, match="user 'www': the image's /etc/passwd has none"):
        await sleeping(bench, security=Security(user="www"))


@pytest.mark.parametrize(
    ("security", "bits"),
    [
        (Security(cap_add=("NET_ADMIN", "cap_sys_time")), DEFAULT | mask("NET_ADMIN", "SYS_TIME")),
        (Security(cap_drop=("MKNOD", "CHOWN")), DEFAULT & ~mask("MKNOD", "CHOWN")),
        (Security(cap_drop=("ALL",), cap_add=("CHOWN",)), mask("CHOWN")),
        (Security(cap_drop=("ALL",)), 0),
    ],
)
async def test_capabilities_are_added_and_dropped(
    bench: OciBench, security: Security, bits: int
) -> None:
    id_ = await sleeping(bench, security=security)

    for name in ("CapBnd", "CapEff", "CapPrm"):
        assert int(await status(bench, id_, name), 16) == bits
    assert await status(bench, id_, "Seccomp") == "2"


async def test_all_capabilities_are_all_that_we_have(bench: OciBench) -> None:
    id_ = await sleeping(bench, security=Security(cap_add=("ALL",), cap_drop=("SYS_BOOT",)))

    assert int(await status(bench, id_, "CapEff"), 16) == bounding() & ~mask("SYS_BOOT")


async def test_the_filter_of_system_calls_lets_through_what_the_capabilities_allow(
    bench: OciBench,
) -> None:
    """The second container of each kind has its filter compiled by the first one of its kind."""
    for _ in range(2):
        strict = await sleeping(bench)
        loose = await sleeping(bench, security=Security(cap_add=("SYS_ADMIN",)))
        assert await inside(bench, loose, "mount -t tmpfs none /tmp && echo done") == "done\n"
        assert "done" not in await inside(bench, strict, "mount -t tmpfs none /tmp && echo done")


async def test_a_capability_that_is_none_is_named(bench: OciBench) -> None:
    with pytest.raises(RuntimeFailureError, match="capability NET_ADMN: this node's kernel has"):
        await sleeping(bench, security=Security(cap_add=("NET_ADMN",)))


async def test_a_privileged_container_has_everything(bench: OciBench) -> None:
    id_ = await sleeping(bench, security=Security(privileged=True))

    assert int(await status(bench, id_, "CapEff"), 16) == bounding()
    assert await status(bench, id_, "Seccomp") == "0"
    assert "ro," not in await inside(bench, id_, "grep ' /sys ' /proc/self/mountinfo")
    assert await inside(bench, id_, "cat /proc/timer_list | wc -l") != "0\n"
    assert await inside(bench, id_, "test -c /dev/kmsg && echo there") == "there\n"
    assert await inside(bench, id_, "echo hello > /dev/kmsg && echo open") == "open\n"


@pytest.mark.parametrize("closed", [True, False])
async def test_new_privileges_are_a_choice_for_the_program_and_for_commands(
    bench: OciBench, *, closed: bool
) -> None:
    id_ = await sleeping(bench, security=Security(no_new_privileges=closed))

    assert await status(bench, id_, "NoNewPrivs") == str(int(closed))


async def test_without_a_filter_and_with_open_system_paths(bench: OciBench) -> None:
    id_ = await sleeping(bench, security=Security(seccomp=False, system_paths=False))

    assert await status(bench, id_, "Seccomp") == "0"
    masks = "grep -cE ' /proc/(keys|sys|timer_list) ' /proc/self/mountinfo"
    assert await inside(bench, id_, masks) == "0\n"


async def test_a_device_of_the_host_has_its_numbers_and_its_rights(bench: OciBench) -> None:
    devices = (
        Device(source="/dev/kmsg", target="/dev/log", permissions="w"),
        Device(source="/dev/loop0", target="/dev/disk"),
    )
    id_ = await sleeping(bench, security=Security(devices=devices))

    assert await inside(bench, id_, "stat -c '%t %T %F' /dev/log /dev/disk") == (
        "1 b character special file\n7 0 block special file\n"
    )
    assert await inside(bench, id_, "echo hello > /dev/log && echo written") == "written\n"
    assert "not permitted" in await inside(bench, id_, "head -c 1 /dev/log 2>&1")


async def test_a_device_that_is_not_there_or_none_is_named(bench: OciBench) -> None:
    for path, why in (("/dev/absent", "No such file"), ("/etc/passwd", "it is no device node")):
        with pytest.raises(RuntimeFailureError, match=f"device {path}: {why}"):
            await sleeping(bench, security=Security(devices=(Device(source=path, target=path),)))


async def test_a_rule_opens_a_device_that_the_container_makes_itself(bench: OciBench) -> None:
    make = "busybox mknod /dev/mine c 1 11 && echo hello > /dev/mine && echo open"
    closed = await sleeping(bench)
    opened = await sleeping(bench, security=Security(device_rules=("c 1:11 rw",)))

    assert "not permitted" in await inside(bench, closed, make)
    assert await inside(bench, opened, make) == "open\n"


async def test_a_generic_device_goes_to_one_container_at_a_time(bench: OciBench) -> None:
    there = {"gpu": ("/dev/loop0", "/dev/loop1")}
    bench.oci.close()
    bench.oci = bench.fresh(Options(cgroup_parent=CGROUP_PARENT, devices=there))
    assert bench.oci.capacity().devices == {"gpu": 2}
    one = {"reservations": Resources(devices={"gpu": 1})}
    first, second = await sleeping(bench, **one), await sleeping(bench, **one)
    which = "ls /dev/loop*"
    assert await inside(bench, first, which) == "/dev/loop0\n"
    assert await inside(bench, second, which) == "/dev/loop1\n"
    with pytest.raises(RuntimeFailureError, match="device gpu: 1 wanted, 0 of 2 free"):
        await sleeping(bench, **one)
    await bench.oci.list()

    # Nobody remembers but the records: after a restart, and in the same place after another run.
    bench.oci.close()
    bench.oci = bench.fresh(Options(cgroup_parent=CGROUP_PARENT, devices=there))
    await bench.oci.stop(second, 0.1)
    await bench.oci.start(second)
    assert await inside(bench, second, which) == "/dev/loop1\n"
    await bench.oci.remove(first)
    third = await sleeping(bench, **one)
    assert await inside(bench, third, which) == "/dev/loop0\n"


async def test_an_unlucky_container_takes_no_device_with_it(bench: OciBench) -> None:
    bench.oci.close()
    bench.oci = bench.fresh(Options(cgroup_parent=CGROUP_PARENT, devices={"gpu": ("/dev/loop0",)}))
    one = Resources(devices={"gpu": 1})
    with pytest.raises(RuntimeFailureError, match="user 'www'"):
        await bench.oci.create(
            assignment(shell(SLEEP, reservations=one, security=Security(user="www")))
        )
    lucky = shell("ls /dev/loop*", reservations=one)

    assert await output(bench, lucky) == ["/dev/loop0"]
