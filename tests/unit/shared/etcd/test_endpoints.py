"""Which member is in use: our own host's whenever we come home, and no other that is avoided."""

from hypothesis import given
from hypothesis import strategies as st

from shared.etcd.endpoints import Endpoints
from shared.timing import LAN

HOSTS = ("198.18.0.1", "198.18.0.2", "198.18.0.3")
NEAR = HOSTS[0]


def endpoints(near: str) -> Endpoints:
    return Endpoints(tuple(f"{host}:2379" for host in HOSTS), None, LAN, near=near)


@given(st.integers(0, 5), st.sets(st.sampled_from(HOSTS)), st.integers(0, 2))
def test_coming_home_uses_our_own_member_and_moves_what_runs_at_others(
    left: int, avoided: set[str], carrying: int
) -> None:
    one, moved = endpoints(NEAR), []
    for _ in range(left):
        one.leave(one.current, "the test says so")
    one.avoid(avoided)
    before = one.current
    member = next(each for each in one.members if each.host == HOSTS[carrying])
    with member.carrying(lambda: None, lambda: moved.append(member)):
        is_away = one.is_away
        one.come_home()

    is_usable = NEAR not in avoided
    assert one.current.host == NEAR if is_usable else one.current is before
    assert moved == ([member] if is_usable and member.host != NEAR else [])
    assert is_away == (is_usable and (before.host != NEAR or member.host != NEAR))
    assert not member.in_use.is_set()


@given(st.integers(0, 5))
def test_who_has_no_member_on_the_own_host_is_never_away(left: int) -> None:
    one = endpoints("198.18.0.9")
    for _ in range(left):
        one.leave(one.current, "the test says so")
    before = one.current
    one.come_home()

    assert not one.is_away
    assert one.current is before
