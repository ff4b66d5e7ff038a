"""Image names, spelled out as Docker would."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.oci.reference import Reference
from shared.errors import ImageError

DIGEST = "sha256:" + "0f" * 32


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.25", "docker.io/library/nginx:1.25"),
        ("team/app", "docker.io/team/app:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/team/app:1", "docker.io/team/app:1"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("ghcr.io/team/app:v1", "ghcr.io/team/app:v1"),
        ("registry.local:5000/a/b/c:x", "registry.local:5000/a/b/c:x"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"nginx:1.25@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        ("hafen.local/whoami:1", "hafen.local/whoami:1"),
    ],
)
def test_a_name_is_spelled_out(text: str, full: str) -> None:
    assert str(Reference.parse(text)) == full


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no image name"),
        ("Nginx", "no image name"),
        ("nginx:", "no tag"),
        ("nginx:a b", "no tag"),
        ("nginx@sha256:12", "digest"),
        ("-o/app:1", "no image name"),
        ("a//b", "no image name"),
        ("reg_istry.io/app", "no registry host"),
        ("-:0/0", "no registry host"),
        ("x" * 600, "at most 512"),
    ],
)
def test_what_is_no_name_is_refused(text: str, why: str) -> None:
    with pytest.raises(ImageError, match=why):
        Reference.parse(text)


@given(st.text(alphabet="ab./:@-_A0 ", max_size=30))
def test_a_full_name_stands_for_itself(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except ImageError:
        return
    assert Reference.parse(str(reference)) == reference
    assert not str(reference).startswith("-")
