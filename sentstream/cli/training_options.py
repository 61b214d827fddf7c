"""What ``train`` and ``fine-tune`` share: options, the progress bar, the closing tables."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from json import dumps
from typing import TYPE_CHECKING, Annotated

import typer

from sentstream.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from sentstream_train.fit import Progress
    from sentstream_train.run import TrainResult

NETWORK, FITTING, ROWS, TEXT = "Network", "Fitting", "Rows", "Text"

TextColumn = Annotated[str | None, typer.Option(help="Column of the text (default: text).", rich_help_panel=ROWS)]
LabelColumn = Annotated[str | None, typer.Option(help="Column of the label (default: label).", rich_help_panel=ROWS)]
UserColumn = Annotated[
    str | None, typer.Option(help="Column of the author (default: user, where there is one).", rich_help_panel=ROWS)
]
Labels = Annotated[
    str | None, typer.Option(help="Use only rows with these labels, e.g. negative,positive.", rich_help_panel=ROWS)
]
Validation = Annotated[
    float, typer.Option(help="Share of the rows held out, or their number.", min=0, rich_help_panel=ROWS)
]
Conflicts = Annotated[
    str,
    typer.Option(
        help="One text under several labels: majority (a tie drops them), drop, or keep.", rich_help_panel=ROWS
    ),
]
Duplicates = Annotated[
    str, typer.Option(help="One text twice under one label: keep the first, or keep all (keep).", rich_help_panel=ROWS)
]
Limit = Annotated[int, typer.Option(help="Use so many rows, drawn at random; 0: all.", min=0, rich_help_panel=ROWS)]
Optimizer = Annotated[str, typer.Option(help="adam, adamw, rmsprop, nadam or sgd.", rich_help_panel=FITTING)]
LearningRate = Annotated[float, typer.Option(help="Highest learning rate.", rich_help_panel=FITTING)]
Schedule = Annotated[
    str, typer.Option(help="Its fall: cosine, linear, exponential or constant.", rich_help_panel=FITTING)
]
Warmup = Annotated[float, typer.Option(help="Share of the steps over which it rises.", rich_help_panel=FITTING)]
WeightDecay = Annotated[float, typer.Option(help="Decoupled weight decay (adamw).", rich_help_panel=FITTING)]
ClipNorm = Annotated[
    float, typer.Option(help="Largest norm of all gradients together; 0: none.", rich_help_panel=FITTING)
]
Patience = Annotated[
    int,
    typer.Option(help="Stop after so many epochs without a lower validation loss; 0: never.", rich_help_panel=FITTING),
]
ClassWeights = Annotated[str, typer.Option(help="none, or balanced.", rich_help_panel=FITTING)]
BatchSize = Annotated[int, typer.Option(help="Tweets a step.", rich_help_panel=FITTING)]
MaxTokens = Annotated[int, typer.Option(help="Tokens of a training tweet that are read.", rich_help_panel=FITTING)]
Seed = Annotated[int, typer.Option(help="Seed of everything that is drawn.", rich_help_panel=FITTING)]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


@contextmanager
def training_extra() -> Iterator[None]:
    """Turns the absence of TensorFlow into a word about the extra ``train``."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its start-up chatter says nothing of use
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(
            f"this command needs {error.name or 'TensorFlow'}, which is not installed",
            hint="pip install 'sentstream[train]'",
        ) from error


@contextmanager
def progress_bar() -> Iterator[Progress | None]:
    """A bar on a terminal; gives the function that moves it, or None where nobody would see it."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True)) as display:
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
        print(dumps({**result.run, "history": result.history.epochs}, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    from sentstream_train.data import describe

    console = Console()
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
