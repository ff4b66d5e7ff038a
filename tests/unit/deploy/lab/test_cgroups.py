"""Which cgroup hierarchies a machine has, and where a lab goes in them."""

from pathlib import Path

import pytest

from deploy.lab.cgroups import Hierarchy, hierarchies
from deploy.lab.hosts import cgroup_mounts, foreign_mounts
from deploy.lab.plan import Paths


def mount(root: str, point: str, kind: str, options: str) -> str:
    return f"30 20 0:27 {root} {point} rw,nosuid shared:9 - {kind} {kind} {options}\n"


HYBRID = (
    mount("/", "/sys/fs/cgroup", "tmpfs", "rw,mode=755")
    + mount("/", "/sys/fs/cgroup/unified", "cgroup2", "rw,nsdelegate")
    + mount("/", "/sys/fs/cgroup/cpu,cpuacct", "cgroup", "rw,cpu,cpuacct")
    + mount("/", "/sys/fs/cgroup/memory", "cgroup", "rw,memory")
    + mount("/", "/sys/fs/cgroup/systemd", "cgroup", "rw,xattr,name=systemd")
)
HYBRID_MEMBERSHIP = "9:memory:/app/x\n5:cpu,cpuacct:/\n1:name=systemd:/init.scope\n0::/init.scope\n"


def test_a_hybrid_machine_has_every_hierarchy_once_and_we_stay_below_our_own_limits() -> None:
    root = Path("/sys/fs/cgroup")

    assert hierarchies(HYBRID, HYBRID_MEMBERSHIP) == (
        Hierarchy(
            mount=root / "unified", version=2, options="", base=root / "unified" / "init.scope"
        ),
        Hierarchy(
            mount=root / "cpu,cpuacct",
            version=1,
            options="cpu,cpuacct",
            base=root / "cpu,cpuacct",
        ),
        Hierarchy(
            mount=root / "memory", version=1, options="memory", base=root / "memory" / "app" / "x"
        ),
        Hierarchy(
            mount=root / "systemd",
            version=1,
            options="name=systemd",
            base=root / "systemd" / "init.scope",
        ),
    )


def test_hosts_of_a_hybrid_machine_see_version_1_only() -> None:
    assert cgroup_mounts(hierarchies(HYBRID, HYBRID_MEMBERSHIP)) == [
        ["cpu,cpuacct", "cgroup", "cpu,cpuacct"],
        ["memory", "cgroup", "memory"],
        ["systemd", "cgroup", "name=systemd"],
    ]


def test_on_version_2_there_is_one_hierarchy() -> None:
    found = hierarchies(mount("/", "/sys/fs/cgroup", "cgroup2", "rw"), "0::/user.slice\n")

    assert [each.base for each in found] == [Path("/sys/fs/cgroup/user.slice")]
    assert cgroup_mounts(found) == [["cgroup", "cgroup2", ""]]


@pytest.mark.parametrize(
    ("root", "own", "below"),
    [
        ("/docker/abc", "/docker/abc", ""),
        ("/docker/abc", "/docker/abc/sub", "sub"),
        ("/", "/", ""),
        ("/docker/abc", "/", ""),
        ("/docker/abc", "/elsewhere", ""),
    ],
)
def test_in_a_container_paths_count_from_what_is_mounted(root: str, own: str, below: str) -> None:
    found = hierarchies(mount(root, "/m", "cgroup", "rw,memory"), f"4:memory:{own}\n")

    assert [each.base for each in found] == [Path("/m", below)]


def test_a_hierarchy_mounted_twice_counts_once() -> None:
    text = mount("/", "/a", "cgroup", "rw,memory") + mount("/", "/b", "cgroup", "rw,memory")

    assert [each.mount for each in hierarchies(text, "4:memory:/\n")] == [Path("/a")]


def test_a_host_lets_go_of_other_labs_and_keeps_its_own() -> None:
    text = "".join(
        mount("/", point, "tmpfs", "rw")
        for point in (
            "/",
            "/run",
            "/run/netns",
            "/run/netns/hafen-b-switch",
            "/run/hafen-lab/a",
            "/run/hafen-lab/ab",
            "/run/hafen-lab/b",
        )
    )

    assert foreign_mounts(text, Paths("a")) == [
        "/run/netns/hafen-b-switch",
        "/run/hafen-lab/ab",
        "/run/hafen-lab/b",
        "/run/netns",
    ]
