"""Compose files on disk, the stack's name, and the example that is shipped."""

import os
import re
from pathlib import Path

import pytest

from deploy.compose import find, load
from shared.errors import SpecError
from shared.model import DOCUMENT_BYTES_MAX, Joined, Network, Protocol, PublishedPort, Resources

ROOT = Path(__file__).parents[4]
MINIMAL = "services: {web: {image: 'app:${TAG:-1}'}}\n"


def write(folder: Path, text: str, name: str = "compose.yaml") -> Path:
    """Write a file and return its path."""
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(paths: list[Path], name: str | None = None) -> str:
    """Return the message about files that cannot be loaded."""
    with pytest.raises(SpecError) as refused:
        load(paths, {}, name)
    assert refused.value.exit_code == 2
    return str(refused.value)


def test_the_name_is_the_one_asked_for_or_the_files_or_the_folders(tmp_path: Path) -> None:
    path = write(tmp_path / "My Shop", MINIMAL)
    named = write(tmp_path / "My Shop", f"name: $NAME\n{MINIMAL}", "named.yaml")

    assert load([path], {}).name == "myshop"
    assert load([named], {"NAME": "file"}).name == "file"
    assert load([named], {"NAME": "file"}, "asked").name == "asked"
    assert load([path, named], {"NAME": "later"}).name == "later"


def test_a_name_that_cannot_be_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "...", MINIMAL)
    rule = (
        "use at most 40 of a-z, 0-9, - and _, beginning with a letter or a digit, and not ending "
        "with -"
    )
    assert refusal([path], "No") == f'"No" cannot name a stack: {rule}'
    assert refusal([path], "") == f'"" cannot name a stack: {rule}'
    assert refusal([path]) == (
        f"{path}: the folder's name cannot name the stack; write `name:` at the top"
    )


PROJECT = (
    "services: {web: {image: 'app:${COMPOSE_PROJECT_NAME}', environment: [COMPOSE_PROJECT_NAME]}}"
)


def test_the_variable_of_compose_names_the_stack_and_is_its_name(tmp_path: Path) -> None:
    path = write(tmp_path / "My Shop", PROJECT)
    named = write(tmp_path / "My Shop", f"name: ${{NAME:-file}}\n{PROJECT}", "named.yaml")
    later = write(tmp_path / "My Shop", "name: later", "later.yaml")
    write(tmp_path / "env", PROJECT)
    write(tmp_path / "env", "COMPOSE_PROJECT_NAME=dotenv\n", ".env")
    given = {"COMPOSE_PROJECT_NAME": "given"}
    for paths, variables, asked, name in (
        ([path], {}, None, "myshop"),
        ([path], {"COMPOSE_PROJECT_NAME": ""}, None, "myshop"),
        ([named], {}, None, "file"),
        ([named], {"NAME": "other"}, None, "other"),
        ([named, later], {}, None, "later"),
        ([named], given, None, "given"),
        ([named], given, "asked", "asked"),
        ([tmp_path / "env" / "compose.yaml"], {}, None, "dotenv"),
        ([tmp_path / "env" / "compose.yaml"], given, None, "given"),
    ):
        found = load(paths, variables, asked)
        work = found.services[0].workload
        assert found.name == name
        assert work.image == f"app:{name}"
        assert work.environment == {"COMPOSE_PROJECT_NAME": name}
        assert work.networks == (Joined(network=f"{name}_default"),)


def test_the_variable_of_compose_must_be_a_name(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as refused:
        load([write(tmp_path, MINIMAL)], {"COMPOSE_PROJECT_NAME": "My Shop"})
    assert str(refused.value).startswith(
        'COMPOSE_PROJECT_NAME: "My Shop" cannot name a stack: use at most 40 of a-z'
    )


def test_variables_come_from_the_environment_and_then_from_the_file_beside(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    write(tmp_path, "TAG=file\n", ".env")

    assert load([path], {}).services[0].workload.image == "app:file"
    assert load([path], {"TAG": "given"}).services[0].workload.image == "app:given"


def test_problems_of_the_variables_come_first(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "network: {}\n")
    env = write(tmp_path, "TAG=$\n", ".env")
    assert refusal([path]).splitlines() == [
        f'{env}:1: TAG: "$" is not a variable; write $$ for a dollar sign',
        f"{path}:2: network: hafen does not know this key yet; did you mean networks?",
    ]


def test_a_file_of_variables_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    env = tmp_path / ".env"
    env.write_bytes(b"A=\xff")
    assert refusal([path]) == f"{env}: this is not UTF-8 text"
    env.write_bytes(b"#" * (1024 * 1024 + 1))
    assert refusal([path]) == f"{env}: larger than 1048576 bytes"


def test_the_source_is_the_file_as_given_without_what_variables_hold(tmp_path: Path) -> None:
    path = write(tmp_path, f"# comment\n{MINIMAL}")
    other = write(tmp_path, "services: {db: {image: pg}}\n", "other.yaml")

    assert load([path], {"TAG": "secret"}).source == f"# comment\n{MINIMAL}"
    assert load([path, other], {}).source == (
        f"# comment\n{MINIMAL}---\nservices: {{db: {{image: pg}}}}\n"
    )


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"
    assert refusal([missing]) == f"{missing}: no such file or directory"
    assert refusal([tmp_path]) == f"{tmp_path}: is a directory"
    assert refusal([]) == "name a Compose file"


def test_a_stack_that_could_not_be_stored_is_refused(tmp_path: Path) -> None:
    body = "x-big: &big ['" + "x" * 1000 + "']\nservices:\n"
    body += "".join(f"  s{n}: {{image: app, command: *big}}\n" for n in range(999))
    assert re.fullmatch(
        rf".*compose.yaml: 1[0-9]{{6}} bytes when stored, {DOCUMENT_BYTES_MAX} are the most; "
        "split the stack",
        refusal([write(tmp_path, body)]),
    )


def test_a_folder_has_its_file_in_the_order_of_compose(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no compose\.yaml here; name the file"):
        find(tmp_path)
    old = write(tmp_path, MINIMAL, "docker-compose.yml")
    assert find(tmp_path) == old
    new = write(tmp_path, MINIMAL, "compose.yml")
    assert find(tmp_path) == new


def test_the_example_is_what_its_comments_say() -> None:
    found = load([ROOT / "examples" / "whoami" / "compose.yaml"], {})
    web, single = found.services

    assert (found.name, found.warnings) == ("whoami", ())
    assert (web.name, web.replicas, single.name, single.replicas) == ("web", 3, "single", 1)
    assert web.workload.ports == (PublishedPort(published=8080, target=80, protocol=Protocol.HTTP),)
    assert single.workload.ports == (
        PublishedPort(published=8081, target=80, protocol=Protocol.HTTP),
    )
    for workload in (web.workload, single.workload):
        assert workload.image == "hafen.local/whoami:1"
        assert workload.healthcheck is None
        assert workload.stop_grace_period_s == 1.0
        assert workload.limits == Resources(cpu_millis=500, memory_bytes=64 << 20, pids=256)
        assert workload.reservations == Resources(cpu_millis=50, memory_bytes=16 << 20)


def test_the_first_example_of_the_page_about_compose_loads(
    tmp_path: Path,
) -> None:
    page = (ROOT / "docs" / "compose.md").read_text(encoding="utf-8")
    example = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert example is not None
    assert load([write(tmp_path, example.group(1))], {}).name == "shop"


def test_the_page_about_compose_shows_networks_that_are_as_it_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "compose.md").read_text(encoding="utf-8")
    example = re.search(r"```yaml networks\n(.*?)```", page, re.DOTALL)
    assert example is not None
    found = load([write(tmp_path, example.group(1))], {})
    web, db, metrics = (spec.workload.networks for spec in found.services)
    assert web == (Joined(network="shop_back"), Joined(network="shop_front"))
    aliases = ("postgres", "db.example.com")
    assert db == (Joined(network="shop_back", aliases=aliases, address="172.20.0.10"),)
    assert metrics == (Joined(network="monitoring"), Joined(network="shop_back"))
    assert found.networks == (
        Network(name="shop_back", internal=True, subnet="172.20.0.0/24"),
        Network(name="shop_front"),
    )
    assert found.warnings == ()


def test_the_page_about_compose_shows_real_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "compose.md").read_text(encoding="utf-8")
    shown = re.search(r"```yaml bad\n(.*?)```\n.*?```text\n(.*?)```", page, re.DOTALL)
    assert shown is not None
    write(tmp_path, shown.group(1))
    monkeypatch.chdir(tmp_path)
    assert refusal([Path("compose.yaml")]) + "\n" == shown.group(2)


def test_files_beside_are_found_from_the_first_files_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "shop", "services: {web: {extends: {file: b.yaml, service: b}}}")
    write(tmp_path / "shop", "services: {b: {image: b, volumes: ['./x:/x'], user: []}}", "b.yaml")
    monkeypatch.chdir(tmp_path)
    assert refusal([Path("shop/compose.yaml")]).startswith("shop/b.yaml:1: services.web.user: ")
    write(tmp_path / "shop", "services: {b: {image: b, volumes: ['./x:/x']}}", "b.yaml")
    mounts = load([Path("shop/compose.yaml")], {}).services[0].workload.mounts
    assert [mount.source for mount in mounts] == [f"{path.parent}/x"]


def test_what_never_ends_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for file in ("pipe", "/dev/zero", ".", "compose.yaml/x", "x" * 300):
        path = write(tmp_path, f"services: {{web: {{image: a, env_file: {file}}}}}")
        assert "cannot read" in refusal([path])


def test_contents_and_builds_come_with_the_stack(tmp_path: Path) -> None:
    write(tmp_path, "hunter2", "pw.txt")
    text = "name: shop\nservices: {web: {build: ., secrets: [pw]}}\nsecrets: {pw: {file: pw.txt}}"
    found = load([write(tmp_path, text)], {})
    assert list(found.contents.values()) == [b"hunter2"]
    assert list(found.contents) == [found.services[0].workload.files[0].content]
    assert [(build.image, build.context) for build in found.builds] == [("shop-web", str(tmp_path))]
    assert "hunter2" not in found.source
