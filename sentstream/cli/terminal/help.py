"""The layout of ``--help``: typer's, in less space."""

from __future__ import annotations

from functools import partial
from typing import Any


def tidy(command: Any) -> None:
    """Make the help of a typer command easy to read in 80 columns.

    typer keeps the line breaks of a docstring, names a type beside every flag and argument (``--json <bool>``
    looks as if it took a value), and puts a default in parentheses when it is given as text.
    """
    command.format_help = partial(_format_help, command)


def fill(text: str) -> str:
    r"""Join each paragraph into one line, which the terminal wraps.

    >>> fill("One\n  line.\n\nAnother\nline.")
    'One line.\n\nAnother line.'
    """
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _format_help(command: Any, context: Any, formatter: Any) -> None:
    command.help = fill(command.help or "")
    for one in command.get_params(context):
        if one.param_type_name == "argument" or one.is_flag:
            one.display_type_rich = _no_type
        if isinstance(one.show_default, str):
            one._get_default_string = partial(_plain_default, one.show_default)
    type(command).format_help(command, context, formatter)


def _no_type(ctx: Any) -> None:
    """Show no type."""


def _plain_default(text: str, **_: Any) -> str:
    return text
