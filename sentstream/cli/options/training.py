"""What ``train`` and ``fine-tune`` share: options, the progress bar and the final tables."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sentstream.cli.options.completion import complete_model
from sentstream.cli.options.fields import Fields, Written
from sentstream.cli.terminal.epoch_lines import EpochLines
from sentstream.cli.terminal.messages import warn
from sentstream.cli.terminal.streams import is_terminal, open_console, print_json
from sentstream.errors import MissingExtraError, UsageError
from sentstream_train.config import DataConfig, FitConfig, NetworkConfig

if TYPE_CHECKING:
    from sentstream_train.fit.epochs import Progress
    from sentstream_train.runs.result import OnEpoch, TrainResult
    from sentstream_train.store.record import WordVectors

#: The panels of ``--help``. Short metavars leave room for the text.
ROWS = "Data"
network = partial(typer.Option, rich_help_panel="Network")
fitting = partial(typer.Option, rich_help_panel="Training")
rows = partial(typer.Option, rich_help_panel=ROWS)
text = partial(typer.Option, rich_help_panel="Text")

TrainedModel = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Directory of a finished run, its model.keras, or a bundle (shipped name or path).",
        show_default=False,
        autocompletion=complete_model,
    ),
]
TextColumn = Annotated[
    str | None, rows(metavar="NAME", help="Column that holds the tweets.", show_default="text")
]
LabelColumn = Annotated[
    str | None, rows(metavar="NAME", help="Column that holds the labels.", show_default="label")
]
UserColumn = Annotated[
    str | None, rows(metavar="NAME", help="Column that holds the authors.", show_default="user, if there")
]
Labels = Annotated[
    str | None,
    rows(
        metavar="NAMES", help="Use only rows with these labels, e.g. negative,positive.", show_default="all"
    ),
]
Teacher = Annotated[
    list[str] | None,
    fitting(
        metavar="MODEL",
        help="Learn from this model's probabilities, too; several are averaged. Repeatable.",
        show_default=False,
        autocompletion=complete_model,
    ),
]
TeacherColumns = Annotated[
    str | None,
    fitting(
        metavar="PREFIX",
        help="Learn from probabilities in the data's columns, named PREFIX plus the label.",
        show_default=False,
    ),
]
Without = Annotated[
    list[Path] | None,
    rows(
        metavar="FILE",
        help="Leave out rows whose text is in this file, such as a test set. Repeatable.",
        show_default=False,
    ),
]


def numbers(text: str, option: str) -> tuple[int, ...]:
    """Parse ``"128,128"`` into numbers."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} takes integers separated by commas, not {text!r}") from None


def class_weights(text: str) -> Any:
    """Return ``"balanced"`` unchanged, and parse ``"negative=2,positive=1"`` into weights.

    Raises:
        UsageError: A weight that is no number, or a label that has two.
    """
    if "=" not in text:
        return text
    weights: dict[str, float] = {}
    for part in text.split(","):
        label, _, weight = (piece.strip() for piece in part.rpartition("="))
        try:
            value = float(weight)
        except ValueError:
            value = 0.0
        if not label or value <= 0 or label in weights:
            raise UsageError(
                f"--class-weights takes none, balanced or one weight above 0 per label, not {part.strip()!r}",
                hint="e.g. --class-weights negative=2,positive=1",
            )
        weights[label] = value
    return weights


#: Options that are not given keep the values of ``--arch``.
NETWORK = Fields(
    NetworkConfig,
    "Network",
    defaults=None,
    written={
        "units": Written(
            metavar="N,…",
            help="Units of each recurrent layer, e.g. 128,128.",
            parse=partial(numbers, option="--units"),
        ),
        "bidirectional": Written(("--bidirectional/--one-way",)),
    },
)
FITTING = Fields(
    FitConfig,
    "Training",
    first=("teacher_weight", "teacher_temperature"),  # next to --teacher
    written={
        "class_weights": Written(
            metavar="HOW",
            help="Class weights in the loss: none, balanced (each class counts the same), or a list"
            " such as negative=2,positive=1.",
            parse=class_weights,
        )
    },
)
EXAMPLES = Fields(
    DataConfig,
    ROWS,
    only=("validation", "conflicts", "duplicates", "limit"),
    written={"conflicts": Written(metavar="HOW"), "duplicates": Written(metavar="HOW")},
)


@contextmanager
def training_extra() -> Iterator[None]:
    """Turn an import error of a package from the extra ``train`` into one that names the extra."""
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(
            f"this command needs {error.name or 'TensorFlow'}, which is not installed",
            extra="train",
        ) from error


@contextmanager
def tensorflow() -> Iterator[None]:
    """Wrap the imports of a command that needs TensorFlow."""
    from sentstream_train.quiet import quiet_stderr

    with training_extra(), quiet_stderr():
        yield


@contextmanager
def progress_bar() -> Iterator[Progress | None]:
    """A progress bar on a terminal; yields the function that moves it, or None without a terminal."""
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


def report_coverage(vectors: WordVectors) -> None:
    """Say how much of the vocabulary starts with pretrained vectors."""
    share = vectors.words / max(vectors.of_words, 1)
    warn(
        f"embeddings: {vectors.name} has {vectors.words:,} of the {vectors.of_words:,} words ({share:.1%}),"
        f" which make up {vectors.tokens:.1%} of the training rows' tokens"
    )


@dataclass(frozen=True)
class Watch:
    """Callbacks for training progress: after each batch and after each epoch."""

    progress: Progress | None
    on_epoch: OnEpoch | None


@contextmanager
def watching() -> Iterator[Watch]:
    """A progress bar on a terminal, log lines elsewhere."""
    if is_terminal(sys.stderr):
        with progress_bar() as bar:
            yield Watch(bar, None)
    else:
        lines = EpochLines(warn)
        yield Watch(lines.batch, lines.epoch)


def split_names(text: str | None) -> list[str] | None:
    """Parse ``"negative,positive"`` into names."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def show(result: TrainResult, *, as_json: bool) -> None:
    """Print the result of a run."""
    for warning in result.warnings:
        warn(warning)
    if as_json:
        print_json(result.to_dict())
        return
    from rich.table import Table

    from sentstream_train.data.split import describe

    console = open_console()
    rows = Table("rows", "", show_header=False, box=None)
    for name, count in describe(result.report).items():
        rows.add_row(name, f"{count:,}")
    console.print(rows)
    console.print(_stages(result) if result.record.stages else _curve(result))
    console.print(f"model: {result.folder.model}", highlight=False)
    console.print(f"next:  sentstream export-onnx {result.folder.path} --output BUNDLE", highlight=False)


def _curve(result: TrainResult) -> Any:
    """The learning curve, one row per epoch."""
    from rich.table import Table

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
    return curve


def _stages(result: TrainResult) -> Any:
    """One row before fine-tuning and one per stage: the epoch that was kept, and its validation figures."""
    from rich.table import Table

    stages = result.record.stages
    table = Table("stage", "epochs", "kept", "validation loss", "validation accuracy %")
    before = stages[0].before
    table.add_row("before", "", "", f"{before.loss:.4f}", f"{100 * before.accuracy:.2f}")
    for stage in stages:
        kept = f"epoch {stage.kept}" if stage.kept else f"none: {stage.why}"
        table.add_row(
            stage.name,
            str(stage.epochs),
            kept,
            f"{stage.after.loss:.4f}",
            f"{100 * stage.after.accuracy:.2f}",
        )
    return table
