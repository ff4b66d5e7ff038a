"""Paths that others wrote never lead out of the directory that they are meant for."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.oci.places import beneath, read_within, within
from shared.errors import RuntimeFailureError

STEPS = st.sampled_from(["a", "b", "link", "..", ".", "", "/", "x"])
PATHS = st.lists(STEPS, max_size=8).map("/".join)
TARGETS = st.sampled_from(["/", "..", "../../../..", "/a", "a", "../b", "/a/link", "link"])


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@given(PATHS, st.dictionaries(st.sampled_from(["link", "a/link", "b/link"]), TARGETS))
def test_whatever_links_say_nothing_leads_out(path: str, links: dict[str, str]) -> None:
    with TemporaryDirectory() as name:
        root = Path(name, "root")
        for folder in ("a", "b"):
            (root / folder).mkdir(parents=True)
        for link, target in links.items():
            (root / link).symlink_to(target)
        try:
            found = within(root, path)
        except RuntimeFailureError as error:
            assert "symbolic links" in str(error)  # noqa: PT017 - either outcome is right
            return
        assert found == root or root in found.parents
        assert ".." not in found.relative_to(root).parts
        assert not found.is_symlink()


@given(PATHS, st.dictionaries(st.sampled_from(["link", "a/link", "b/link"]), TARGETS))
def test_what_is_opened_beneath_is_beneath(path: str, links: dict[str, str]) -> None:
    with TemporaryDirectory() as name:
        root = Path(name, "root")
        for folder in ("a", "b"):
            (root / folder).mkdir(parents=True)
        for link, target in links.items():
            (root / link).symlink_to(target)
        before = descriptors()
        try:
            with beneath(root, path) as fd:
                found = Path(f"/proc/self/fd/{fd}").readlink()
                assert found == root or root in found.parents
        except RuntimeFailureError as error:
            assert "subpath" in str(error)  # noqa: PT017 - either outcome is right
        assert descriptors() == before
        assert [each.name for each in Path(name).iterdir()] == ["root"]


def test_a_link_is_followed_as_the_container_would(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "real").write_text("text")
    (tmp_path / "etc" / "passwd").symlink_to("/etc/real")
    assert within(tmp_path, "/etc/passwd") == tmp_path / "etc" / "real"
    assert read_within(tmp_path, "/etc/passwd") == "text"
    assert read_within(tmp_path, "/etc/group") == ""


def test_directories_on_the_way_are_made(tmp_path: Path) -> None:
    with beneath(tmp_path, "a/b"):
        assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("path", ["/a", "../a", "a/../../b"])
def test_a_path_that_climbs_is_refused_before_anything_is_made(tmp_path: Path, path: str) -> None:
    with (
        pytest.raises(RuntimeFailureError, match=r"relative, without \.\."),
        beneath(tmp_path, path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
