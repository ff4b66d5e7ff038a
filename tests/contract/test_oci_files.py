"""Configs and secrets of real containers: who may read them, where they lie, how long they stay."""

import shutil
from pathlib import Path

import pytest

from node_agent import process
from shared.errors import ContentsGoneError, RuntimeFailureError
from shared.model import MountedFile
from tests.contract.oci_inside import SLEEP, inside, sleeping
from tests.contract.runtimes import OciBench, assignment, shell

pytestmark = pytest.mark.real

CONFIG = MountedFile(content="s/app/1", target="/etc/app/app.conf", mode=0o555)
SECRET = MountedFile(
    content="s/pass/1",
    target="/run/secrets/pass",
    uid="65534",
    gid="7",
    mode=0o400,
    is_secret=True,
)
GIVEN = {"s/app/1": b"#!/bin/sh\necho ran\n", "s/pass/1": b"hunter2-\x00\xff"}
PLANNED = shell(SLEEP, files=(CONFIG, SECRET))


def places_of(directory: Path, content: bytes) -> list[str]:
    """Return the files below a directory that have the content, relative."""
    found = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted(
        str(path.relative_to(directory)) for path in found if content in path.read_bytes()
    )


async def test_files_have_the_owner_the_mode_and_the_content_that_were_asked_for(
    bench: OciBench,
) -> None:
    planned = assignment(PLANNED)
    await bench.oci.create(planned, GIVEN)
    await bench.oci.start(planned.id)
    asked = f"stat -c '%u %g %a' {CONFIG.target} {SECRET.target}; {CONFIG.target}"

    assert await inside(bench, planned.id, asked) == "0 0 555\n65534 7 400\nran\n"
    hexed = await inside(bench, planned.id, f"busybox hexdump -e '1/1 \"%02x\"' {SECRET.target}")
    assert bytes.fromhex(hexed) == GIVEN[SECRET.content]
    for target in (CONFIG.target, SECRET.target):
        assert "Read-only" in await inside(bench, planned.id, f"echo 1 > {target}")


async def test_a_secret_lies_in_memory_alone_and_in_no_argument(bench: OciBench) -> None:
    planned = assignment(PLANNED)
    await bench.oci.create(planned, GIVEN)
    await bench.oci.start(planned.id)
    secret, config = GIVEN[SECRET.content], GIVEN[CONFIG.content]

    assert places_of(bench.directory / "data", secret) == []
    assert places_of(bench.directory / "run" / "secrets", secret) == [f"{planned.id}/1"]
    assert places_of(bench.directory / "data" / "containers", config) == [f"{planned.id}/configs/0"]
    folder = bench.directory / "run" / "secrets"
    assert folder.stat().st_mode & 0o777 == 0o700
    arguments = [word for pid in process.all_pids() for word in process.arguments_of(pid)]
    assert not [each for each in arguments if "hunter2" in each]


async def test_files_stay_over_restarts_of_container_and_agent_and_go_with_the_container(
    bench: OciBench,
) -> None:
    planned = assignment(PLANNED)
    await bench.oci.create(planned, GIVEN)
    await bench.oci.start(planned.id)
    await bench.oci.stop(planned.id, 0.1)
    bench.restart_agent()
    await bench.oci.start(planned.id)
    assert await inside(bench, planned.id, f"head -c 7 {SECRET.target}") == "hunter2"
    await bench.oci.remove(planned.id)

    assert places_of(bench.directory / "run" / "secrets", b"") == []
    assert places_of(bench.directory / "data" / "containers", b"echo ran") == []


async def test_secrets_that_a_reboot_took_are_given_anew(bench: OciBench) -> None:
    planned = assignment(PLANNED)
    await bench.oci.create(planned, GIVEN)
    await bench.oci.start(planned.id)
    await inside(bench, planned.id, "echo kept > /kept")
    await bench.oci.stop(planned.id, 0.1)
    shutil.rmtree(bench.directory / "run" / "secrets" / planned.id)
    with pytest.raises(ContentsGoneError, match="as after a reboot"):
        await bench.oci.start(planned.id)

    await bench.oci.create(planned, GIVEN)
    await bench.oci.start(planned.id)
    assert await inside(bench, planned.id, f"cat /kept; head -c 7 {SECRET.target}") == (
        "kept\nhunter2"
    )


async def test_what_was_not_given_is_named_and_nothing_is_left(bench: OciBench) -> None:
    with pytest.raises(RuntimeFailureError, match="/run/secrets/pass: its content s/pass/1"):
        await bench.oci.create(assignment(PLANNED), {CONFIG.content: b""})
    await bench.oci.list()

    assert places_of(bench.directory / "data" / "containers", b"") == []


async def test_an_owner_that_is_no_number_is_refused(bench: OciBench) -> None:
    named = MountedFile(content="s/app/1", target="/x", uid="nobody")
    with pytest.raises(RuntimeFailureError, match="owner 'nobody' is not in digits"):
        await bench.oci.create(assignment(shell(SLEEP, files=(named,))), GIVEN)
    await sleeping(bench)
