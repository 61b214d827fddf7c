"""One training run, from labeled files to a folder with a model: the function under ``sentstream train``."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

import sentstream
from sentstream.errors import CheckpointError, OutputExistsError, OutputWriteError
from sentstream.text import Encoded, TextPath, Vocabulary
from sentstream_train.batches import Examples, Targets
from sentstream_train.config import DataConfig, FitConfig, NetworkConfig, from_dict, to_dict
from sentstream_train.curve import draw_curve
from sentstream_train.data import DataReport, Split, split_rows
from sentstream_train.fit import History, Progress, fit
from sentstream_train.folder import RUN_FORMAT, RunFolder
from sentstream_train.labeled import LabeledData, read_labeled
from sentstream_train.learn_vocabulary import learn_pairs, learn_words
from sentstream_train.model import build_model
from sentstream_train.teachers import describe_teachers, open_teachers, soft_targets


@dataclass(frozen=True)
class Columns:
    """Where the text, the label and the user stand; None: found by their usual names."""

    text: str | None = None
    label: str | None = None
    user: str | None = None


ANY_COLUMNS = Columns()


@dataclass(frozen=True)
class TrainResult:
    """What a run came to.

    Attributes:
        folder: The run's folder.
        model: The trained network.
        history: The learning curve.
        report: What became of the rows.
        run: What ``run.json`` says.
    """

    folder: RunFolder
    model: keras.Sequential
    history: History
    report: DataReport
    run: dict[str, Any]


def train(
    paths: Sequence[str | Path],
    output: Path,
    *,
    network: NetworkConfig,
    fitting: FitConfig,
    data: DataConfig,
    columns: Columns = ANY_COLUMNS,
    labels: Sequence[str] | None = None,
    teachers: Sequence[str | os.PathLike[str]] = (),
    resume: bool = False,
    progress: Progress | None = None,
) -> TrainResult:
    """Train a network from labeled rows.

    Args:
        paths: CSV or Parquet files of labeled rows.
        output: The run's folder; it must not be there yet, unless the run is resumed.
        network: The shape of the network.
        fitting: How it is fitted.
        data: How rows become examples.
        columns: Where text, label and user stand.
        labels: Use only the rows with these labels, in this order of classes.
        teachers: Models whose probabilities are learned beside the labels; see ``open_teachers``.
        resume: Go on with the run in ``output``, with the settings it began with.
        progress: Called after every batch.

    Raises:
        OutputExistsError: ``output`` holds something and ``resume`` was not asked for.
        CheckpointError: ``output`` holds no run, or one over other data.
        DataError: The rows cannot be used.
        UsageError: A teacher that does not fit.
    """
    folder = RunFolder(Path(output))
    earlier = None
    if resume:
        earlier = folder.read_json(folder.run)
        network, fitting, data, columns, labels = _settings(earlier)
    else:
        claim(folder)
    rows = read_labeled(
        paths, text_column=columns.text, label_column=columns.label, user_column=columns.user, labels=labels
    )
    sources = describe_sources(rows)
    if earlier is not None and [s["sha256"] for s in earlier["data"]] != [s["sha256"] for s in sources]:
        raise CheckpointError(
            f"the run in {folder.path} began with other data", hint="give the same files in the same order"
        )
    split = split_rows(rows, data, fitting.seed)
    if earlier is None:
        run = _describe(rows, sources, split, network, fitting, data, columns, labels)
        vocabulary, train_rows = learn(split, network, data)
        run["vocabulary"] = {"words": len(vocabulary), "pairs": vocabulary.pair_count}
        folder.write_vocabulary(vocabulary)
        if teachers:
            opened = open_teachers(teachers, rows.labels, data.rules)
            run["teachers"] = describe_teachers(opened)
            folder.write_targets(
                soft_targets(opened, split.train, split.train_labels, rows.labels, fitting.teacher_weight)
            )
        folder.write_json(folder.run, run)
    else:
        run = earlier
        vocabulary = folder.read_vocabulary()
        train_rows = TextPath(data.rules, vocabulary, data.max_chars).look_up(split.train)
    validation_rows = TextPath(data.rules, vocabulary, data.max_chars).look_up(split.validation)
    folder.write_parity_rows(validation_rows)

    classes = len(rows.labels)
    model = build_model(
        network, words=len(vocabulary), pairs=vocabulary.pair_count, classes=classes, seed=fitting.seed
    )
    weights = row_weights(fitting, split.train_labels, classes)
    targets: Targets = split.train_labels
    validation_targets: Targets = split.validation_labels
    if "teachers" in run:  # soft; and one-hot on the other side, so that the losses compare
        targets = folder.read_targets()
        validation_targets = np.eye(classes, dtype=np.float32)[validation_targets]
    history = fit(
        model,
        Examples(train_rows, targets, weights),
        Examples(validation_rows, validation_targets),
        fitting,
        folder,
        resume=resume and folder.state.exists(),
        progress=progress,
    )
    return finish(folder, model, history, split.report, run)


def learn(split: Split, network: NetworkConfig, data: DataConfig) -> tuple[Vocabulary, Encoded]:
    """The vocabulary of the training side, and that side's ids."""
    vocabulary = learn_words(split.train, network.words, network.min_count)
    rows = TextPath(data.rules, vocabulary, data.max_chars).look_up(split.train)
    if network.pairs:
        vocabulary = learn_pairs(rows, vocabulary, network.pairs, network.min_count)
        rows = Encoded(
            rows.offsets, rows.words, vocabulary.pair_ids(rows.words, rows.offsets), rows.truncated
        )
    return vocabulary, rows


def row_weights(
    fitting: FitConfig, labels: npt.NDArray[np.int32], classes: int
) -> npt.NDArray[np.float32] | None:
    """``float32[rows]``: weights under which each class counts the same, their mean 1; None: all count 1."""
    if fitting.class_weights == "none":
        return None
    counts = np.bincount(labels, minlength=classes)
    per_class = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    weights: npt.NDArray[np.float32] = per_class[labels].astype(np.float32)
    return weights


def finish(
    folder: RunFolder, model: keras.Sequential, history: History, report: DataReport, run: dict[str, Any]
) -> TrainResult:
    """Save the model, the figures and the curve; remove the checkpoints."""
    chosen = history.epochs[(history.best_epoch if run["training"]["patience"] else history.done) - 1]
    run["metrics"] = {
        "validation": {
            "n": report.validation,
            "accuracy": chosen["validation_accuracy"],
            "loss": chosen["validation_loss"],
            "epoch": chosen["epoch"],
        }
    }
    run["finished"] = now()
    folder.save_model(model, folder.model)
    folder.write_json(folder.run, run)
    draw_curve(history.epochs, folder.path / "curve.png")
    folder.checkpoint(history.done).unlink(missing_ok=True)
    folder.state.unlink(missing_ok=True)
    folder.targets.unlink(missing_ok=True)
    folder.best.unlink(missing_ok=True)
    return TrainResult(folder, model, history, report, run)


def versions() -> dict[str, str]:
    """Of everything that has a say in the figures."""
    return {
        "sentstream": sentstream.__version__,
        "python": platform.python_version(),
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
    }


def now() -> str:
    """The time, as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def describe_sources(rows: LabeledData) -> list[dict[str, Any]]:
    """The files the rows came from: name, rows and fingerprint, never their place on this machine."""
    return [source.to_dict() for source in rows.sources]


def claim(folder: RunFolder) -> None:
    """Make a run's folder.

    Raises:
        OutputExistsError: Something is there.
        OutputWriteError: It cannot be made.
    """
    if folder.path.exists() and not (folder.path.is_dir() and folder.is_unused()):
        raise OutputExistsError(
            f"{folder.path} is already there", hint="go on with --resume, or choose another --output"
        )
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputWriteError(f"{folder.path} cannot be made: {error.strerror}") from error


def _describe(
    rows: LabeledData,
    sources: list[dict[str, Any]],
    split: Split,
    network: NetworkConfig,
    fitting: FitConfig,
    data: DataConfig,
    columns: Columns,
    labels: Sequence[str] | None,
) -> dict[str, Any]:
    return {
        "format": RUN_FORMAT,
        "labels": list(rows.labels),
        "text": data.rules.to_dict(),
        "max_chars": data.max_chars,
        "architecture": to_dict(network),
        "training": to_dict(fitting),
        "preparation": to_dict(data),
        "columns": {"text": columns.text, "label": columns.label, "user": columns.user},
        "only_labels": list(labels) if labels is not None else None,
        "data": sources,
        "rows": split.report.to_dict(),
        "versions": versions(),
        "started": now(),
    }


def _settings(
    run: dict[str, Any],
) -> tuple[NetworkConfig, FitConfig, DataConfig, Columns, Sequence[str] | None]:
    if run.get("format") != RUN_FORMAT:
        raise CheckpointError(f"a run of format {run.get('format')!r}; this version knows {RUN_FORMAT}")
    if "finished" in run:
        raise CheckpointError("the run is finished", hint="export it, or start another in a new folder")
    return (
        from_dict(NetworkConfig, run["architecture"]),
        from_dict(FitConfig, run["training"]),
        from_dict(DataConfig, run["preparation"]),
        Columns(**run["columns"]),
        run["only_labels"],
    )
