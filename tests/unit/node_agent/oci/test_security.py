"""What a process may do: capabilities, devices, hidden paths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.oci import defaults, security, spec
from shared.errors import RuntimeFailureError
from shared.model import Security

ALL = defaults.ALL_CAPABILITIES
NAMES = st.sampled_from([name.removeprefix("CAP_") for name in ALL])
SOME = st.lists(NAMES, max_size=6).map(tuple)


def whole(names: tuple[str, ...]) -> set[str]:
    return {f"CAP_{name}" for name in names}


def test_the_default_is_the_default() -> None:
    assert security.capabilities(Security(), ALL) == defaults.CAPABILITIES
    assert len(ALL) == 41
    assert set(defaults.CAPABILITIES) < set(ALL)


@given(SOME, SOME)
def test_what_is_added_is_there_and_what_is_dropped_is_not(
    add: tuple[str, ...], drop: tuple[str, ...]
) -> None:
    found = security.capabilities(Security(cap_add=add, cap_drop=drop), ALL)
    assert set(found) == (set(defaults.CAPABILITIES) - whole(drop)) | whole(add)
    assert len(found) == len(set(found))


@given(SOME, SOME)
def test_all_stands_for_every_one(add: tuple[str, ...], drop: tuple[str, ...]) -> None:
    none = Security(cap_add=add, cap_drop=(*drop, "ALL"))
    assert set(security.capabilities(none, ALL)) == whole(add)
    every = Security(cap_add=("all", *add), cap_drop=drop)
    assert set(security.capabilities(every, ALL)) == set(ALL) - whole(drop)


def test_one_spelling_is_as_good_as_another_and_none_is_refused() -> None:
    added = [
        security.capabilities(Security(cap_add=(name,)), ALL)
        for name in ("NET_ADMIN", "CAP_NET_ADMIN", "net_admin")
    ]
    assert added[0] == added[1] == added[2]
    with pytest.raises(RuntimeFailureError, match="capability BPF"):
        security.capabilities(Security(cap_drop=("BPF",)), ALL[:20])


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("c 1:3 mr", spec.DeviceRule(allow=True, type="c", major=1, minor=3, access="mr")),
        ("b 8:* rwm", spec.DeviceRule(allow=True, type="b", major=8, access="rwm")),
        ("a *:* r", spec.DeviceRule(allow=True, access="r")),
    ],
)
def test_a_rule_is_read(text: str, rule: spec.DeviceRule) -> None:
    rules = security.device_rules(Security(device_rules=(text,)), ())
    assert rules == (*defaults.DEVICES, rule)


@given(st.text() | st.sampled_from(["c 1:3", "x 1:3 r", "c 1 r", "c 1:3 x", "c -1:3 r"]))
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(RuntimeFailureError, match="device rule"):
        security.device_rules(Security(device_rules=(text,)), ())


def test_a_device_is_opened_as_it_was_asked_for() -> None:
    device = spec.Device(path="/dev/x", type="c", major=10, minor=200)
    rules = security.device_rules(Security(), [(device, "rw")])
    assert rules[-1] == spec.DeviceRule(allow=True, type="c", major=10, minor=200, access="rw")
    with pytest.raises(RuntimeFailureError, match="'rx' is not made of r, w and m"):
        security.device_rules(Security(), [(device, "rx")])


def test_a_privileged_one_sees_and_may_everything() -> None:
    privileged = Security(privileged=True)
    assert security.capabilities(privileged, ALL) == ALL
    assert security.device_rules(privileged, ()) == (spec.DeviceRule(allow=True, access="rwm"),)
    assert security.hidden(privileged) == ((), ())
    assert not security.is_filtered(privileged)
    assert security.is_filtered(Security())
    assert not security.is_filtered(Security(seccomp=False))
