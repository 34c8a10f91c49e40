"""The ``tpactl`` program: finds a command, runs it, and turns what went wrong into an exit code.

A command lives in ``tpactl/cli/<command>.py``. It is imported only when it runs or is listed, and
it imports its room only when it runs, so ``--help`` never waits for torch.
"""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Any

import typer

from tpactl import __version__
from tpactl.cli import console
from tpactl.cli.help import Command, Group
from tpactl.cli.usage import explain
from tpactl.errors import InputError, MachineError, TpactlError, UsageError

COMMANDS: dict[str, str] = {
    "quickstart": "Start here",
    "init": "Start here",
    "doctor": "Start here",
    "prepare": "Lifecycle",
    "search": "Lifecycle",
    "train": "Lifecycle",
    "eval": "Lifecycle",
    "gate": "Lifecycle",
    "package": "Lifecycle",
    "verify": "Lifecycle",
    "transcribe": "Lifecycle",
    "report": "Look inside",
    "inspect": "Look inside",
    "runs": "Look inside",
    "base": "Look inside",
}
"""Every command and the panel of the help it stands in, in the order the help shows them."""

INTERRUPTED = 130
TERMINATED = 143
READER_GONE = 141


class Terminated(KeyboardInterrupt):
    """SIGTERM: cleans up exactly as Ctrl-C does."""


class Interrupted(BaseException):
    """Carries an interrupt past typer, which would swallow it."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class Program(Group):
    """The group of all commands; each is imported when it is first asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the command names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command, or ``None`` where there is none of that name."""
        known = self.list_commands(ctx)
        if cmd_name not in self.commands and cmd_name in known:
            self.commands[cmd_name] = load(cmd_name)
        if cmd_name not in known and not ctx.resilient_parsing:
            near = get_close_matches(cmd_name, known, n=1)
            raise UsageError(
                f"no such command {cmd_name!r}",
                f"did you mean: tpactl {near[0]}" if near else "run: tpactl --help",
            )
        return self.commands.get(cmd_name)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except Terminated as error:
            raise Interrupted(TERMINATED) from error
        except KeyboardInterrupt as error:
            raise Interrupted(INTERRUPTED) from error


def load(name: str) -> Any:
    """Return the typer command of ``tpactl/cli/<name>.py``.

    The module holds a function of the command's name, or ``SUBCOMMANDS``, a tuple of functions.
    """
    module = importlib.import_module(f"tpactl.cli.{name}")
    children = getattr(module, "SUBCOMMANDS", None)
    made = typer.Typer(cls=Group, add_completion=False, rich_markup_mode=None)
    if children is None:
        made.command(name, cls=Command, context_settings=_HELP_NAMES)(getattr(module, name))
    else:
        made.callback(help=module.HELP)(lambda: None)
        for child in children:
            made.command(child.__name__, cls=Command)(child)
    command = typer.main.get_command(made)
    command.name = name
    command.rich_help_panel = COMMANDS[name]  # type: ignore[attr-defined]
    return command


_HELP_NAMES = {"help_option_names": ["--help", "-h"]}

app = typer.Typer(
    cls=Program,
    invoke_without_command=True,
    rich_markup_mode=None,
    context_settings=_HELP_NAMES,
    pretty_exceptions_enable=False,
)


def _show_version(asked: bool) -> None:
    if asked:
        console.out.print(f"tpactl {__version__}")
        raise typer.Exit


@app.callback()
def tpactl(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and stop.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Take a speech adapter through its whole life, from audio to a verified package.

    Example:
      tpactl quickstart
    """
    if context.invoked_subcommand is None:
        from tpactl.cli.lifecycle import show

        show()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and exit with the code that ``docs/errors.md`` lists."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):  # a locale without "▶" prints "?" rather than fails
            stream.reconfigure(errors="replace")
    signal.signal(signal.SIGTERM, _terminate)
    given = list(sys.argv[1:] if arguments is None else arguments)
    code = run(given)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = _reader_gone()
    except OSError as error:
        known = MachineError(
            f"the output cannot be written: {error.strerror or error}",
            "free disk space, or send the output elsewhere",
        )
        code = code or _fail(known, as_json=False)
        _drop_output()
    raise SystemExit(code)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    as_json = "--json" in arguments
    try:
        returned = typer.main.get_command(app).main(
            arguments, prog_name="tpactl", standalone_mode=False
        )
        # Outside standalone mode typer returns the code of typer.Exit; no command returns a number.
        return returned if isinstance(returned, int) else 0
    except TpactlError as error:
        return _fail(error, as_json)
    except (Interrupted, KeyboardInterrupt, typer.Abort) as error:
        console.err.print("interrupted", soft_wrap=True)
        return getattr(error, "exit_code", INTERRUPTED)
    except BrokenPipeError:
        return _reader_gone()
    except SystemExit as error:  # what typer makes of a broken pipe
        if isinstance(error.__context__, BrokenPipeError):
            return _reader_gone()
        raise
    except Exception as error:
        known = _as_ours(error)
        if known is not None:
            return _fail(known, as_json)
        traceback.print_exc()
        console.err.print(
            "\nThis is a bug in tpactl. Please report it with the lines above and the output of: "
            "tpactl doctor",
            soft_wrap=True,
            markup=False,
        )
        if as_json:
            unknown = TpactlError(
                f"internal error: {type(error).__name__}: {error}",
                "report it with the traceback on stderr and the output of: tpactl doctor --json",
            )
            console.fail(unknown, as_json=True)
        return 1


def _fail(error: TpactlError, as_json: bool) -> int:
    try:
        console.fail(error, as_json=as_json)
    except BrokenPipeError:
        raise
    except OSError:  # stdout is full; stderr seldom is
        console.fail(error)
    return error.exit_code


def _as_ours(error: Exception) -> TpactlError | None:
    """Return the two-line form of an error that is not ours but whose cause is known."""
    # Every usage error of typer, whichever parser library it is built on, has these two.
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        return explain(error)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return MachineError(
            f"the device ran out of memory: {str(error).splitlines()[0]}",
            "use smaller batches (--set training.batch_s=30), --device cpu, or a larger device",
        )
    if isinstance(error, MemoryError):
        return MachineError(
            "the machine ran out of memory",
            "close other programs or use smaller batches (--set training.batch_s=30)",
        )
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("tpactl"):
        return MachineError(
            f"the Python package {error.name} is not installed",
            "run: pip install --upgrade tpactl, then tpactl doctor",
        )
    if isinstance(error, OSError):
        return _os_error(error)
    return None


def _os_error(error: OSError) -> TpactlError | None:
    where = f"{error.filename}: " if error.filename else ""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MachineError(f"{where}{reason}", "free disk space and run the command again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return MachineError(
            f"{where}{reason}", "change the permissions, or choose a folder you may use"
        )
    if error.filename and error.errno in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR):
        return InputError(f"{where}{reason}", "check the path")
    return None


def _reader_gone() -> int:
    # Whoever read our output (head, less) has closed it: stop quietly.
    _drop_output()
    return READER_GONE


def _drop_output() -> None:
    # What is left to be written must not fail again when the interpreter ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())  # type: ignore[union-attr]


def _terminate(number: int, frame: object) -> None:
    raise Terminated
