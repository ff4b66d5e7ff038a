"""How commands end: messages, exit codes, what is imported when."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from deploy.cli.group import HafenGroup
from deploy.cli.main import cli
from shared import errors

ROOT = Path(__file__).parents[4]
NOT_ON_EVERY_MACHINE = (
    "pyroute2",
    "grpc",
    "google",
    "fcntl",
    "resource",
    "aiohttp",
    "rich",
    "ruamel",
    "node_agent",
    "scheduler",
    "deploy.lab",
    "deploy.host",
)


def ended_by(action: Callable[[], None], environment: dict[str, str] | None = None) -> Result:
    group = HafenGroup(name="hafen")
    group.add_command(click.Command("act", callback=action))
    return CliRunner().invoke(group, ["act"], env={"HAFEN_DEBUG": "", **(environment or {})})


def failing(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.HafenError("it"), 1),
        (errors.SpecError("it"), 2),
        (errors.SettingsError("it"), 2),
        (errors.NotFoundError("it"), 3),
        (errors.HostError("it"), 4),
        (errors.UnavailableError("it"), 5),
        (errors.ConvergenceError("it"), 6),
    ],
)
def test_an_error_of_ours_is_its_message_and_its_exit_code(
    error: errors.HafenError, code: int
) -> None:
    ended = ended_by(failing(error))

    assert (ended.exit_code, ended.stderr, ended.stdout) == (code, "hafen: it\n", "")


def test_an_error_of_ours_inside_a_task_group_is_still_that_error() -> None:
    group = ExceptionGroup("tasks", [ExceptionGroup("inner", [errors.NotFoundError("it")])])
    ended = ended_by(failing(group))

    assert (ended.exit_code, ended.stderr) == (3, "hafen: it\n")


def test_a_bug_is_one_line_that_says_how_to_see_more() -> None:
    ended = ended_by(failing(ValueError("first\nsecond")))

    assert ended.exit_code == 1
    assert ended.stderr == (
        "hafen: internal error: ValueError: first (HAFEN_DEBUG=1 shows where)\n"
    )


def test_a_bug_is_a_traceback_when_asked_for() -> None:
    ended = ended_by(failing(ValueError("it")), {"HAFEN_DEBUG": "1"})

    assert ended.exit_code == 1
    assert ended.stderr.startswith("Traceback (most recent call last):\n")
    assert ended.stderr.endswith("ValueError: it\n")


def test_an_interruption_is_one_line_and_the_exit_code_of_sigint() -> None:
    ended = ended_by(failing(KeyboardInterrupt()))

    assert (ended.exit_code, ended.stderr) == (130, "hafen: interrupted\n")


def test_help_lists_every_command() -> None:
    shown = CliRunner().invoke(cli, ["--help"]).stdout

    listed = {line.split()[0] for line in shown.partition("Commands:\n")[2].splitlines()}
    assert listed == {
        *(
            "deploy",
            "plan",
            "config",
            "ls",
            "ps",
            "logs",
            "why",
            "events",
            "status",
            "doctor",
            "net",
            "node",
        ),
        *("scale", "restart", "stop", "start", "run", "rm", "image"),
        *("history", "rollback", "promote", "abort", "watch", "volume", "cert", "maintenance"),
        *("network", "vip"),
        *("serve", "lab", "version"),
    }


@pytest.mark.parametrize(
    "name", ["deploy", "plan", "config", "ls", "logs", "why", "scale", "run", "rm"]
)
def test_every_command_explains_itself(name: str) -> None:
    shown = CliRunner().invoke(cli, [name, "--help"])

    assert (shown.exit_code, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"Usage: hafen {name}") or "Usage: " in shown.stdout


def test_the_command_line_starts_without_what_only_a_linux_host_has() -> None:
    program = (
        "import sys\n"
        f"for name in {NOT_ON_EVERY_MACHINE!r}:\n"
        "    sys.modules[name] = None\n"
        "from deploy.cli.main import main\n"
        "sys.argv = ['hafen', '--help']\n"
        "main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("Usage: hafen ")


def test_commands_that_talk_to_a_cluster_need_nothing_of_a_linux_host() -> None:
    blocked = tuple(set(NOT_ON_EVERY_MACHINE) - {"aiohttp", "rich", "ruamel"})
    program = (
        "import sys\n"
        f"for name in {blocked!r}:\n"
        "    sys.modules[name] = None\n"
        "from deploy.cli.main import main\n"
        "sys.argv = ['hafen', '--host', 'unix:/nowhere/api.sock', 'status']\n"
        "main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (ended.returncode, ended.stdout) == (5, "")
    assert ended.stderr == (
        "hafen: nothing answers at /nowhere/api.sock: is `hafen serve` running there? "
        "--host and --lab name another one\n"
        "nothing more is known of this machine: there is no /etc/hafen/hafen.toml\n"
        "containers and traffic go on without it; --host https://HOST names another host's "
        "scheduler\n"
    )
