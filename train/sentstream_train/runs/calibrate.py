"""Calibrate a trained network with temperature scaling, and balance its labels if wanted.

A temperature fitted to one set of rows is right for rows of that kind. With several files, each file has
the same weight, and each file's figures are measured at the temperature fitted to the other files.

The weights of the last layer are divided by the temperature, so everything that runs the network, from
export to a Kafka topic, gets calibrated probabilities without extra code. The predicted labels do not change,
unless offsets per label are added to its biases.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pyarrow as pa

import sentstream
from sentstream.errors import DataError, UsageError, counted
from sentstream.text import TextPath
from sentstream_train.config import ANY_COLUMNS, Columns
from sentstream_train.data.files import find_files, recorded_name
from sentstream_train.data.labeled import LabeledData
from sentstream_train.evaluate.baselines.run import places
from sentstream_train.evaluate.judged import Judged, RowCounts, judge
from sentstream_train.measure.metrics import Calibration, Floats, Labels, mean_calibration, measure
from sentstream_train.measure.metrics import calibrate as calibrate_rows
from sentstream_train.measure.temperature import (
    FEWEST,
    FEWEST_OF_LABEL,
    FOLDS,
    HIGHEST,
    LOWEST,
    Scaling,
    at_temperature,
    cross_validated,
    fit_scaling,
    is_at_bound,
    left_one_out,
)
from sentstream_train.network.conversion import from_keras
from sentstream_train.network.predict import keras_probabilities
from sentstream_train.runs.preparation import read_rows
from sentstream_train.store.folder import RunFolder, check_free, whole_folder
from sentstream_train.store.predictor import FIGURES, Probabilities, Progress
from sentstream_train.store.record import RunRecord, Versions, VocabularySize, now
from sentstream_train.store.trained import Trained, open_trained

#: Metrics that depend only on the predicted label, so that a temperature does not change them.
_OF_LABELS = ("n", "accuracy", "interval", "macro_recall", "macro_f1", "epoch")


@dataclass(frozen=True)
class OfFile:
    """The figures of one of several files.

    Attributes:
        name: The file's base name, unique among the files.
        n: Rows that were used.
        scaling: The temperature, and the offsets, fitted to the other files.
        before: The calibration of the original model.
        after: The calibration with that scaling.
        macro_recalls: The macro-recall before and after; None if the labels do not change.
    """

    name: str
    n: int
    scaling: Scaling
    before: Calibration
    after: Calibration
    macro_recalls: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON-ready data, rounded, without bins."""
        sides = {"before": self.before.to_dict(), "after": self.after.to_dict()}
        return {
            "name": self.name,
            "n": self.n,
            "temperature": self.scaling.temperature,
            **with_recalls(
                {side: {key: figures[key] for key in FIGURES} for side, figures in sides.items()},
                self.macro_recalls,
            ),
        }


@dataclass(frozen=True)
class Calibrated:
    """The result of a calibration.

    Attributes:
        folder: The new run's folder.
        model: The calibrated network.
        record: The contents of ``run.json``, with ``calibration`` set.
        warnings: Warnings for the user.
    """

    folder: RunFolder
    model: keras.Sequential
    record: RunRecord
    warnings: tuple[str, ...]

    @property
    def calibration(self) -> Mapping[str, Any]:
        """The temperature, the data it was fitted to, and the figures before and after; JSON-ready."""
        assert self.record.calibration is not None
        return self.record.calibration

    def to_dict(self) -> dict[str, Any]:
        """The calibration as JSON-ready data, the input of ``sentstream_train.report``."""
        return {
            "report": "calibration",
            "sentstream": sentstream.__version__,
            "output": str(self.folder.path),
            "labels": list(self.record.labels),
            **self.calibration,
            "warnings": list(self.warnings),
        }


def calibrate(
    source: str | os.PathLike[str],
    paths: Sequence[str | Path],
    output: Path,
    *,
    columns: Columns = ANY_COLUMNS,
    labels: Sequence[str] | None = None,
    balance: bool = False,
    progress: Progress | None = None,
) -> Calibrated:
    """Fit one temperature to labeled rows and write the calibrated network as a new run.

    Rows are left out and counted as in an evaluation. With several files, each has the same weight in the
    fit, whatever its size. The "after" figures are measured per file at the temperature fitted to the other
    files, then averaged (``mean_calibration``). For a single file they are cross-validated: each fold is
    measured at the temperature fitted to the other folds.

    Args:
        source: A finished run's folder or its ``model.keras``, or a bundle, by name or path.
        paths: CSV or Parquet files of labeled rows that the model was not trained on.
        output: The new run's folder; it must not exist.
        columns: The columns of text and label.
        labels: Use only the rows with these labels; the model must have them.
        balance: First add an offset per label to the logits, fitted so that in each file all labels have the
            same weight; this changes predicted labels.
        progress: Called after each chunk of rows.

    Raises:
        OutputExistsError: ``output`` exists.
        OutputWriteError: ``output`` cannot be written.
        BundleError: The bundle does not exist or is not valid.
        CheckpointError: The run is not finished.
        ModelFormatError: The model cannot be loaded safely.
        UsageError: The model does not have one of ``labels``.
        InputError: As ``read_labeled``.
        DataError: A file has too few usable rows or only one label; with ``balance``, too few rows of one of
            its labels; or two files have the same name.
    """
    output = Path(output)
    check_free(output)
    _check_names(find_files(paths))
    before = open_trained(source)
    data, judged, rows = _score(before, paths, columns, labels, progress)
    if balance:
        _check_labels(data, judged, before.labels)
    scaling, fitted = _fit(data, judged, balance)
    model = scaled(before.model, scaling)
    entry = {
        "method": "temperature scaling after an offset per label" if balance else "temperature scaling",
        "temperature": scaling.temperature,
        **({"offsets": dict(zip(before.labels, scaling.offsets, strict=True))} if balance else {}),
        "n": len(judged),
        **fitted,
        "rows": rows.to_dict(),
        "data": [source.to_dict() for source in data.sources],
        "model": {"name": before.name, "fingerprint": before.fingerprint},
        "versions": asdict(Versions.here()),
        "finished": now(),
    }
    record = _describe(before, entry)
    with whole_folder(output) as folder:
        folder.write_vocabulary(before.text.vocabulary)
        folder.write_parity_rows(before.text.encode(judged.text) if before.rows is None else before.rows)
        if before.held_out is not None:
            folder.write_held_out(before.held_out)
        folder.save_model(model, folder.model)
        folder.write_record(record)
    return Calibrated(RunFolder(output), model, record, _warnings(before, entry))


def _score(
    before: Trained,
    paths: Sequence[str | Path],
    columns: Columns,
    labels: Sequence[str] | None,
    progress: Progress | None,
) -> tuple[LabeledData, Judged, RowCounts]:
    """The rows, the logits of those that are judged, and the counts of both."""
    if unknown := [label for label in labels or () if label not in before.labels]:
        raise UsageError(
            f"the model has no label {unknown[0]!r}",
            hint=f"its labels are {', '.join(before.labels)}",
        )
    data = read_rows(paths, columns, labels)
    truth = places(data.labels, before.labels)[data.label]
    if (known := truth >= 0).any():  # if there are none, judge raises a clearer error
        _check_rows(data, truth[known], data.row[known], before.labels)
    judged, rows = judge(_Logits(before), data, progress)
    _check_rows(data, judged.truth, judged.row, before.labels)
    return data, judged, rows


def _fit(data: LabeledData, judged: Judged, balance: bool) -> tuple[Scaling, dict[str, Any]]:
    """The scaling, and the figures before and after as an entry of the record."""
    logits, truth = judged.probabilities.astype(np.float64), judged.truth
    uncalibrated = at_temperature(logits, 1.0)

    def recall(true: Labels, predicted: Labels) -> float:
        return measure(true, predicted, [str(index) for index in range(logits.shape[1])]).macro_recall

    def compare(
        rows: npt.NDArray[np.bool_] | slice, calibrated: Floats
    ) -> tuple[Calibration, Calibration, tuple[float, float] | None]:
        true, first = truth[rows], judged.predicted[rows]
        second = calibrated[rows].argmax(axis=1) if balance else first
        return (
            calibrate_rows(true, first, uncalibrated[rows]),
            calibrate_rows(true, second, calibrated[rows]),
            (recall(true, first), recall(true, second)) if balance else None,
        )

    if len(data.sources) == 1:
        before, after, recalls = compare(slice(None), cross_validated(logits, truth, balance=balance))
        sides = {"before": before.to_dict(), "after": after.to_dict()}
        return fit_scaling(logits, truth, balance=balance), {
            **with_recalls(sides, recalls),
            "after_is": f"cross-validated in {FOLDS} folds",
        }
    sets = data.file_of(judged.row)
    calibrated, scalings = left_one_out(logits, truth, sets, balance=balance)
    found = []
    for number, (file, scaling) in enumerate(zip(data.sources, scalings, strict=True)):
        of_file = sets == number
        before, after, recalls = compare(of_file, calibrated)
        found.append(OfFile(file.name, int(of_file.sum()), scaling, before, after, recalls))
    means = [one.macro_recalls for one in found if one.macro_recalls is not None]
    sides = {
        "before": mean_calibration([one.before for one in found]).to_dict(),
        "after": mean_calibration([one.after for one in found]).to_dict(),
    }
    return fit_scaling(logits, truth, sets, balance=balance), {
        **with_recalls(
            sides, (fmean(one[0] for one in means), fmean(one[1] for one in means)) if means else None
        ),
        "after_is": f"mean of {len(found)} files, each at the temperature that the others give",
        "files": [one.to_dict() for one in found],
    }


def with_recalls(
    sides: dict[str, dict[str, Any]], macro_recalls: tuple[float, float] | None
) -> dict[str, dict[str, Any]]:
    """Add the macro-recall before and after, if there is one, to the figures before and after."""
    if macro_recalls is None:
        return sides
    return {
        side: {**figures, "macro_recall": round(recall, 6)}
        for (side, figures), recall in zip(sides.items(), macro_recalls, strict=True)
    }


def scaled(model: keras.Sequential, scaling: Scaling) -> keras.Sequential:
    """A copy of the network with its logits scaled.

    Args:
        model: A network that ends in ``Dense`` with softmax or one sigmoid.
        scaling: Its offsets, if any, are one per label, also for a sigmoid.
    """
    head = _head(model)

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if layer is head:
            config["use_bias"] |= bool(scaling.offsets)
        copied: keras.layers.Layer = type(layer).from_config(config)
        return copied

    changed = keras.models.clone_model(model, clone_function=copy)
    kernel, *biases = head.get_weights()
    if scaling.offsets:
        offsets = np.asarray(scaling.offsets)
        # A sigmoid is a softmax over 0 and its logit.
        biases = [sum(biases, offsets[1:] - offsets[:1] if kernel.shape[1] == 1 else offsets)]
    for mine, theirs in zip(changed.layers, model.layers, strict=True):
        mine.set_weights(
            [(weight / scaling.temperature).astype(np.float32) for weight in (kernel, *biases)]
            if theirs is head
            else theirs.get_weights()
        )
    return changed


def _head(model: keras.Sequential) -> keras.layers.Dense:
    """The layer that computes the logits; only an activation may follow it."""
    return next(layer for layer in reversed(model.layers) if isinstance(layer, keras.layers.Dense))


class _Logits:
    """A predictor that returns logits, so that rows are selected and counted as in an evaluation."""

    def __init__(self, trained: Trained) -> None:
        self.labels: tuple[str, ...] = trained.labels
        self.text: TextPath = trained.text
        self.about: dict[str, Any] = {"name": trained.name, "digest": trained.fingerprint}
        head = _head(trained.model)
        body = trained.model.layers[: trained.model.layers.index(head)]
        linear = keras.layers.Dense.from_config({**head.get_config(), "activation": "linear"})
        tokens = keras.Input(shape=trained.model.input_shape[1:], dtype="int32")
        self._model = keras.Sequential([tokens, *body, linear])
        linear.set_weights(head.get_weights())

    def probabilities(self, text: pa.Array, progress: Progress | None = None) -> Probabilities:
        """``float32[rows, classes]``: logits, despite the name; NaN for a blank text."""
        table = keras_probabilities(self._model, self.text.encode(text), progress)
        if self._model.output_shape[-1] == 1:
            # A sigmoid is a softmax over 0 and its logit, which is the last column here.
            table[:, 0] = np.where(np.isnan(table[:, 1]), np.nan, 0.0)
        return table


def _check_names(files: Sequence[Path]) -> None:
    """Raise if two files have the same base name: records contain no directories."""
    seen: dict[str, Path] = {}
    for file in files:
        if (other := seen.setdefault(recorded_name(file), file)) is not file:
            raise DataError(
                f"{other} and {file} have the same name, which identifies their figures",
                hint="rename one of them",
            )


def _check_rows(data: LabeledData, truth: Labels, row: npt.NDArray[np.int64], labels: Sequence[str]) -> None:
    """Raise if a file has too few rows, or only one label, to fit a temperature."""
    files = data.file_of(row)
    for number, source in enumerate(data.sources):
        of_file = truth[files == number]
        if len(of_file) < FEWEST:
            raise DataError(
                f"{source.name}: {len(of_file):,} rows with a text and a label of the model are too few"
                " to fit a temperature",
                hint=f"give at least {FEWEST} in each file",
            )
        if len(np.unique(of_file)) < 2:
            raise DataError(
                f"{source.name}: all {len(of_file):,} rows have the label {labels[of_file[0]]!r}",
                hint="a temperature needs rows with at least two labels",
            )


def _check_labels(data: LabeledData, judged: Judged, labels: Sequence[str]) -> None:
    """Raise if a file has too few rows of one of its labels, each of which has the same weight."""
    files = data.file_of(judged.row)
    for number, source in enumerate(data.sources):
        for label, count in enumerate(np.bincount(judged.truth[files == number])):
            if 0 < count < FEWEST_OF_LABEL:
                raise DataError(
                    f"{source.name}: the label {labels[label]!r} has only {counted(int(count), 'row')},"
                    " too few to balance the labels",
                    hint=f"give at least {FEWEST_OF_LABEL} of each label, or leave out --balance",
                )


def _describe(before: Trained, entry: dict[str, Any]) -> RunRecord:
    """The new record: everything in the original model's record, and how it was calibrated."""
    passed_on = dict(before.provenance)
    passed_on.pop("bundle", None)  # the entry names it
    earlier = passed_on.pop("calibration", None)
    if earlier is not None:
        # The weights contain both temperatures; each is recorded as it was fitted.
        chain = [*earlier.get("earlier", ()), {key: earlier[key] for key in earlier if key != "earlier"}]
        entry = {**entry, "earlier": chain}
    return RunRecord(
        labels=before.labels,
        rules=before.text.rules,
        max_chars=before.text.max_chars,
        network=from_keras(before.model).describe(),
        vocabulary=VocabularySize.of(before.text.vocabulary),
        metrics={}
        if "offsets" in entry
        else {
            name: {key: figures[key] for key in _OF_LABELS if key in figures}
            for name, figures in before.metrics.items()
        },
        finished=entry["finished"],  # for a model without a training time
        passed_on=passed_on,
        calibration=entry,
    )


def _warnings(before: Trained, entry: dict[str, Any]) -> tuple[str, ...]:
    warnings = []
    if is_at_bound(entry["temperature"]):
        why = (
            "the model makes no errors on these rows; was it trained on them?"
            if entry["temperature"] < 1
            else "its scores tell nothing about these rows; are their labels right?"
        )
        bounds = f"{LOWEST:g} to {HIGHEST:g}"
        warnings.append(f"the temperature is at the limit of the search range ({bounds}): {why}")
    learned = {one["sha256"] for one in before.provenance.get("data", ())}
    warnings += [
        f"the model was trained on {one['name']} and is overconfident on those rows; give rows"
        " that it has not seen"
        for one in entry["data"]
        if one["sha256"] in learned
    ]
    return tuple(warnings)
