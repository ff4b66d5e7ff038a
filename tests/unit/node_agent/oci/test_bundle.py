"""What config.json says."""

from typing import Any

import msgspec
import pytest

from node_agent.oci import bundle, defaults, spec
from node_agent.oci.bundle import runtime_spec
from node_agent.oci.image import Image
from node_agent.oci.naming import hostname, hosts_file, resolv_conf
from shared.model import AllocId, Assignment, Resources, ServiceName, StackName, Workload

SECCOMP = spec.Seccomp(default_action="SCMP_ACT_ERRNO")
HOST = bundle.Host(seccomp=SECCOMP, nofile_max=1_000_000)
PLACE = bundle.Place(
    rootfs="/rootfs",
    netns="/netns",
    cgroup="/hafen/id",
    hosts="/hosts",
    hostname="/hostname",
    resolv_conf="/resolv.conf",
)
IMAGE = Image(digest="sha256:0", command=("/bin/app",), environment=("PATH=/bin",))


def assignment(service: str = "web", slot: int = 2, **workload: Any) -> Assignment:
    return Assignment(
        id=AllocId("stack.web.2.k3f9x2"),
        stack=StackName("stack"),
        service=ServiceName(service),
        slot=slot,
        generation=1,
        workload=msgspec.structs.replace(Workload(image="app:1"), **workload),
    )


def made(image: Image = IMAGE, host: bundle.Host = HOST, **workload: Any) -> spec.Spec:
    return runtime_spec(image, assignment(**workload), PLACE, host)


def test_the_smallest_service_gets_the_defaults() -> None:
    process = made().process

    assert process.args == ("/bin/app",)
    assert process.env == ("PATH=/bin", "HOSTNAME=web-2", "HOME=/")
    assert process.no_new_privileges
    assert process.capabilities.bounding == defaults.CAPABILITIES
    assert process.rlimits == (spec.Rlimit(type="RLIMIT_NOFILE", soft=65_536, hard=524_288),)
    assert made().linux.resources == spec.LinuxResources(
        devices=defaults.DEVICES, pids=spec.Pids(limit=4096)
    )


def test_limits_reach_the_cgroup_and_memory_counts_swap() -> None:
    resources = made(
        limits=Resources(cpu_millis=1500, memory_bytes=1 << 20, pids=7),
        reservations=Resources(cpu_millis=250),
    ).linux.resources

    assert resources.cpu == spec.Cpu(shares=256, quota=150_000, period=100_000)
    assert resources.memory == spec.Memory(limit=1 << 20, swap=1 << 20)
    assert resources.pids == spec.Pids(limit=7)


def test_a_tiny_cpu_limit_is_raised_to_what_the_kernel_takes() -> None:
    resources = made(limits=Resources(cpu_millis=1), reservations=Resources(cpu_millis=1))

    assert resources.linux.resources.cpu == spec.Cpu(shares=2, quota=1000, period=100_000)


def test_a_kernel_without_swap_accounting_is_not_asked_for_it() -> None:
    host = msgspec.structs.replace(HOST, swap_accounting=False)

    assert made(host=host, limits=Resources(memory_bytes=9)).linux.resources.memory == spec.Memory(
        limit=9
    )


def test_a_process_that_is_not_root_has_no_effective_capabilities() -> None:
    image = msgspec.structs.replace(IMAGE, uid=33, gid=44, groups=(5,))
    process = made(image=image).process

    assert process.user == spec.User(uid=33, gid=44, additional_gids=(5,))
    assert process.capabilities == spec.Capabilities(bounding=defaults.CAPABILITIES)


def test_a_host_with_fewer_open_files_gives_what_it_has() -> None:
    host = msgspec.structs.replace(HOST, nofile_max=1024)

    assert made(host=host).process.rlimits == (
        spec.Rlimit(type="RLIMIT_NOFILE", soft=1024, hard=1024),
    )


@pytest.mark.parametrize("there", [True, False])
def test_every_namespace_is_its_own_and_the_network_is_joined(*, there: bool) -> None:
    host = msgspec.structs.replace(HOST, cgroup_namespace=there)
    namespaces = {one.type: one.path for one in made(host=host).linux.namespaces}

    own = {"pid": "", "ipc": "", "uts": "", "mount": ""}
    assert namespaces == {**own, **({"cgroup": ""} if there else {}), "network": "/netns"}


def test_labels_become_annotations_but_cannot_pretend_to_be_ours() -> None:
    host = msgspec.structs.replace(HOST, seccomp_bpf="AAAA")
    labels = {
        "team": "blue",
        "hafen.allocation": "other",
        "run.oci.seccomp_bpf_data": "BBBB",
        "run.oci.hooks.stdout": "/etc/passwd",
        "": "empty",
    }

    assert made(host=host, labels=labels).annotations == {
        "team": "blue",
        "hafen.allocation": "stack.web.2.k3f9x2",
        "run.oci.seccomp_bpf_data": "AAAA",
    }


def test_a_label_cannot_bring_its_own_system_call_filter() -> None:
    assert made(labels={"run.oci.seccomp_bpf_data": "BBBB"}).annotations == {
        "hafen.allocation": "stack.web.2.k3f9x2"
    }


def test_the_file_is_in_the_specifications_spelling() -> None:
    tree = msgspec.json.decode(spec.encode(made(limits=Resources(memory_bytes=5))))

    assert tree["ociVersion"] == "1.0.2"
    assert tree["process"]["noNewPrivileges"] is True
    assert tree["process"]["oomScoreAdj"] == 0
    assert tree["linux"]["cgroupsPath"] == "/hafen/id"
    assert tree["linux"]["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    assert "/proc/kcore" in tree["linux"]["maskedPaths"]
    assert "/proc/sys" in tree["linux"]["readonlyPaths"]
    assert tree["linux"]["seccomp"] == {"defaultAction": "SCMP_ACT_ERRNO"}


def test_a_long_service_name_keeps_its_slot_in_the_host_name() -> None:
    name = hostname(assignment("s" * 80, 12))

    assert len(name) <= 63
    assert name.endswith("s-12")


def test_the_hosts_file_knows_the_container_itself() -> None:
    assert hosts_file("web-1", "10.90.1.2").splitlines()[-1] == "10.90.1.2\tweb-1"


HOST_RESOLV = (
    "# made\nnameserver 127.0.0.53\nnameserver 192.0.2.53\nsearch example\noptions ndots:1\n"
)


def test_name_servers_on_the_hosts_loopback_are_left_out() -> None:
    assert resolv_conf(HOST_RESOLV, ()) == (
        "nameserver 192.0.2.53\nsearch example\noptions ndots:1\n"
    )


def test_our_name_server_replaces_the_hosts() -> None:
    assert resolv_conf(HOST_RESOLV, ("10.90.1.1",)) == (
        "nameserver 10.90.1.1\nsearch example\noptions ndots:1\n"
    )


def made_exclusive(**workload: Any) -> spec.Spec:
    place = msgspec.structs.replace(PLACE, epoch="/epoch", pidns="/proc/7/ns/pid")
    planned = msgspec.structs.replace(assignment(exclusive=True, **workload), epoch=4711)
    return runtime_spec(IMAGE, planned, place, HOST)


def test_an_exclusive_container_joins_the_namespace_that_ends_with_its_fuse() -> None:
    namespaces = {each.type: each.path for each in made_exclusive().linux.namespaces}

    assert namespaces["pid"] == "/proc/7/ns/pid"
    assert namespaces.keys() == {each.type for each in made().linux.namespaces}
    assert {each.type: each.path for each in made().linux.namespaces}["pid"] == ""


def test_an_exclusive_container_is_told_its_epoch_whatever_the_service_says() -> None:
    made_spec = made_exclusive(environment={"HAFEN_EPOCH": "9999", "A": "B"})

    assert [each for each in made_spec.process.env if "EPOCH" in each] == ["HAFEN_EPOCH=4711"]
    (mount,) = [each for each in made_spec.mounts if each.destination == "/run/hafen/epoch"]
    assert (mount.source, "ro" in mount.options) == ("/epoch", True)


def test_other_containers_are_told_no_epoch() -> None:
    made_spec = made(environment={"HAFEN_EPOCH": "theirs"})

    assert "HAFEN_EPOCH=theirs" in made_spec.process.env
    assert not [each for each in made_spec.mounts if "epoch" in each.destination]
