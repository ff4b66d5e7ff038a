"""Names of stacks and services."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.compose.names import NAME_CHARS_MAX, from_folder, is_name


@pytest.mark.parametrize("name", ["web", "0", "a_b-c", "a_", "x" * NAME_CHARS_MAX])
def test_good_names(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "Web", "a.b", "-a", "a-", "_a", "a b", "a/b", "ä", "a\n", "x" * (NAME_CHARS_MAX + 1)],
)
def test_names_that_nothing_can_have(name: str) -> None:
    assert not is_name(name)


@pytest.mark.parametrize(
    ("folder", "name"),
    [("My App", "myapp"), ("_shop-2-", "shop-2"), ("a.b", "ab"), ("Überall", "berall"), ("..", "")],
)
def test_a_folder_gives_the_name_that_compose_makes_of_it(folder: str, name: str) -> None:
    assert from_folder(folder) == name


@given(st.text(max_size=NAME_CHARS_MAX))
def test_a_folder_gives_a_good_name_or_none(folder: str) -> None:
    name = from_folder(folder)
    assert is_name(name) or not name or len(name) > NAME_CHARS_MAX
