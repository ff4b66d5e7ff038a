"""What control groups of both versions say, read from files that look like them."""

from pathlib import Path

import pytest

from node_agent.oci import cgroups
from node_agent.oci.cgroups import Cgroups


def write(root: Path, **files: str) -> None:
    """Write files; two underscores stand for a slash, one before the last part for a dot."""
    for name, text in files.items():
        file = root / name.replace("__", "/").replace("_DOT_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture
def v1(tmp_path: Path) -> Path:
    write(tmp_path, memory__hafen__a__memory_DOT_oom_control="oom_kill_disable 0\noom_kill 2\n")
    write(
        tmp_path, memory__hafen__a__cgroup_DOT_procs="7\n", cpu__hafen__a__cgroup_DOT_procs="7\n8\n"
    )
    write(tmp_path, freezer__hafen__a__freezer_DOT_state="FROZEN\n")
    return tmp_path


@pytest.fixture
def v2(tmp_path: Path) -> Path:
    write(tmp_path, cgroup_DOT_controllers="cpu memory pids\n")
    write(tmp_path, hafen__a__memory_DOT_events="low 0\noom 1\noom_kill 1\n")
    write(tmp_path, hafen__a__cgroup_DOT_procs="", hafen__a__sub__cgroup_DOT_procs="9\n")
    write(tmp_path, hafen__a__cgroup_DOT_freeze="1\n")
    return tmp_path


def test_version_1_is_read_from_every_hierarchy(v1: Path) -> None:
    seen = Cgroups("hafen", v1)

    assert not seen.is_v2
    assert seen.pids("a") == {7, 8}
    assert seen.oom_kills("a") == 2
    seen.thaw("a")
    assert (v1 / "freezer/hafen/a/freezer.state").read_text() == "THAWED"


def test_version_2_is_read_with_what_is_below(v2: Path) -> None:
    seen = Cgroups("/hafen/", v2)

    assert seen.is_v2
    assert seen.pids("a") == {9}
    assert seen.oom_kills("a") == 1
    seen.thaw("a")
    assert (v2 / "hafen/a/cgroup.freeze").read_text() == "0"


def test_a_container_without_a_cgroup_has_no_processes_and_is_removed(v1: Path, v2: Path) -> None:
    for root in (v1, v2):
        seen = Cgroups("hafen", root)
        assert (seen.pids("b"), seen.oom_kills("b"), seen.remove("b")) == (frozenset(), 0, True)


def test_nested_cgroups_go_with_their_container_and_others_stay(tmp_path: Path) -> None:
    for name in ("pids/hafen/a/x/y", "cpu/hafen/a", "cpu/hafen/b"):
        (tmp_path / name).mkdir(parents=True)

    assert Cgroups("hafen", tmp_path).remove("a")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("hafen/*")] == [
        "cpu/hafen/b"
    ]


def test_the_limits_of_our_own_cgroup_are_known_in_both_versions(tmp_path: Path) -> None:
    write(tmp_path, memory__memory_DOT_limit_in_bytes="4096\n")
    write(tmp_path, cpu__cpu_DOT_cfs_quota_us="150000\n", cpu__cpu_DOT_cfs_period_us="100000\n")
    assert cgroups.memory_limit(tmp_path) == 4096
    assert cgroups.cpu_limit_millis(tmp_path) == 1500

    two = tmp_path / "two"
    write(two, memory_DOT_max="8192\n", cpu_DOT_max="50000 100000\n")
    assert cgroups.memory_limit(two) == 8192
    assert cgroups.cpu_limit_millis(two) == 500


def test_no_limit_is_no_limit(tmp_path: Path) -> None:
    write(tmp_path, memory__memory_DOT_limit_in_bytes="9223372036854771712\n")
    write(tmp_path, cpu__cpu_DOT_cfs_quota_us="-1\n", cpu__cpu_DOT_cfs_period_us="100000\n")
    assert cgroups.memory_limit(tmp_path) is None
    assert cgroups.cpu_limit_millis(tmp_path) is None

    two = tmp_path / "two"
    write(two, memory_DOT_max="max\n", cpu_DOT_max="max 100000\n")
    assert cgroups.memory_limit(two) is None
    assert cgroups.cpu_limit_millis(two) is None


def test_controllers_on_both_versions_are_noticed(tmp_path: Path) -> None:
    assert not cgroups.is_crowded_hybrid(tmp_path)
    write(tmp_path, unified__cgroup_DOT_controllers="\n")
    assert not cgroups.is_crowded_hybrid(tmp_path)
    write(tmp_path, unified__cgroup_DOT_controllers="hugetlb\n")
    assert cgroups.is_crowded_hybrid(tmp_path)
