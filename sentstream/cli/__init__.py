"""The command line: one file per command, each a thin wrapper around a typed function."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Annotated, Any

import typer

from sentstream.cli.address_space import spare_address_space
from sentstream.cli.calibrate import EXAMPLES as CALIBRATE_EXAMPLES
from sentstream.cli.calibrate import calibrate
from sentstream.cli.consume import EXAMPLES as CONSUME_EXAMPLES
from sentstream.cli.consume import consume
from sentstream.cli.data import data
from sentstream.cli.dead_letters import dead_letters
from sentstream.cli.doctor import EXAMPLES as DOCTOR_EXAMPLES
from sentstream.cli.doctor import doctor
from sentstream.cli.evaluate import EXAMPLES as EVALUATE_EXAMPLES
from sentstream.cli.evaluate import evaluate
from sentstream.cli.explain import EXAMPLES as EXPLAIN_EXAMPLES
from sentstream.cli.explain import explain
from sentstream.cli.export_onnx import EXAMPLES as EXPORT_ONNX_EXAMPLES
from sentstream.cli.export_onnx import export_onnx
from sentstream.cli.fine_tune import EXAMPLES as FINE_TUNE_EXAMPLES
from sentstream.cli.fine_tune import fine_tune
from sentstream.cli.models import models
from sentstream.cli.produce import EXAMPLES as PRODUCE_EXAMPLES
from sentstream.cli.produce import produce
from sentstream.cli.reference import EXAMPLES as REFERENCE_EXAMPLES
from sentstream.cli.reference import reference
from sentstream.cli.report import EXAMPLES as REPORT_EXAMPLES
from sentstream.cli.report import report
from sentstream.cli.score import EXAMPLES as SCORE_EXAMPLES
from sentstream.cli.score import score
from sentstream.cli.terminal.help import tidy
from sentstream.cli.terminal.streams import flush_data, log_as_json, print_data, print_message, set_up
from sentstream.cli.train import EXAMPLES as TRAIN_EXAMPLES
from sentstream.cli.train import train
from sentstream.cli.tune import EXAMPLES as TUNE_EXAMPLES
from sentstream.cli.tune import tune
from sentstream.cli.verify import EXAMPLES as VERIFY_EXAMPLES
from sentstream.cli.verify import verify
from sentstream.cli.without_pandas import without_pandas
from sentstream.errors import (
    INTERRUPTED_EXIT_CODE,
    TERMINATED_EXIT_CODE,
    MissingExtraError,
    OutOfMemoryError,
    OutputWriteError,
    SentstreamError,
    is_out_of_memory,
)

#: Commands that must start fast: they use nothing that needs pandas.
_QUICK = (
    *("score", "report", "verify", "consume", "produce", "dead-letters", "reference", "explain", "models"),
)
USE, MAKE = "Use models", "Train and evaluate models (extra: train)"


class _Interrupted(Exception):
    """Ctrl-C or SIGTERM, hidden from typer, which would return an exit code without a message."""


class _Group(typer.core.TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _Interrupted from error


app = typer.Typer(
    name="sentstream",
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"auto_envvar_prefix": "SENTSTREAM", "help_option_names": ["-h", "--help"]},
)
app.command(rich_help_panel=USE, epilog=SCORE_EXAMPLES)(score)
app.command(rich_help_panel=USE, epilog=REPORT_EXAMPLES)(report)
app.command(rich_help_panel=USE, epilog=VERIFY_EXAMPLES)(verify)
app.command(rich_help_panel=USE, epilog=CONSUME_EXAMPLES)(consume)
app.command(rich_help_panel=USE, epilog=PRODUCE_EXAMPLES)(produce)
app.add_typer(dead_letters, name="dead-letters", rich_help_panel=USE)
app.command(rich_help_panel=USE, epilog=REFERENCE_EXAMPLES)(reference)
app.command(rich_help_panel=USE, epilog=EXPLAIN_EXAMPLES)(explain)
app.add_typer(models, name="models", rich_help_panel=USE)
app.command(rich_help_panel=USE, epilog=DOCTOR_EXAMPLES)(doctor)
app.add_typer(data, name="data", rich_help_panel=MAKE)
app.command(rich_help_panel=MAKE, epilog=TRAIN_EXAMPLES)(train)
app.command(rich_help_panel=MAKE, epilog=TUNE_EXAMPLES)(tune)
app.command("fine-tune", rich_help_panel=MAKE, epilog=FINE_TUNE_EXAMPLES)(fine_tune)
app.command(rich_help_panel=MAKE, epilog=CALIBRATE_EXAMPLES)(calibrate)
app.command(rich_help_panel=MAKE, epilog=EVALUATE_EXAMPLES)(evaluate)
app.command("export-onnx", rich_help_panel=MAKE, epilog=EXPORT_ONNX_EXAMPLES)(export_onnx)


def _print_version(wanted: bool) -> None:
    if wanted:
        from sentstream.cli.version import version_lines

        print_data("\n".join(version_lines()))
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; works anywhere on the command line.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version, and those of Python, ONNX Runtime and Arrow.",
            callback=_print_version,
            is_eager=True,
            allow_from_autoenv=False,
        ),
    ] = False,
) -> None:
    """Label the sentiment of tweets with recurrent networks, in files and Kafka topics.

    Every option is also an environment variable: SENTSTREAM_SCORE_MODEL sets --model of
    score.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Arguments after ``sentstream``; by default those of the process.

    Returns:
        The exit code: 0, or the one of the error (see ``sentstream.errors``).
    """
    if arguments is None:  # do not change a caller's own process
        set_up()
        spare_address_space()
        if "_SENTSTREAM_COMPLETE" in os.environ:  # typer would wrap descriptions; a line is one answer
            os.environ["COLUMNS"] = "10000"
    log_as_json(False)
    argv = list(sys.argv[1:] if arguments is None else arguments)
    debug = _debugging(argv)
    _catch_termination()
    words = [word for word in argv if not word.startswith("-")]
    quick = arguments is None and words[:1] and words[0] in _QUICK
    around: AbstractContextManager[None] = without_pandas() if quick else nullcontext()
    try:
        # Not the standalone mode, which would exit by itself and does not know our exit codes.
        with around:
            code = _command()(argv, prog_name="sentstream", standalone_mode=False)
        flush_data()
        return code if isinstance(code, int) else 0
    except SentstreamError as error:
        if debug:
            raise
        return _report_error(str(error), error.exit_code)
    except typer.TyperException as error:  # a wrong option or argument
        if not error.format_message():  # no argument at all: the help was printed
            return error.exit_code
        context = getattr(error, "ctx", None)
        hint = f" (see: {context.command_path} --help)" if context else ""
        return _report_error(error.format_message() + hint, error.exit_code)
    except (_Interrupted, KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except (BrokenPipeError, SystemExit) as error:  # typer and rich turn the former into the latter
        if not (isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError)):
            raise
        return 0  # the reader of our output has gone, as with `head`
    except Exception as error:
        if isinstance(error, SystemError) and isinstance(error.__cause__, KeyboardInterrupt):
            return _interrupted()  # a signal arrived inside a C library
        if debug:
            raise
        package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
        if package and not package.startswith("sentstream"):  # missing runtime extras are reported elsewhere
            lacks = MissingExtraError(f"this command needs {package}, which is not installed", extra="train")
            return _report_error(str(lacks), lacks.exit_code)
        if is_out_of_memory(error):
            lack = OutOfMemoryError(f"out of memory: {type(error).__name__} {error}".rstrip())
            return _report_error(str(lack), lack.exit_code)
        return _report_error(
            f"this is a bug: {type(error).__name__}: {error} (run again with --debug, and report it)", 1
        )


def _command() -> Any:
    """The command tree. Environment variables are explained once, not for every option.

    The completion options have none: a leftover variable would install completion.
    """
    command = typer.main.get_command(app)
    waiting = [command]
    while waiting:
        one = waiting.pop()
        tidy(one)
        waiting += getattr(one, "commands", {}).values()
        for parameter in one.params:
            if hasattr(parameter, "show_envvar"):
                parameter.show_envvar = False
            if isinstance(parameter, typer.core.TyperOption) and "completion" in (parameter.name or ""):
                parameter.allow_from_autoenv = False
    return command


def _debugging(arguments: list[str]) -> bool:
    """Whether tracebacks are wanted; ``--debug`` moves to the front, where click expects it."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    if "--debug" in arguments[:end]:
        arguments[:end] = ["--debug", *(argument for argument in arguments[:end] if argument != "--debug")]
        return True
    return os.environ.get("SENTSTREAM_DEBUG", "").lower() in ("1", "true", "t", "yes", "y", "on")


#: Whether SIGTERM arrived: extensions that check for signals, as Ray's does, replace the exception that its
#: handler raises with their own.
_terminated = threading.Event()


def _catch_termination() -> None:
    """Have SIGTERM clean up as Ctrl-C does."""

    def terminate(*_: object) -> None:
        _terminated.set()
        raise KeyboardInterrupt

    _terminated.clear()
    try:
        signal.signal(signal.SIGTERM, terminate)
    except ValueError:  # not in the main thread, as when a notebook calls main()
        return


def _interrupted() -> int:
    code = TERMINATED_EXIT_CODE if _terminated.is_set() else INTERRUPTED_EXIT_CODE
    return _report_error("interrupted", code)


def _report_error(message: str, code: int) -> int:
    with suppress(OutputWriteError, OSError, ValueError):  # one error is enough
        flush_data()
    print_message(f"sentstream: error: {' '.join(message.split())}", level="error", exit_code=code)
    return code
