"""What is mounted, where, and in which order."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.oci import defaults, filesystem, spec
from node_agent.oci.filesystem import Source, target_of
from shared.errors import RuntimeFailureError
from shared.model import Mount, MountedFile, MountKind, Security, Tuning, Workload

PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join)
OURS = (filesystem.file("/etc/hosts", "/hosts"),)


def made(*mounts: Mount, rro: bool = False, **more: Any) -> tuple[spec.Mount, ...]:
    workload = msgspec.structs.replace(Workload(image="app:1"), mounts=mounts, **more)
    sources = [Source(f"/from{each.target}") for each in mounts]
    files = [f"/files/{number}" for number in range(len(workload.files))]
    return filesystem.mounts(workload, OURS, sources, files, recursive_read_only=rro)


def at(found: tuple[spec.Mount, ...], target: str) -> spec.Mount:
    (mount,) = [each for each in found if each.destination == target]
    return mount


def volume(target: str, **more: Any) -> Mount:
    return Mount(kind=MountKind.VOLUME, target=target, source="v", **more)


@given(st.sets(PATHS, max_size=8), st.randoms())
def test_parents_come_before_what_lies_in_them_in_whatever_order_they_are_asked_for(
    paths: set[str], rng: Any
) -> None:
    order = sorted(paths)
    rng.shuffle(order)
    found = [each.destination for each in made(*(volume(f"/{path}") for path in order))]
    for number, path in enumerate(found):
        assert not [each for each in found[:number] if each.startswith(f"{path}/")]
    assert {f"/{path}" for path in paths} <= set(found)
    assert {each.destination for each in defaults.MOUNTS} <= set(found)


@given(PATHS)
def test_a_target_has_one_spelling(path: str) -> None:
    assert target_of(f"/{path}") == f"/{path}"
    assert target_of(f"//{path}/") == target_of(f"/./{path}/x/..") == f"/{path}"


@pytest.mark.parametrize("target", ["", "a", "./a", "/", "//", "/proc", "/a/../dev/", "/sys/."])
def test_a_target_that_cannot_be_is_refused(target: str) -> None:
    with pytest.raises(RuntimeFailureError, match="mount at"):
        target_of(target)


def test_two_at_one_place_are_refused_and_one_replaces_ours() -> None:
    with pytest.raises(RuntimeFailureError, match="two mounts at /a"):
        made(volume("/a"), volume("/a/"))
    found = made(volume("/etc/hosts"), volume("/dev/shm"))
    assert at(found, "/etc/hosts").source == "/from/etc/hosts"
    assert at(found, "/dev/shm").source == "/from/dev/shm"


def test_read_only_is_recursive_where_it_can_be() -> None:
    asked = volume("/a", read_only=True)
    assert at(made(asked), "/a").options == ("rbind", "rprivate", "ro")
    assert at(made(asked, rro=True), "/a").options == ("rbind", "rprivate", "rro")
    single = filesystem.mounts(
        Workload(image="a", mounts=(asked,)),
        (),
        [Source("/file", is_directory=False)],
        [],
        recursive_read_only=True,
    )
    assert at(single, "/a").options[-1] == "ro"


@pytest.mark.parametrize(
    ("kind", "root"), [("", ""), ("rprivate", ""), ("rslave", "rslave"), ("shared", "rshared")]
)
def test_propagation_reaches_mount_and_root(kind: str, root: str) -> None:
    mount = Mount(kind=MountKind.BIND, target="/a", source="/a", propagation=kind)
    assert at(made(mount), "/a").options[1] == (kind or "rprivate")
    assert filesystem.propagation([mount]) == root


def test_a_propagation_that_is_none_is_refused() -> None:
    with pytest.raises(RuntimeFailureError, match="'both' is none of private, rprivate"):
        made(Mount(kind=MountKind.BIND, target="/a", source="/a", propagation="both"))


def test_memory_says_its_size_and_mode() -> None:
    options = at(made(Mount(kind=MountKind.TMPFS, target="/a", size_bytes=9)), "/a").options
    assert {"mode=1777", "size=9"} <= set(options)
    with pytest.raises(RuntimeFailureError, match="tmpfs at /a: mode 77777"):
        made(Mount(kind=MountKind.TMPFS, target="/a", mode=0o77777))


def test_files_are_read_only_and_may_be_programs() -> None:
    found = made(files=(MountedFile(content="s/x/1", target="/bin/run"),))
    mount = at(found, "/bin/run")
    assert (mount.source, "ro" in mount.options, "noexec" in mount.options) == (
        "/files/0",
        True,
        False,
    )


def test_shared_memory_follows_the_ipc_namespace() -> None:
    shm = "/dev/shm"
    assert "size=65536k" in at(made(), shm).options
    assert "size=9" in at(made(tuning=Tuning(shm_bytes=9)), shm).options
    assert at(made(tuning=Tuning(ipc="host")), shm).source == shm


def test_a_privileged_one_may_write_below_sys() -> None:
    found = made(security=Security(privileged=True))
    assert "ro" not in at(found, "/sys").options + at(found, "/sys/fs/cgroup").options
    assert "ro" in at(made(), "/sys").options
