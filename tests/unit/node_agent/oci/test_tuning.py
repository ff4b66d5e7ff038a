"""How the kernel treats a container, on both versions of cgroups; and what it is refused."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.oci import defaults, spec, tuning
from shared.errors import RuntimeFailureError
from shared.model import BlockIo, Resources, Throttle, Tuning, Ulimit

NONE = Resources()


def memory(limit: int = 0, *, swap: bool = True, v2: bool = False, **more: Any) -> Any:
    made = tuning.resources(
        Resources(memory_bytes=limit),
        NONE,
        msgspec.structs.replace(Tuning(), **more),
        swap=swap,
        v2=v2,
    )
    return made.memory


@given(st.integers(1, 1 << 40), st.integers(-1, 1 << 41), st.booleans())
def test_memory_with_swap_is_never_less_than_memory(limit: int, asked: int, v2: bool) -> None:  # noqa: FBT001 - drawn
    if 0 < asked < limit:
        with pytest.raises(RuntimeFailureError, match=f"{asked} bytes, are less than.* {limit}"):
            memory(limit, memory_swap_bytes=asked, v2=v2)
        return
    made = memory(limit, memory_swap_bytes=asked, v2=v2)
    assert made.limit == limit
    assert made.swap == (asked or limit)


def test_what_a_node_cannot_limit_is_refused_and_never_left_out_in_silence() -> None:
    with pytest.raises(RuntimeFailureError, match="cannot limit swap"):
        memory(5, memory_swap_bytes=9, swap=False)
    with pytest.raises(RuntimeFailureError, match="give both"):
        memory(0, memory_swap_bytes=9)
    with pytest.raises(RuntimeFailureError, match="no swappiness"):
        memory(5, swappiness=3, v2=True)
    with pytest.raises(RuntimeFailureError, match="always ends"):
        memory(5, oom_kill_disable=True, v2=True)
    assert memory(5, swappiness=0, oom_kill_disable=True) == spec.Memory(
        limit=5, swap=5, swappiness=0, disable_oom_killer=True
    )


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 5000))
def test_a_weight_that_is_given_goes_before_what_is_reserved(
    limit: int, reserved: int, shares: int
) -> None:
    made = tuning.resources(
        Resources(cpu_millis=limit),
        Resources(cpu_millis=reserved),
        Tuning(cpu_shares=shares, cpuset="0-1"),
        swap=True,
        v2=False,
    ).cpu
    assert made is not None
    assert made.cpus == "0-1"
    assert (made.quota is None) == (not limit)
    if shares:
        assert made.shares == max(shares, 2)
    elif not reserved:
        assert made.shares is None


@given(st.integers(-1, 1 << 40), st.integers(-1, 1 << 40))
def test_a_limit_of_the_process_is_what_was_asked_or_refused(soft: int, hard: int) -> None:
    asked = [Ulimit(name="nproc", soft=soft, hard=hard)]
    given_hard = hard if hard >= 0 else 2**64
    if (soft if soft >= 0 else 2**64) > given_hard:
        with pytest.raises(RuntimeFailureError, match="is above hard"):
            tuning.rlimits(asked, 1000)
        return
    nofile, nproc = tuning.rlimits(asked, 1000)
    assert (nofile.soft, nofile.hard) == (1000, 1000)
    assert nproc.type == "RLIMIT_NPROC"
    assert nproc.hard == (hard if hard >= 0 else 2**64 - 1)


def test_open_files_are_the_services_and_a_limit_that_is_none_is_named() -> None:
    (nofile,) = tuning.rlimits([Ulimit(name="nofile", soft=1, hard=2)], 1000)
    assert nofile == spec.Rlimit(type="RLIMIT_NOFILE", soft=1, hard=2)
    with pytest.raises(RuntimeFailureError, match="ulimit 'files' is none of as, core"):
        tuning.rlimits([Ulimit(name="files", soft=1, hard=2)], 1000)


@pytest.mark.parametrize(
    "name", ["vm.swappiness", "kernel.pid_max", "fs.file-max", "kernel.shm", "kernel.hostname", "x"]
)
def test_a_parameter_that_is_not_the_containers_own_is_refused(name: str) -> None:
    with pytest.raises(RuntimeFailureError, match=f"sysctl {name}"):
        tuning.sysctl(Tuning(sysctls={name: "1"}), "")


def test_a_parameter_of_its_own_is_set_over_the_defaults() -> None:
    asked = {"net.ipv4.ip_unprivileged_port_start": "1024", "kernel.msgmax": "9"}
    made = tuning.sysctl(Tuning(sysctls=asked), "example")
    assert made == {**defaults.SYSCTL, **asked, "kernel.domainname": "example"}
    with pytest.raises(RuntimeFailureError, match="ipc: host"):
        tuning.sysctl(Tuning(sysctls={"kernel.msgmax": "9"}, ipc="host"), "")
    with pytest.raises(RuntimeFailureError, match="uts: host"):
        tuning.sysctl(Tuning(uts="host"), "example")


def test_disks_are_spelled_as_the_specification_does() -> None:
    asked = BlockIo(
        weight=300,
        weight_devices=(Throttle(path="/dev/a", rate=200),),
        read_bps=(Throttle(path="/dev/a", rate=1),),
        write_iops=(Throttle(path="/dev/b", rate=2),),
    )
    assert tuning.disks(asked) == {"/dev/a", "/dev/b"}
    made = tuning.block_io(asked, {"/dev/a": (8, 0), "/dev/b": (8, 16)})
    assert msgspec.json.decode(msgspec.json.encode(made)) == {
        "weight": 300,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 200}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 2}],
    }
    assert tuning.block_io(BlockIo(), {}) is None


def test_another_containers_namespace_is_not_possible() -> None:
    with pytest.raises(RuntimeFailureError, match="pid: 'container:x' is not possible, only host"):
        tuning.is_host("container:x", "pid")
