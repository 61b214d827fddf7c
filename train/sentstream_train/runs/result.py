"""The start and the end of a run: create the folder; save model, figures and curve; warn the user."""

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

#: Called after each epoch with the name of the fine-tuning stage (empty in training) and the epoch's record.
OnEpoch: TypeAlias = Callable[[str, dict[str, float]], None]

#: With fewer held-out rows, the accuracy is uncertain by more than ±7 points.
_FEW = 200
#: A training loss below this share of the held-out loss means that rows are memorized.
_BY_HEART = 0.8
#: A held-out loss that has risen by at least this factor has risen by more than noise.
_RISEN = 1.02


@dataclass(frozen=True)
class TrainResult:
    """The result of a run.

    Attributes:
        folder: The run's folder.
        model: The trained network.
        history: The learning curve.
        report: How many rows were used and left out.
        record: The contents of ``run.json``.
        warnings: Warnings for the user, one line each.
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
    """Create a run's folder.

    Raises:
        OutputExistsError: Something that would be lost is there.
        OutputWriteError: It cannot be created.
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
        model: The network with the kept weights.
        history: The whole curve.
        kept: The epoch of those weights; 0: the weights that the run started with.
        figures: Loss and accuracy of those weights on the held-out rows.
        record: The contents of ``run.json`` so far.
        warnings: Warnings for the user; one about few held-out rows is added here.
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
    notes = (*few_rows(rows.validation, figures.accuracy), *warnings)
    return TrainResult(folder, model, history, rows, record, notes)


def few_rows(rows: int, accuracy: float) -> tuple[str, ...]:
    """A warning if there are too few held-out rows for an accuracy to say much."""
    if rows >= _FEW:
        return ()
    low, high = wilson(round(accuracy * rows), rows)
    return (
        f"{rows:,} held-out rows are few: an accuracy of {accuracy:.1%} on them may be {low:.1%} to"
        f" {high:.1%} on other rows; hold out more (--validation), or give more rows",
    )


def overfitting(history: History, patience: int, remedy: str) -> tuple[str, ...]:
    """A warning if the network memorized its rows after the best epoch.

    That is: since then the held-out loss has risen, and the training loss has not and is well below it.

    Args:
        history: The curve.
        patience: The setting of that name.
        remedy: The options that may help, for the message.
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
