"""What ``train`` and ``fine-tune`` share: options, the progress bar, the closing tables."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sentstream.cli.options.completion import complete_model
from sentstream.cli.terminal.streams import is_terminal, open_console, print_json
from sentstream.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from sentstream_train.fit.epochs import Progress
    from sentstream_train.runs.train import TrainResult

#: The panels of ``--help``. A short metavar leaves room for the words.
ROWS = "Rows"
network = partial(typer.Option, rich_help_panel="Network")
fitting = partial(typer.Option, rich_help_panel="Fitting")
rows = partial(typer.Option, rich_help_panel=ROWS)
text = partial(typer.Option, rich_help_panel="Text")

TextColumn = Annotated[str | None, rows(metavar="NAME", help="Column of the text.", show_default="text")]
LabelColumn = Annotated[str | None, rows(metavar="NAME", help="Column of the label.", show_default="label")]
UserColumn = Annotated[
    str | None, rows(metavar="NAME", help="Column of the author.", show_default="user, where there is one")
]
Labels = Annotated[
    str | None,
    rows(
        metavar="NAMES", help="Use only rows with these labels, e.g. negative,positive.", show_default="all"
    ),
]
Validation = Annotated[float, rows(metavar="X", help="Share of the rows held out, or their number.", min=0)]
Conflicts = Annotated[
    Literal["majority", "drop", "keep"],
    rows(
        metavar="HOW",
        help="One text under several labels: majority (a tie drops them all), drop or keep.",
    ),
]
Duplicates = Annotated[
    Literal["first", "keep"],
    rows(metavar="HOW", help="One text twice under one label: first (one stays) or keep."),
]
Limit = Annotated[int, rows(metavar="N", help="Use so many rows, drawn at random; 0: all.", min=0)]
Optimizer = Annotated[
    Literal["adam", "adamw", "rmsprop", "nadam", "sgd"],
    fitting(
        metavar="NAME",
        help="adam (updates only the table rows that a batch has read), adamw, rmsprop, nadam or sgd.",
    ),
]
LearningRate = Annotated[float, fitting(metavar="X", help="Highest learning rate.")]
Schedule = Annotated[
    Literal["cosine", "linear", "exponential", "constant"],
    fitting(
        metavar="NAME", help="How it falls over all the epochs: cosine, linear, exponential or constant."
    ),
]
Warmup = Annotated[float, fitting(metavar="X", help="Share of the steps over which it rises.")]
WeightDecay = Annotated[float, fitting(metavar="X", help="Decoupled weight decay (adamw).")]
ClipNorm = Annotated[float, fitting(metavar="X", help="Largest norm of all gradients together; 0: none.")]
Patience = Annotated[
    int, fitting(metavar="N", help="Stop after so many epochs without a lower validation loss; 0: never.")
]
ClassWeights = Annotated[
    Literal["none", "balanced"],
    fitting(metavar="HOW", help="none, or balanced: each class weighs the same in the loss."),
]
Teacher = Annotated[
    list[str] | None,
    fitting(
        metavar="MODEL",
        help="Learn from this model's probabilities, too; may be given again: their mean.",
        show_default=False,
        autocompletion=complete_model,
    ),
]
TeacherColumns = Annotated[
    str | None,
    fitting(
        metavar="PREFIX",
        help="Learn from probabilities in the data's own columns, named PREFIX and the label.",
        show_default=False,
    ),
]
TeacherWeight = Annotated[
    float, fitting(metavar="X", help="Share of the teachers in what is learned of a labeled row.")
]
TeacherTemperature = Annotated[
    float, fitting(metavar="X", help="Softens what the teachers say; 1: as it is.")
]
Without = Annotated[
    list[Path] | None,
    rows(
        metavar="FILE",
        help="Leave out rows that repeat a text of this file, a test set, say; may be given again.",
        show_default=False,
    ),
]
BatchSize = Annotated[int, fitting(metavar="N", help="Tweets a step.")]
MaxTokens = Annotated[int, fitting(metavar="N", help="Tokens of a training tweet that are read.")]
Seed = Annotated[int, fitting(metavar="N", help="Seed of everything that is drawn.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


@contextmanager
def training_extra() -> Iterator[None]:
    """Around what needs the extra ``train``: its absence becomes a word about the extra."""
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(
            f"this command needs {error.name or 'TensorFlow'}, which is not installed",
            extra="train",
        ) from error


@contextmanager
def tensorflow() -> Iterator[None]:
    """Around the imports of a command that needs TensorFlow."""
    from sentstream_train.quiet import hushed

    with training_extra(), hushed():
        yield


@contextmanager
def progress_bar() -> Iterator[Progress | None]:
    """A bar on a terminal; gives the function that moves it, or None where nobody would see it."""
    if not is_terminal(sys.stderr):
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=open_console(stderr=True)) as display:
        task = display.add_task("reading", total=None)

        def move(epoch: int, done: int, total: int, loss: float, accuracy: float) -> None:
            text = f"epoch {epoch + 1}  loss {loss:.4f}  accuracy {100 * accuracy:.2f} %"
            display.update(task, description=text, completed=done, total=total)

        yield move


def numbers(text: str, option: str) -> tuple[int, ...]:
    """``"128,128"`` as numbers."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} takes whole numbers separated by commas, not {text!r}") from None


def split_names(text: str | None) -> list[str] | None:
    """``"negative,positive"`` as names."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def show(result: TrainResult, *, as_json: bool) -> None:
    """Print what a run came to."""
    if as_json:
        print_json({**result.run, "history": result.history.epochs})
        return
    from rich.table import Table

    from sentstream_train.data.split import describe

    console = open_console()
    rows = Table("rows", "", show_header=False, box=None)
    for name, count in describe(result.report).items():
        rows.add_row(name, f"{count:,}")
    console.print(rows)
    curve = Table("epoch", "loss", "accuracy %", "validation loss", "validation accuracy %", "tweets/s")
    for epoch in result.history.epochs:
        curve.add_row(
            str(epoch["epoch"]),
            f"{epoch['loss']:.4f}",
            f"{100 * epoch['accuracy']:.2f}",
            f"{epoch['validation_loss']:.4f}",
            f"{100 * epoch['validation_accuracy']:.2f}",
            f"{epoch['tweets_per_second']:,.0f}",
        )
    console.print(curve)
    console.print(f"model: {result.folder.model}", highlight=False)
    console.print(f"next:  sentstream export-onnx {result.folder.path} --output BUNDLE", highlight=False)
