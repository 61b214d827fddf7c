"""Fields of a dataclass as command options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from sentstream.cli.options.fields import Fields, Written, help_of, with_fields


@dataclass(frozen=True)
class Shape:
    """A shape.

    Args:
        cell: ``gru`` or
            ``lstm``.
        wide: How wide.
        share: What of it.
        ways: Both or one.
        sizes: One after the other.

    Raises:
        UsageError: It is none.
    """

    cell: Literal["gru", "lstm"] = "gru"
    wide: int = 8
    share: float = 0.5
    ways: bool = False
    sizes: tuple[int, ...] = (1, 2)


WRITTEN = {
    "ways": Written(("--both/--one",)),
    "sizes": Written(metavar="N,…", parse=lambda text: tuple(map(int, text.split(",")))),
}
GIVEN = Fields(Shape, "Shape", defaults=None, written=WRITTEN)
CHANGED = Fields(Shape, "Shape", defaults={"wide": 3}, only=("share", "wide"))
FIRST = Fields(Shape, "Shape", first=("share",), written=WRITTEN)


def run(mark: Fields, *arguments: str) -> tuple[dict[str, Any], list[Any]]:
    """Return the values passed to the command, and its options."""
    got: dict[str, Any] = {}

    def command(name: str, shape: dict[str, Any], cell: str = "own") -> None:
        got.update(name=name, cell=cell, **{f"shape.{key}": value for key, value in shape.items()})

    command.__annotations__["shape"] = Annotated[dict[str, Any], mark]
    app = typer.Typer()
    app.command()(with_fields(command))
    result = CliRunner().invoke(app, ["x", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return got, [one for one in typer.main.get_command(app).params if "completion" not in (one.name or "")]


def test_without_defaults_only_given_options_are_passed() -> None:
    got, options = run(GIVEN)
    assert got == {"name": "x", "cell": "own"}
    assert [one.default for one in options[1:]] == [None, None, None, None, "own"]
    got, _ = run(GIVEN, "--sizes", "3,4", "--both", "--wide", "0")
    assert got == {"name": "x", "cell": "own", "shape.sizes": (3, 4), "shape.ways": True, "shape.wide": 0}


def test_defaults_come_from_the_fields_unless_overridden() -> None:
    got, options = run(CHANGED)
    assert got == {"name": "x", "cell": "own", "shape.share": 0.5, "shape.wide": 3}
    assert [one.name for one in options] == ["name", "share", "wide", "cell"]


def test_fields_with_an_explicit_option_are_skipped() -> None:
    got, options = run(Fields(Shape, "Shape", only=("wide",)), "--cell", "anything")
    assert got == {"name": "x", "cell": "anything", "shape.wide": 8}
    assert [one.name for one in options] == ["name", "wide", "cell"]


def test_types_metavars_panels_and_help_come_from_the_fields() -> None:
    _, options = run(GIVEN)
    by_name = {one.name: one for one in options}
    assert {one.rich_help_panel for one in options[1:-1]} == {"Shape"}
    assert [by_name[name].metavar for name in ("wide", "share", "ways", "sizes")] == ["N", "X", None, "N,…"]
    assert by_name["wide"].help == "How wide."
    assert by_name["ways"].opts + by_name["ways"].secondary_opts == ["--both", "--one"]
    assert help_of(Shape)["cell"] == "gru or lstm."
    assert help_of(Shape)["sizes"] == "One after the other."


@with_fields
def choose(shape: Annotated[dict[str, Any], Fields(Shape, "Shape", only=("cell",))]) -> None:
    pytest.fail(str(shape))


def test_unknown_choice_is_rejected() -> None:
    app = typer.Typer()
    app.command()(choose)
    assert CliRunner().invoke(app, ["--cell", "rnn"]).exit_code == 2


def test_without_docstrings_there_are_options_without_help() -> None:
    @dataclass
    class Bare:
        wide: int = 1

    Bare.__doc__ = None
    assert help_of(Bare) == {"wide": ""}
