"""How every command ends: an error is a message on standard error and the exit code of its class.

Commands are found by name and imported when they are used: `hafen --help` starts quickly and also
works where the parts that need Linux cannot be imported.
"""

import importlib
import os
import sys
import traceback
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import click
import msgspec

from shared.errors import HafenError

INTERRUPTED: Final = 130  # 128 + SIGINT, as a shell reports it
_PIPE_CLOSED: Final = 141  # 128 + SIGPIPE
_BUG: Final = 1


class Lazy(msgspec.Struct, frozen=True):
    """Where a command is, and its one line in `--help`; `is_linux_only` hides it elsewhere."""

    module: str
    attribute: str
    help: str
    is_linux_only: bool = False


class LazyGroup(click.Group):
    """A group that imports a command when it is used."""

    def __init__(self, *args: Any, lazy: Mapping[str, Lazy] | None = None, **given: Any) -> None:
        super().__init__(*args, **given)
        is_linux = sys.platform == "linux"
        self._lazy = {
            name: where
            for name, where in (lazy or {}).items()
            if is_linux or not where.is_linux_only
        }

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which they are declared."""
        return [*self._lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported now."""
        where = self._lazy.get(cmd_name)
        if where is None:
            return super().get_command(ctx, cmd_name)
        command = getattr(importlib.import_module(where.module), where.attribute)
        assert isinstance(command, click.Command), f"{where.module}.{where.attribute}"
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """List the commands without importing them."""
        rows = [(name, where.help) for name, where in self._lazy.items()]
        rows += [
            (name, command.get_short_help_str()) for name, command in sorted(self.commands.items())
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class HafenGroup(LazyGroup):
    """The root group: turns errors into exit codes."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; no error leaves this as a traceback unless HAFEN_DEBUG asks for it."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            click.echo("hafen: interrupted", err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            _forget_stdout()
            ctx.exit(_PIPE_CLOSED)
        except HafenError as error:
            _end(ctx, error)
        except Exception as error:  # noqa: BLE001 - the last place that can still say it in one line
            _end(ctx, _only(error))


def _only(error: Exception) -> Exception:
    """Return the single error inside an exception group: a task's refusal stays a refusal."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _end(ctx: click.Context, error: Exception) -> NoReturn:
    if isinstance(error, HafenError):
        click.echo(f"hafen: {error}", err=True)
        ctx.exit(error.exit_code)
    if os.environ.get("HAFEN_DEBUG"):
        traceback.print_exception(error)
    else:
        what = str(error).partition("\n")[0]
        click.echo(
            f"hafen: internal error: {type(error).__name__}: {what} (HAFEN_DEBUG=1 shows where)",
            err=True,
        )
    ctx.exit(_BUG)


def _forget_stdout() -> None:
    """Point standard output at nothing: what is still buffered must not fail again at exit."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
