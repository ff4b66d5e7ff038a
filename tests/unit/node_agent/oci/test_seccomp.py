"""The profile of all machines, resolved for one."""

import msgspec
import pytest

from node_agent.oci import seccomp
from node_agent.oci.seccomp import Machine, Profile
from node_agent.oci.spec import SyscallArg
from shared.errors import HostError

MACHINE = Machine("x86_64", (6, 1))
PROFILE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": None},
    ],
    "syscalls": [],
}


def profile(*rules: dict[str, object]) -> Profile:
    text = msgspec.json.encode(
        {**PROFILE, "syscalls": [{"action": "SCMP_ACT_ALLOW", **rule} for rule in rules]}
    )
    return seccomp.decode(text, "seccomp.json")


def names(
    rule: dict[str, object], machine: Machine = MACHINE, caps: tuple[str, ...] = ()
) -> list[str]:
    resolved = seccomp.resolve(profile({"names": ["call"], **rule}), machine, caps)
    return [name for one in resolved.syscalls for name in one.names]


def test_the_default_and_the_architectures_are_kept() -> None:
    resolved = seccomp.resolve(profile(), MACHINE, ())

    assert (resolved.default_action, resolved.default_errno_ret) == ("SCMP_ACT_ERRNO", 38)
    assert resolved.architectures == ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86")


@pytest.mark.parametrize(
    ("rule", "caps", "there"),
    [
        ({}, (), True),
        ({"includes": {"caps": ["CAP_A"]}}, (), False),
        ({"includes": {"caps": ["CAP_A"]}}, ("CAP_A", "CAP_B"), True),
        ({"includes": {"caps": ["CAP_A", "CAP_B"]}}, ("CAP_A",), False),
        ({"excludes": {"caps": ["CAP_A"]}}, (), True),
        ({"excludes": {"caps": ["CAP_A", "CAP_B"]}}, ("CAP_A",), False),
        ({"includes": {"arches": ["amd64"]}}, (), True),
        ({"includes": {"arches": ["arm64"]}}, (), False),
        ({"excludes": {"arches": ["amd64"]}}, (), False),
        ({"includes": {"minKernel": "4.8"}}, (), True),
        ({"includes": {"minKernel": "6.10"}}, (), False),
        ({"excludes": {"minKernel": "4.8"}}, (), False),
    ],
)
def test_a_rule_counts_only_where_it_says(
    rule: dict[str, object], caps: tuple[str, ...], *, there: bool
) -> None:
    assert names(rule, caps=caps) == (["call"] if there else [])


def test_arguments_and_error_numbers_come_along() -> None:
    argument = {"index": 0, "value": 4294967295, "valueTwo": 1, "op": "SCMP_CMP_EQ"}
    (rule,) = seccomp.resolve(
        profile({"names": ["personality"], "args": [argument], "errnoRet": 1}), MACHINE, ()
    ).syscalls

    assert rule.args == (SyscallArg(index=0, value=4294967295, value_two=1, op="SCMP_CMP_EQ"),)
    assert rule.errno_ret == 1


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(HostError, match="vax"):
        seccomp.resolve(profile(), Machine("vax", (6, 1)), ())


def test_a_damaged_profile_names_file_and_package() -> None:
    with pytest.raises(HostError, match=r"seccomp\.json.*golang-github-containers-common"):
        seccomp.decode(b"{", "seccomp.json")
