"""Whom a name means in an image's own files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.oci.users import Who, group_id, more_groups, resolve
from shared.errors import RuntimeFailureError

USERS = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:44::/srv:/bin/sh\nbroken\nodd:x:a:b:::\n"
GROUPS = "root:x:0:\nweb:x:44:\nssl:x:50:web,other\nadm:x:4:root,web\n"


@pytest.mark.parametrize(
    ("user", "who"),
    [
        ("web", Who(33, 44, (50, 4), "/srv")),
        ("33", Who(33, 44, (50, 4), "/srv")),
        ("web:ssl", Who(33, 50, (), "/srv")),
        ("web:7", Who(33, 7, (), "/srv")),
        ("1000", Who(1000, 0, (), "/")),
        ("1000:web", Who(1000, 44, (), "/")),
        ("root", Who(0, 0, (4,), "/root")),
    ],
)
def test_a_user_is_a_name_or_a_number_with_or_without_a_group(user: str, who: Who) -> None:
    assert resolve(user, USERS, GROUPS) == who


@pytest.mark.parametrize("user", ["nobody", "odd", "web:none", ":", "4294967295"])
def test_who_is_nobody_is_refused_by_name(user: str) -> None:
    with pytest.raises(RuntimeFailureError, match=r"/etc/(passwd|group) has none|the largest is"):
        resolve(user, USERS, GROUPS)


def test_groups_are_names_or_numbers() -> None:
    assert more_groups(("ssl", "44", "12345"), GROUPS) == (50, 44, 12345)


@given(st.integers(0, 2**32 - 2), st.integers(0, 2**32 - 2), st.text(), st.text())
def test_numbers_need_no_file_whatever_is_in_it(
    uid: int, gid: int, passwd: str, group: str
) -> None:
    found = resolve(f"{uid}:{gid}", passwd, group)
    assert (found.uid, found.gid, found.groups) == (uid, gid, ())
    assert group_id(str(gid), group) == gid
