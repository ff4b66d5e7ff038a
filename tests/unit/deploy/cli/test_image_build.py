"""`hafen image build`: an archive for each image that Compose files describe."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from deploy.cli.main import cli

# Stands for a program that is not part of hafen: it writes down what it was asked, and the archive.
PROGRAM = """#!/bin/sh
echo "$@ TOKEN=$TOKEN" >>"$ASKED"
for last; do :; done
if [ "$1" = push ]; then
    path=${last#docker-archive:}
    echo archive >"${path%%.tar:*}.tar"
fi
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin" / "buildah"
    program.parent.mkdir()
    program.write_text(PROGRAM, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "asked"


def test_every_image_becomes_an_archive(asked: Path) -> None:
    (asked.parent / "Dockerfile").write_text("FROM scratch\n", encoding="utf-8")
    text = "name: shop\nservices: {web: {build: {context: ., args: {TOKEN: s3}}}, db: {image: pg}}"
    (asked.parent / "compose.yaml").write_text(text, encoding="utf-8")

    shown = CliRunner().invoke(cli, ["image", "build"])

    assert (shown.exit_code, shown.stdout) == (0, "shop-web.tar\n")
    assert (asked.parent / "shop-web.tar").read_text(encoding="utf-8") == "archive\n"
    build, push = asked.read_text(encoding="utf-8").splitlines()
    assert build.startswith("build --format docker --layers --tag shop-web --build-arg TOKEN -- ")
    assert build.endswith(" TOKEN=s3")
    assert push.startswith("push -- shop-web docker-archive:")


def test_nothing_to_build_is_said(asked: Path) -> None:
    (asked.parent / "compose.yaml").write_text("services: {db: {image: pg}}", encoding="utf-8")
    shown = CliRunner().invoke(cli, ["image", "build"])
    assert (shown.exit_code, shown.stdout, shown.stderr) == (0, "", "no service has `build`\n")
    assert not asked.exists()
