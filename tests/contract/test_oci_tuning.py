"""How the kernel treats a real container, and what it calls itself, seen from inside."""

import platform
from pathlib import Path

import msgspec
import pytest

from deploy.lab.images import build_busybox
from node_agent import process
from node_agent.oci.images import load_image
from node_agent.oci.runtime import Options
from node_agent.runtime import Phase
from shared.errors import ImageError, RuntimeFailureError
from shared.model import (
    AllocId,
    BlockIo,
    Naming,
    Resources,
    Throttle,
    Tuning,
    Ulimit,
)
from tests.contract.host_sandbox import CGROUP_PARENT
from tests.contract.oci_inside import SLEEP, exited, inside, run, sleeping, written
from tests.contract.runtimes import (
    IMAGE,
    UNKNOWN_IMAGE,
    WITHIN_S,
    OciBench,
    shell,
)
from tests.waiting import until

pytestmark = pytest.mark.real

CGROUPS = Path("/sys/fs/cgroup")
MIB = 1 << 20


def cgroup(id_: AllocId, name: str) -> str:
    """Return a file of the container's cgroup (v1)."""
    controller = name.split(".", maxsplit=1)[0]
    return (CGROUPS / controller / CGROUP_PARENT / id_ / name).read_text().strip()


def namespace(kind: str) -> str:
    """Return which namespace we are in."""
    return str(Path(f"/proc/self/ns/{kind}").readlink())


async def test_weights_and_limits_reach_the_cgroup(bench: OciBench) -> None:
    tuning = Tuning(
        cpuset="0",
        cpu_shares=77,
        memory_swap_bytes=-1,
        swappiness=13,
        oom_kill_disable=True,
    )
    limits = Resources(memory_bytes=32 * MIB)
    id_ = await sleeping(bench, tuning=tuning, limits=limits)

    assert cgroup(id_, "cpuset.cpus") == "0"
    assert cgroup(id_, "cpu.shares") == "77"
    assert cgroup(id_, "memory.limit_in_bytes") == str(32 * MIB)
    assert cgroup(id_, "memory.swappiness") == "13"
    assert "oom_kill_disable 1" in cgroup(id_, "memory.oom_control")


async def test_disks_are_throttled_by_their_numbers(bench: OciBench) -> None:
    disk = BlockIo(
        read_bps=(Throttle(path="/dev/loop0", rate=MIB),),
        write_iops=(Throttle(path="/dev/loop0", rate=50),),
    )
    id_ = await sleeping(bench, tuning=Tuning(block_io=disk))

    assert cgroup(id_, "blkio.throttle.read_bps_device") == f"7:0 {MIB}"
    assert cgroup(id_, "blkio.throttle.write_iops_device") == "7:0 50"


async def test_a_disk_that_is_none_is_named(bench: OciBench) -> None:
    for path, why in (("/dev/absent", "No such file"), ("/dev/null", "is not a disk")):
        slow = BlockIo(read_bps=(Throttle(path=path, rate=1),))
        with pytest.raises(RuntimeFailureError, match=f"{path}.*{why}"):
            await sleeping(bench, tuning=Tuning(block_io=slow))


async def test_limits_of_the_process(bench: OciBench) -> None:
    ulimits = (
        Ulimit(name="nofile", soft=100, hard=200),
        Ulimit(name="nproc", soft=500, hard=600),
        Ulimit(name="core", soft=0, hard=0),
    )
    id_ = await sleeping(bench, tuning=Tuning(ulimits=ulimits, oom_score_adj=123))
    said = await inside(bench, id_, "cat /proc/1/limits; ulimit -n; cat /proc/1/oom_score_adj")
    rows = {" ".join(line.split()) for line in said.splitlines()}

    assert {
        "Max open files 100 200 files",
        "Max processes 500 600 processes",
        "Max core file size 0 0 bytes",
    } <= rows
    assert said.splitlines()[-2:] == ["100", "123"]


async def test_kernel_parameters_of_its_own_namespaces(bench: OciBench) -> None:
    sysctls = {"net.core.somaxconn": "77", "kernel.shmmax": "4711", "fs.mqueue.msg_max": "9"}
    id_ = await sleeping(bench, tuning=Tuning(sysctls=sysctls))
    files = " ".join("/proc/sys/" + name.replace(".", "/") for name in sysctls)

    assert await inside(bench, id_, f"cat {files}") == "77\n4711\n9\n"


async def test_a_kernel_parameter_of_the_node_is_refused(bench: OciBench) -> None:
    with pytest.raises(RuntimeFailureError, match=r"sysctl vm\.swappiness: .*the whole node"):
        await sleeping(bench, tuning=Tuning(sysctls={"vm.swappiness": "1"}))


@pytest.mark.parametrize("kind", ["pid", "ipc", "uts", "cgroup"])
async def test_a_namespace_of_the_node_is_shared_where_it_is_asked_for(
    bench: OciBench, kind: str
) -> None:
    ours = namespace(kind)
    tuning = msgspec.structs.replace(Tuning(), **{kind: "host"})
    shared = await sleeping(bench, tuning=tuning)
    own = await sleeping(bench)

    # The command's own: process 1 of the node is somebody else.
    look = f"readlink /proc/self/ns/{kind}"
    assert await inside(bench, shared, look) == f"{ours}\n"
    assert await inside(bench, own, look) != f"{ours}\n"


async def test_with_the_nodes_processes_in_sight_all_of_the_containers_end(
    bench: OciBench,
) -> None:
    script = "sleep 778 & sleep 1000"
    id_ = await run(bench, shell(script, tuning=Tuning(pid="host")))
    pids = CGROUPS / "pids" / CGROUP_PARENT / id_ / "cgroup.procs"
    await until(lambda: len(pids.read_text().split()) > 1, WITHIN_S)
    await bench.oci.stop(id_, 0.1)

    assert pids.read_text() == ""
    assert [each.phase for each in await bench.oci.list()] == [Phase.EXITED]


async def test_what_the_container_calls_itself_and_others(bench: OciBench) -> None:
    bench.oci.close()
    bench.oci = bench.fresh(Options(cgroup_parent=CGROUP_PARENT, address="198.18.0.9"))
    naming = Naming(
        hostname="box",
        domainname="example",
        extra_hosts=("db=10.0.0.5", "node=host-gateway", "six=::2"),
        dns=("192.0.2.7",),
        dns_search=("a.example", "b.example"),
        dns_options=("ndots:2",),
    )
    id_ = await sleeping(bench, naming=naming)

    said = await inside(bench, id_, "hostname; cat /proc/sys/kernel/domainname /etc/hostname")
    assert said == "box\nexample\nbox\n"
    hosts = (await inside(bench, id_, "cat /etc/hosts; echo $HOSTNAME")).splitlines()
    assert hosts[2:] == [
        "192.0.2.1\tbox.example box",
        "10.0.0.5\tdb",
        "198.18.0.9\tnode",
        "::2\tsix",
        "box",
    ]
    assert await inside(bench, id_, "cat /etc/resolv.conf | head -n 3") == (
        "nameserver 192.0.2.7\nsearch a.example b.example\noptions ndots:2\n"
    )


async def test_with_the_nodes_names_the_container_has_the_nodes_name(bench: OciBench) -> None:
    id_ = await sleeping(bench, tuning=Tuning(uts="host"))

    assert await inside(bench, id_, "hostname; cat /etc/hostname") == f"{platform.node()}\n" * 2


async def test_the_services_own_stop_signal_is_the_one_that_is_sent(bench: OciBench) -> None:
    id_ = await run(
        bench, shell("trap 'exit 9' USR2; echo ready; sleep 1000 & wait", stop_signal="SIGUSR2")
    )
    async for line in bench.oci.logs(id_, follow=True, tail=None):
        assert line.text == "ready"
        break
    await bench.oci.stop(id_, WITHIN_S)

    assert [one.exit_code for one in await bench.oci.list()] == [9]
    with pytest.raises(RuntimeFailureError, match="stop signal 'SIGTREM' is no signal"):
        await sleeping(bench, stop_signal="SIGTREM")


@pytest.mark.parametrize("folder", ["/www", "/made/by/us"])
async def test_the_program_begins_where_it_was_told(bench: OciBench, folder: str) -> None:
    id_ = await run(bench, shell(f"pwd; {SLEEP}", working_dir=folder))

    assert await inside(bench, id_, "pwd") == f"{folder}\n"
    assert await written(bench, id_) == [folder]


@pytest.mark.parametrize("tuning", [Tuning(), Tuning(pid="host")])
async def test_a_small_init_reaps_what_nobody_waits_for(bench: OciBench, tuning: Tuning) -> None:
    id_ = await sleeping(bench, init=True, tuning=tuning)
    first = bench.pid(id_)

    # It waits at the runtime's fifo until just after `start`.
    wanted = ("/sbin/docker-init",)
    await until(lambda: process.arguments_of(first)[:1] == wanted, WITHIN_S)
    await inside(bench, id_, "( sleep 0.05 & ) ; true")
    procs = CGROUPS / "pids" / CGROUP_PARENT / id_ / "cgroup.procs"
    await until(lambda: len(procs.read_text().split()) == 2, WITHIN_S)
    await bench.oci.stop(id_, WITHIN_S)
    # The init passes the signal on; by itself, sleep as process 1 would not listen to it.
    assert [one.exit_code for one in await bench.oci.list()] == [143]


async def test_exclusive_work_may_have_an_init_but_not_the_nodes_processes(
    bench: OciBench,
) -> None:
    bench.oci.keep_until(1e9)
    id_ = await sleeping(bench, init=True, exclusive=True)
    assert "docker-init" in await inside(bench, id_, "ps")
    with pytest.raises(RuntimeFailureError, match="exclusive work cannot have pid: host"):
        await sleeping(bench, exclusive=True, tuning=Tuning(pid="host"))


async def test_a_terminal_is_one(bench: OciBench) -> None:
    id_ = await run(bench, shell("test -t 1 && echo is a terminal", tty=True))
    await exited(bench, id_)

    assert [line.strip() for line in await written(bench, id_)] == ["is a terminal"]


@pytest.mark.parametrize(("stdin", "said"), [(True, "waits"), (False, "ended")])
async def test_standard_input_stays_open_only_if_it_is_asked_for(
    bench: OciBench, *, stdin: bool, said: str
) -> None:
    script = "timeout 2 cat; test $? = 143 && echo waits || echo ended"
    id_ = await run(bench, shell(script, stdin=stdin))
    await exited(bench, id_)

    # What ends it may be said first.
    assert said in await written(bench, id_)


async def test_another_platform_is_refused(bench: OciBench) -> None:
    mine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    await sleeping(bench, platform=f"linux/{mine}")
    with pytest.raises(RuntimeFailureError, match="platform linux/s390x: this node is linux/"):
        await sleeping(bench, platform="linux/s390x")


async def test_asking_anew_for_what_cannot_be_had_is_an_error_though_it_is_here(
    bench: OciBench,
) -> None:
    await bench.oci.pull(IMAGE)
    archive = bench.directory / "far.tar"
    build_busybox(archive, UNKNOWN_IMAGE, {})
    await load_image(bench.directory / "data", archive)
    id_ = await run(bench, shell(SLEEP, image=UNKNOWN_IMAGE))
    await bench.oci.pull(UNKNOWN_IMAGE)
    with pytest.raises(ImageError, match="127"):
        await bench.oci.pull(UNKNOWN_IMAGE, anew=True)

    # What runs already is none the worse for it, and starts again.
    await bench.oci.stop(id_, 0.1)
    await bench.oci.start(id_)


async def test_a_container_keeps_its_image_when_the_name_gets_another(bench: OciBench) -> None:
    image = "hafen.local/moving:1"

    async def load(text: str) -> None:
        archive = bench.directory / f"{text}.tar"
        build_busybox(archive, image, {}, more=(("version", text, 0o644),))
        await load_image(bench.directory / "data", archive)

    await load("first")
    id_ = await run(bench, shell(SLEEP, image=image))
    await load("second")
    await bench.oci.stop(id_, 0.1)
    await bench.oci.start(id_)

    assert await inside(bench, id_, "cat /version") == "first"
