"""Whatever becomes of a file: services, or lines that say where what is wrong. Never anything else.

MUTANTS says how many are tried: with a change always the same few; `make mutants` tries 10,000.
"""

import os
import re
from collections.abc import Mapping

import pytest

from deploy.compose import canonical, write
from deploy.compose.steps import Understood
from shared import codec
from shared.errors import SpecError
from shared.model import Stack, StackName
from tests.unit.deploy.compose.given import files_understood
from tests.unit.deploy.compose.mutants import mutant
from tests.unit.deploy.compose.samples import BESIDE, VARIABLES, WHOLE, others

MUTANTS = int(os.environ.get("MUTANTS", "500"))
PARTS = 10
SOUND = [("compose.yaml", WHOLE.encode()), *((path.name, path.read_bytes()) for path in others())]
HIDDEN = BESIDE["db/password.txt"]
SHOWN_EVERY = 5  # reading a file takes nearly all of the time, so not all are read again
NAMES = b"""\
include: [more/compose.yaml]
services:
  web:
    extends: {file: base.yaml, service: base}
    env_file: [web.env, {path: raw.env, format: raw}]
    label_file: web.labels
    configs: [app]
    secrets: [password]
configs: {app: {file: app.conf}}
secrets: {password: {file: db/password.txt}}
"""
LINE = re.compile(r"[^:]+:[0-9]+: .+|\.\.\. and [0-9]+ more")


def outcome(name: str, content: bytes, beside: Mapping[str, str]) -> Understood | str:
    """Return what a file says, or the message about it."""
    try:
        return files_understood([(name, content)], beside, VARIABLES)
    except SpecError as error:
        return str(error)


def check(name: str, content: bytes, beside: Mapping[str, str], *, is_shown: bool) -> None:
    """Assert that files are understood into what can be stored and shown, or refused in lines."""
    found = outcome(name, content, beside)
    if isinstance(found, Understood):
        check_understood(found, beside, is_shown=is_shown)
        return
    assert [line for line in found.split("\n") if not LINE.fullmatch(line)] == []
    assert found.replace("\n", "").isprintable()
    assert HIDDEN not in found


def check_understood(found: Understood, beside: Mapping[str, str], *, is_shown: bool) -> None:
    """Assert that services survive storing, and that the file that is shown says the same."""
    stack = Stack(name=StackName(found.name), generation=1, services=found.decoded.services)
    assert codec.decode(Stack, codec.encode(stack), "test") == stack
    assert all(line.isprintable() for line in found.warnings)
    text = write.yaml(canonical.model(found.tree, found.name, found.decoded, frozenset()))
    assert HIDDEN not in text
    if is_shown:
        again = files_understood([("again.yaml", text.encode())], beside, VARIABLES)
        assert again.decoded == found.decoded


@pytest.mark.parametrize("part", range(PARTS))
def test_a_mutant_is_understood_or_refused(part: int) -> None:
    for seed in range(part, MUTANTS, PARTS):
        name, content = SOUND[seed % len(SOUND)]
        made = mutant(content, seed)
        try:
            check(name, made, BESIDE, is_shown=seed // PARTS % SHOWN_EVERY == 0)
        except BaseException as error:
            error.add_note(f"seed {seed}, of {name}:\n{made.decode(errors='replace')}")
            raise


@pytest.mark.parametrize("part", range(PARTS))
def test_a_mutant_that_another_file_names_is_understood_or_refused(part: int) -> None:
    """Files of variables, what is extended and what is included are as foreign as the first."""
    names = sorted(BESIDE)
    for seed in range(part, MUTANTS // 4, PARTS):
        name = names[seed % len(names)]
        sound = BESIDE[name].encode()
        made = mutant(sound, seed) if name.endswith(".yaml") else torn(sound, seed)
        text = made.decode(errors="replace")
        try:
            check("compose.yaml", NAMES, {**BESIDE, name: text}, is_shown=False)
        except BaseException as error:
            error.add_note(f"seed {seed}, of {name}:\n{text}")
            raise


def torn(content: bytes, seed: int) -> bytes:
    """Return a file that is no YAML with something in its middle."""
    pieces = (b"'", b'"', b"${", b"=", b"\n", b"\x00", b"\\", b"A", b"$", b"#", b" ")
    at = seed // len(pieces) % (len(content) + 1)
    return content[:at] + pieces[seed % len(pieces)] + content[at:]


def test_what_the_mutants_are_made_of_is_sound() -> None:
    for name, content in SOUND:
        check_understood(
            files_understood([(name, content)], BESIDE, VARIABLES), BESIDE, is_shown=True
        )
    check_understood(
        files_understood([("compose.yaml", NAMES)], BESIDE, VARIABLES), BESIDE, is_shown=True
    )


@pytest.mark.skipif(not others(), reason="other people's files are not here")
def test_all_of_other_peoples_files_are_there() -> None:
    assert len(others()) == 20
