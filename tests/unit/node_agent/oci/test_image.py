"""How an image and a service combine into what runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.oci import defaults
from node_agent.oci.image import Image, arguments, environment, signal_number
from shared.errors import RuntimeFailureError
from shared.model import Workload

IMAGE = Image(digest="sha256:0", entrypoint=("/entry",), command=("image",))


@pytest.mark.parametrize(
    ("entrypoint", "command", "wanted"),
    [
        (None, None, ("/entry", "image")),
        (None, ("service",), ("/entry", "service")),
        (None, (), ("/entry",)),
        (("/mine",), None, ("/mine",)),
        (("/mine",), ("service",), ("/mine", "service")),
        ((), ("service",), ("service",)),
    ],
)
def test_entrypoint_and_command_combine_as_in_docker(
    entrypoint: tuple[str, ...] | None,
    command: tuple[str, ...] | None,
    wanted: tuple[str, ...],
) -> None:
    workload = Workload(image="app:1", entrypoint=entrypoint, command=command)
    assert arguments(IMAGE, workload) == wanted


def test_nothing_to_run_is_refused() -> None:
    with pytest.raises(RuntimeFailureError, match="app:1: neither the image nor the service"):
        arguments(Image(digest="sha256:0"), Workload(image="app:1"))


def test_the_services_environment_wins_over_the_images_and_that_over_ours() -> None:
    image = Image(digest="sha256:0", environment=("PATH=/bin", "A=image", "B=image"), home="/root")

    assert environment(image, {"A": "service"}, "web-1") == (
        "PATH=/bin",
        "HOSTNAME=web-1",
        "HOME=/root",
        "A=service",
        "B=image",
    )


def test_a_path_is_there_even_when_nobody_set_one() -> None:
    assert f"PATH={defaults.PATH}" in environment(Image(digest="sha256:0"), {}, "web-1")


@given(st.dictionaries(st.from_regex(r"[A-Z_]+", fullmatch=True), st.text()))
def test_every_variable_of_the_service_arrives_once(given_: dict[str, str]) -> None:
    entries = environment(IMAGE, given_, "web-1")
    names = [entry.partition("=")[0] for entry in entries]

    assert len(names) == len(set(names))
    assert {f"{name}={value}" for name, value in given_.items()} <= set(entries)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SIGTERM", 15),
        ("term", 15),
        ("9", 9),
        ("SIGQUIT", 3),
        ("SIGWINCH", 28),
        ("SIGSYS", 31),
        ("SIGRTMIN+3", 37),
        ("SIGNONSENSE", 15),
        ("0", 15),
        ("65", 15),
        ("", 15),
    ],
)
def test_a_stop_signal_is_read_however_it_is_written(text: str, number: int) -> None:
    assert signal_number(text) == number


@given(st.text())
def test_every_text_gives_a_signal_that_can_be_sent(text: str) -> None:
    assert 1 <= signal_number(text) <= 64
