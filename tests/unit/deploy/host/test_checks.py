"""What keeps a host from starting, in words."""

from pathlib import Path

import msgspec

from deploy.host.checks import acme_problems, etcd_dir_problems, wanted_ports
from deploy.host.needs import Need, missing, needs_of
from scheduler.issuing.authority import make_authority
from shared.settings import AcmeSettings
from tests.unit.deploy.host.test_parts import settings


def test_a_missing_program_is_one_line_with_its_package() -> None:
    assert missing([Need(("no-such-program", "nor-this"), "some-package")]) == [
        "no-such-program is not installed: apt-get install some-package"
    ]


def test_one_of_two_programs_is_enough() -> None:
    assert missing([Need(("no-such-program", "sh"), "some-package")]) == []


def test_a_host_without_a_member_needs_no_etcd() -> None:
    with_member = {need.programs[0] for need in needs_of(settings())}
    without = {need.programs[0] for need in needs_of(settings(member=None))}

    assert with_member - without == {"etcd", "nice"}


def test_only_the_ports_of_this_host_s_parts_must_be_free() -> None:
    assert sorted(wanted_ports(settings())) == [2379, 2380, 8470, 8471]
    assert sorted(wanted_ports(settings(member=None, scheduler=False))) == [8471]


def test_a_file_that_an_acme_server_is_to_be_trusted_by_is_looked_at(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    acme = AcmeSettings(directory="https://acme.test/directory", ca=ca)
    said = f"[acme] ca: {ca} holds no certificates: "

    assert acme_problems(None) == acme_problems(msgspec.structs.replace(acme, ca=None)) == []
    assert acme_problems(acme) == [f"{said}{ca}: No such file or directory"]
    ca.write_text("hello")
    assert [each.startswith(said) for each in acme_problems(acme)] == [True]
    ca.write_text(make_authority("acme", 0.0).chain)
    assert acme_problems(acme) == []


def test_etcd_may_find_nothing_an_empty_directory_or_its_own(tmp_path: Path) -> None:
    assert etcd_dir_problems(tmp_path / "none") == []
    assert etcd_dir_problems(tmp_path) == []
    (tmp_path / "member").mkdir()
    assert etcd_dir_problems(tmp_path) == []


def test_someone_else_s_files_in_etcd_s_directory_are_named(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()

    assert etcd_dir_problems(tmp_path) == [
        f"{tmp_path} is for etcd's data but holds holiday.jpg: move it away"
    ]
    assert etcd_dir_problems(tmp_path / "holiday.jpg") == [
        f"{tmp_path / 'holiday.jpg'} for etcd's data cannot be read: Not a directory"
    ]
