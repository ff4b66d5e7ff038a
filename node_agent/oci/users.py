"""Who a name of a user or a group is, by the image's own passwd and group files.

Pure. Source: passwd(5) and group(5).
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from shared.errors import RuntimeFailureError

# The kernel keeps the last number for "nobody in particular".
_ID_MAX: Final = 2**32 - 2
_PASSWD_FIELDS: Final = 7
_GROUP_FIELDS: Final = 4


class Who(NamedTuple):
    """A process's user, its groups, and its home directory."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"


class _User(NamedTuple):
    name: str
    uid: int
    gid: int
    home: str


class _Group(NamedTuple):
    name: str
    gid: int
    members: tuple[str, ...]


def resolve(user: str, passwd: str, group: str) -> Who:
    """Return who `user` is: "name", "uid", or either with ":group" behind it.

    A number need not stand in any file. Without a group it is the user's own, with those that the
    user is a member of besides; a group that is given stands alone.

    Raises:
        RuntimeFailureError: a name that the image does not have.
    """
    name, _, group_name = user.partition(":")
    found = next((each for each in _users(passwd) if name in {each.name, str(each.uid)}), None)
    if found is None and not name.isdigit():
        raise RuntimeFailureError(f"user {name!r}: the image's /etc/passwd has none of that name")
    uid = found.uid if found is not None else _number(name)
    home = found.home if found is not None else "/"
    if group_name:
        return Who(uid, group_id(group_name, group), (), home)
    if found is None:
        return Who(uid, 0, (), home)
    more = tuple(each.gid for each in _groups(group) if found.name in each.members)
    return Who(uid, found.gid, tuple(gid for gid in more if gid != found.gid), home)


def group_id(name: str, group: str) -> int:
    """Return the number of a group by name or in digits.

    Raises:
        RuntimeFailureError: a name that the image does not have.
    """
    for each in _groups(group):
        if name in {each.name, str(each.gid)}:
            return each.gid
    if not name.isdigit():
        raise RuntimeFailureError(f"group {name!r}: the image's /etc/group has none of that name")
    return _number(name)


def more_groups(names: Sequence[str], group: str) -> tuple[int, ...]:
    """Return the numbers of groups by name or in digits."""
    return tuple(group_id(name, group) for name in names)


def _number(text: str) -> int:
    number = int(text)
    if number > _ID_MAX:
        raise RuntimeFailureError(f"{text} is no user or group: the largest is {_ID_MAX}")
    return number


def _users(text: str) -> Iterator[_User]:
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) == _PASSWD_FIELDS and fields[2].isdigit() and fields[3].isdigit():
            yield _User(fields[0], int(fields[2]), int(fields[3]), fields[5] or "/")


def _groups(text: str) -> Iterator[_Group]:
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) == _GROUP_FIELDS and fields[2].isdigit():
            yield _Group(fields[0], int(fields[2]), tuple(filter(None, fields[3].split(","))))
