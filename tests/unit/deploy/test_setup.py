"""The set-up scripts, run with programs of our own in place of apt, dpkg and pip."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.host.needs import needs_of
from deploy.lab.lab import LAB_NEEDS
from deploy.lab.plan import hosts_of, settings_of

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "deploy" / "setup" / "host.sh"
APT = """#!/bin/sh
if [ -x /usr/sbin/policy-rc.d ]; then policy=held; else policy=free; fi
echo "apt $policy $*" >> "$LOG"
exit "${APT_CODE:-0}"
"""
DPKG_QUERY = """#!/bin/sh
for package; do :; done
case " $MISSING " in *" $package "*) exit 1 ;; *) echo installed ;; esac
"""
POLICY = Path("/usr/sbin/policy-rc.d")


class Machine:
    """A machine that lacks some packages; `log` is what was done to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "log"
        self._log.touch()
        self._program("apt-get", APT)
        self._program("dpkg-query", DPKG_QUERY)
        self._program("systemctl", '#!/bin/sh\necho "systemctl $*" >> "$LOG"\n')

    def _program(self, name: str, text: str) -> None:
        path = self._folder / name
        path.write_text(text)
        path.chmod(0o755)

    def run(
        self, *arguments: str, uid: int = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        self._program("id", f"#!/bin/sh\necho {uid}\n")
        path = f"{self._folder}:{os.environ['PATH']}"
        return subprocess.run(
            [SCRIPT, *arguments],
            env={"PATH": path, "LOG": str(self._log), **environment},
            check=False,
            capture_output=True,
            text=True,
        )

    @property
    def log(self) -> list[str]:
        return self._log.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_nothing_is_done_where_nothing_is_missing(machine: Machine) -> None:
    ended = machine.run(uid=1000)

    assert (ended.returncode, ended.stderr, machine.log) == (0, "", [])


def test_who_is_not_root_is_told_what_is_missing_in_one_line(machine: Machine) -> None:
    ended = machine.run(uid=1000, MISSING="crun haproxy")

    assert (ended.returncode, machine.log) == (4, [])
    assert ended.stderr == "host.sh: run as root to install: crun haproxy \n"


@pytest.mark.real
def test_only_what_is_missing_is_installed_and_starts_no_service(machine: Machine) -> None:
    before = POLICY.exists()

    ended = machine.run(MISSING="crun haproxy")

    assert ended.returncode == 0
    assert machine.log[:2] == [
        "apt held -q -o DPkg::Lock::Timeout=120 update",
        "apt held -q -y -o DPkg::Lock::Timeout=120 install --no-install-recommends crun haproxy",
    ]
    assert POLICY.exists() == before


@pytest.mark.real
def test_a_failed_installation_fails_and_leaves_no_policy_behind(machine: Machine) -> None:
    before = POLICY.exists()

    ended = machine.run(MISSING="crun", APT_CODE="100")

    assert ended.returncode == 100
    assert POLICY.exists() == before


def test_every_program_that_a_host_or_a_lab_needs_comes_with_the_set_up(machine: Machine) -> None:
    hosts = hosts_of(1, {})
    needed = {need.package for need in (*LAB_NEEDS, *needs_of(settings_of(hosts[0], hosts)))}

    assert needed <= set(machine.run("--list").stdout.split())


def test_what_only_tests_need_is_installed_only_for_tests(machine: Machine) -> None:
    machine.run(MISSING="runc")
    assert machine.log == []
    machine.run("--tests", MISSING="runc")
    assert any(line.endswith(" install --no-install-recommends runc") for line in machine.log)


class Checkout:
    """A copy of what `venv.sh` reads, with one module; its pip installs nothing."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.module = root / "shared" / "module.py"
        self.compiled = Path(importlib.util.cache_from_source(str(self.module)))
        for folder in ("deploy/setup", "requirements", "shared", ".venv/bin"):
            (root / folder).mkdir(parents=True)
        shutil.copy(ROOT / "deploy" / "setup" / "venv.sh", root / "deploy" / "setup")
        for name in ("pyproject.toml", "requirements/build.txt", "requirements/runtime.txt"):
            (root / name).touch()
        self.module.write_text("x = 1\n")
        (root / ".venv" / "bin" / "python").symlink_to(sys.executable)
        self._program("pip", "#!/bin/sh\n")
        self._program("hafen", "#!/bin/sh\n")

    def _program(self, name: str, text: str) -> None:
        path = self._root / ".venv" / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def set_up(self) -> subprocess.CompletedProcess[str]:
        """Run `venv.sh` as where Python is told to write nothing."""
        return subprocess.run(
            [self._root / "deploy" / "setup" / "venv.sh"],
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            check=False,
            capture_output=True,
            text=True,
        )


def test_code_is_compiled_where_no_process_may_and_again_when_it_has_changed(
    tmp_path: Path,
) -> None:
    checkout = Checkout(tmp_path)
    assert checkout.set_up().returncode == 0
    first = checkout.compiled.read_bytes()

    checkout.module.write_text("x = 1\nchanged = True\n")
    os.utime(checkout.module, (0, 0))  # seconds count, and all of this may be in one
    again = checkout.set_up()

    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert checkout.compiled.read_bytes() != first


def test_code_that_cannot_be_compiled_is_no_failure_of_the_set_up(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.compiled.parent.touch()  # a file in the way stops root, too

    done = checkout.set_up()

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines() == ["venv.sh: installing runtime packages into .venv"]
