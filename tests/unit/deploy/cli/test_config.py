"""`hafen config`, and the options with which files are chosen."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from deploy.cli.main import cli
from deploy.compose import load

TEXT = """
services:
  web:
    image: app:${TAG}
    environment: [PRICE=5$$]
    ports: ["80:80"]
    volumes: ["data:/data"]
    secrets: [pw]
    logging: {driver: none}
  debug: {image: debug, profiles: [debug]}
volumes: {data: }
secrets: {pw: {file: pw.txt}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "compose.yaml").write_text(TEXT, encoding="utf-8")
    (tmp_path / ".env").write_text("TAG=1\n", encoding="utf-8")
    (tmp_path / "other.env").write_text("TAG=2\n", encoding="utf-8")
    (tmp_path / "pw.txt").write_text("hunter2", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name in ("TAG", "COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(cli, ["config", *arguments], env=environment)


def test_it_prints_a_file_that_says_the_same(folder: Path) -> None:
    shown = run("--name", "shop")
    assert shown.exit_code == 0
    again = folder / "again.yaml"
    again.write_text(shown.stdout, encoding="utf-8")
    first = load([folder / "compose.yaml"], {}, "shop")
    second = load([again], {})
    assert (second.name, second.services) == ("shop", first.services)
    assert (second.contents, first.contents) == (first.contents, second.contents)
    assert load([again], {}).model == second.model


def test_json_says_what_yaml_says(folder: Path) -> None:
    shown = run("--name", "shop", "--format", "json")
    again = folder / "again.json"
    again.write_text(shown.stdout, encoding="utf-8")
    first = load([folder / "compose.yaml"], {}, "shop")
    assert load([again], {}).services == first.services
    assert json.loads(shown.stdout)["services"]["web"]["ports"] == [
        {"target": 80, "published": "80", "protocol": "tcp", "mode": "ingress"}
    ]


@pytest.mark.usefixtures("folder")
def test_what_secrets_hold_is_not_shown() -> None:
    for arguments in ((), ("--format", "json")):
        shown = run(*arguments)
        assert "pw.txt" in shown.stdout
        assert "hunter2" not in shown.output


@pytest.mark.usefixtures("folder")
def test_parts() -> None:
    assert run("--services").stdout == "web\n"
    assert run("--services", "--profile", "debug").stdout == "debug\nweb\n"
    assert run("--services", COMPOSE_PROFILES="x,debug").stdout == "debug\nweb\n"
    assert run("--images").stdout == "app:1\n"
    assert run("--images", "--env-file", "other.env").stdout == "app:2\n"
    assert run("--images", "--env-file", ".env", "--env-file", "other.env").stdout == "app:2\n"
    assert run("--images", TAG="3").stdout == "app:3\n"
    assert run("--volumes", "--name", "shop").stdout == "shop_data\n"
    assert run("--networks", "--name", "shop").stdout == "shop_default\n"


def test_quiet_only_checks(folder: Path) -> None:
    assert (run("-q").exit_code, run("-q").output) == (0, "")
    (folder / "bad.yaml").write_text("services: {}", encoding="utf-8")
    shown = run("-q", "-f", "bad.yaml")
    assert (shown.exit_code, shown.output) == (
        2,
        "hafen: bad.yaml:1: services: there is no service here\n",
    )


@pytest.mark.usefixtures("folder")
def test_warnings_go_to_standard_error() -> None:
    shown = run()
    assert "logging" in shown.stderr
    assert "hafen: compose.yaml:9: services.web.logging" in shown.stderr
    assert run("--env-file", "no.env").stderr.startswith("hafen: no.env: no such file")
