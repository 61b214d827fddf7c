"""How a run ends: the model, its figures and its curve are kept, and what its user should know is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import keras

from sentstream.analyze.intervals import wilson
from sentstream.errors import OutputExistsError, OutputWriteError
from sentstream_train.data.split import DataReport
from sentstream_train.fit.curve import draw_curve
from sentstream_train.fit.epochs import History
from sentstream_train.store.folder import RunFolder
from sentstream_train.store.record import Figures, RunRecord

#: Called after each epoch with the stage of a fine-tuning (empty in a training) and the epoch's record.
Told: TypeAlias = Callable[[str, dict[str, float]], None]

#: Fewer held-out rows than this tell an accuracy to worse than ±7 points.
_FEW = 200
#: The training loss falls below so much of the held-out one: rows are learned by heart.
_BY_HEART = 0.8
#: A held-out loss that has risen by more than this share is not noise of the last digits.
_RISEN = 1.02


@dataclass(frozen=True)
class TrainResult:
    """The result of a run.

    Attributes:
        folder: The run's folder.
        model: The trained network.
        history: The learning curve.
        report: What became of the rows.
        record: What ``run.json`` says.
        warnings: What its user should know, a line each.
    """

    folder: RunFolder
    model: keras.Sequential
    history: History
    report: DataReport
    record: RunRecord
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-ready data."""
        return {**self.record.to_dict(), "history": self.history.epochs, "warnings": list(self.warnings)}


def claim(folder: RunFolder) -> None:
    """Make a run's folder.

    Raises:
        OutputExistsError: Something is there.
        OutputWriteError: It cannot be made.
    """
    if folder.path.exists() and not (folder.path.is_dir() and folder.is_unused()):
        raise OutputExistsError(
            f"{folder.path} already exists", hint="continue with --resume, or choose another --output"
        )
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputWriteError(f"{folder.path} cannot be created: {error.strerror}") from error


def finish(
    folder: RunFolder,
    model: keras.Sequential,
    history: History,
    kept: int,
    figures: Figures,
    record: RunRecord,
    warnings: Sequence[str] = (),
) -> TrainResult:
    """Save the model, the figures and the curve; remove the checkpoints.

    Args:
        folder: The run's folder.
        model: The network, with the weights that are kept.
        history: The whole curve.
        kept: The epoch that they are of; 0: what the run began with.
        figures: Their loss and accuracy on the held-out rows.
        record: What ``run.json`` says so far.
        warnings: What the user should know; few held-out rows are named here.
    """
    rows = record.rows
    assert rows is not None
    metrics = {
        "n": rows.validation,
        "accuracy": figures.accuracy,
        "loss": figures.loss,
        "epoch": kept,
    }
    record = replace(record.done(), metrics={"validation": metrics})
    folder.save_model(model, folder.model)
    folder.write_record(record)
    draw_curve(history.epochs, folder.path / "curve.png")
    folder.remove_checkpoints(history.done)
    said = (*few_rows(rows.validation, figures.accuracy), *warnings)
    return TrainResult(folder, model, history, rows, record, said)


def few_rows(rows: int, accuracy: float) -> tuple[str, ...]:
    """A warning, where an accuracy of so few held-out rows says little."""
    if rows >= _FEW:
        return ()
    low, high = wilson(round(accuracy * rows), rows)
    return (
        f"{rows:,} held-out rows are few: an accuracy of {accuracy:.1%} on them may be {low:.1%} to"
        f" {high:.1%} on other rows; hold out more (--validation), or give more rows",
    )


def overfitting(history: History, patience: int, remedy: str) -> tuple[str, ...]:
    """A warning, where a network learned its rows by heart after some epoch.

    That is: the held-out loss has risen since, and the training loss, which has not, is well below it.

    Args:
        history: The curve.
        patience: That of the settings.
        remedy: The options that help, ``or``-ed.
    """
    if history.best_epoch == history.done:
        return ()
    last, since = history.epochs[-1], history.epochs[max(history.best_epoch - 1, 0)]
    before = history.figures(history.best_epoch).loss
    if (
        last["validation_loss"] < _RISEN * before
        or last["loss"] > since["loss"]
        or last["loss"] >= _BY_HEART * last["validation_loss"]
    ):
        return ()
    best = f"epoch {history.best_epoch}"
    kept = f"{best} is kept" if patience else "the last epoch is kept (--patience 2 keeps the best)"
    return (
        f"overfitting: after {best} the validation loss rose from {before:.3f} to"
        f" {last['validation_loss']:.3f}, while the training loss is {last['loss']:.3f}; {kept};"
        f" {remedy} may help",
    )
