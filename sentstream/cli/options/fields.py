"""Settings as options: a command that takes a dataclass has an option for each field."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Annotated, Any, get_args

import typer

#: Metavars by type.
_METAVARS = {int: "N", float: "X", bool: None}


@dataclass(frozen=True)
class Written:
    """How a field is written on the command line, if its type does not determine it.

    Attributes:
        declarations: Names of the option, as ``--bidirectional/--one-way``; by default that of the field.
        metavar: The metavar in ``--help``.
        help: Its help; by default the text in the docstring.
        parse: Converts the given text to the field's value.
    """

    declarations: tuple[str, ...] = ()
    metavar: str | None = None
    help: str | None = None
    parse: Callable[[str], Any] | None = None


@dataclass(frozen=True)
class Fields:
    """Mark a parameter of a command: fields of a dataclass become options, and it gets their values by name.

    Attributes:
        of: The dataclass. The ``Args`` section of its docstring holds the help of each field.
        panel: The options' panel in ``--help``.
        defaults: Defaults that differ from those of the fields; if None, no option has a default, and the
            parameter gets only the options that were given.
        only: The fields to make options, in this order; by default all that the command has no option for.
        first: Fields whose options come before the others.
        written: How fields are written, if their types do not determine it.
    """

    of: type[Any]
    panel: str
    defaults: Mapping[str, Any] | None = field(default_factory=dict)
    only: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    written: Mapping[str, Written] = field(default_factory=dict)

    def options(self, taken: Collection[str]) -> list[inspect.Parameter]:
        """An option for each field, except for those with these names."""
        by_name = {one.name: one for one in fields(self.of)}
        rest = [name for name in by_name if name not in (*self.first, *taken)]
        helps = help_of(self.of)
        return [self._option(by_name[name], helps[name]) for name in self.only or (*self.first, *rest)]

    def _option(self, one: Field[Any], help: str) -> inspect.Parameter:
        written = self.written.get(one.name, Written())
        kind = _type(self.of, one)
        option = typer.Option(
            *written.declarations,
            metavar=written.metavar or _METAVARS.get(kind, "NAME"),
            help=written.help or help,
            rich_help_panel=self.panel,
        )
        if written.parse is not None:
            kind = str
        default = None if self.defaults is None else self.defaults.get(one.name, one.default)
        annotation = Annotated[kind | None if default is None else kind, option]  # type: ignore[valid-type]
        return inspect.Parameter(
            one.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )

    def values(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The values given to the options, as values of the fields.

        Raises:
            SentstreamError: As ``Written.parse``.
        """
        parse = {name: one.parse for name, one in self.written.items() if one.parse is not None}
        arguments = {name: value for name, value in arguments.items() if value is not None}
        return {name: parse[name](value) if name in parse else value for name, value in arguments.items()}


def with_fields(command: Callable[..., None]) -> Callable[..., None]:
    """The command with options for fields in place of parameters marked with ``Fields``."""
    parameters: list[inspect.Parameter] = []
    marked: dict[str, tuple[Fields, list[str]]] = {}
    own = inspect.signature(command, eval_str=True).parameters
    for name, parameter in own.items():
        mark = next((one for one in get_args(parameter.annotation)[1:] if isinstance(one, Fields)), None)
        options = [parameter] if mark is None else mark.options(own)
        if mark is not None:
            marked[name] = mark, [one.name for one in options]
        parameters += [one.replace(kind=one.KEYWORD_ONLY) for one in options]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        for name, (mark, names) in marked.items():
            values[name] = mark.values({each: values.pop(each) for each in names})
        command(**values)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def _type(kind: type[Any], one: Field[Any]) -> Any:
    """The type of a field; types of other fields may be names known only to type checkers."""
    return eval(one.type, vars(sys.modules[kind.__module__])) if isinstance(one.type, str) else one.type


def help_of(kind: type[Any]) -> dict[str, str]:
    """The text of each field in the docstring of a dataclass, without code marks."""
    _, _, section = inspect.cleandoc(kind.__doc__ or "").partition("\nArgs:\n")
    section = re.split(r"\n(?=\S)", section)[0]
    matches = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section, re.MULTILINE)
    helps = dict.fromkeys((one.name for one in fields(kind)), "")  # without docstrings, as under -OO
    return helps | {name: " ".join(text.replace("`", "").split()) for name, text in matches}
