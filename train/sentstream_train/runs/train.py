"""One training run, from labeled files to a folder with a model: the function under ``sentstream train``."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import sentstream
from sentstream.errors import CheckpointError, OutputExistsError, OutputWriteError, UsageError
from sentstream.text import Encoded, TextPath, Tokens, Vocabulary
from sentstream_train.config import DataConfig, FitConfig, NetworkConfig, from_dict, to_dict
from sentstream_train.data.files import find_files, recorded_name
from sentstream_train.data.labeled import LabeledData, read_labeled, sha256_of
from sentstream_train.data.split import DataReport, Split, leave_out, read_tokens, split_rows
from sentstream_train.data.vocabulary import learn_pairs, learn_words
from sentstream_train.fit.curve import draw_curve
from sentstream_train.fit.distill import NOBODY, Teachers, describe_teachers, open_teachers
from sentstream_train.fit.epochs import History, Progress, fit
from sentstream_train.fit.lessons import lessons, teach
from sentstream_train.network.model import build_model
from sentstream_train.store.folder import RUN_FORMAT, RunFolder


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
    teachers: Teachers = NOBODY,
    without: Sequence[str | Path] = (),
    vocabulary_text: Sequence[str | Path] = (),
    resume: bool = False,
    progress: Progress | None = None,
) -> TrainResult:
    """Train a network from labeled rows, or from what teachers make of any rows.

    Args:
        paths: CSV or Parquet files of rows; with teachers, they need no labels.
        output: The run's folder; it must not be there yet, unless the run is resumed.
        network: The shape of the network.
        fitting: How it is fitted.
        data: How rows become examples.
        columns: Where text, label and user stand.
        labels: Use only the rows with these labels, in this order of classes.
        teachers: Whose probabilities are learned beside the labels.
        without: Files of held-out texts; rows that repeat one are left out.
        vocabulary_text: Files of more texts to learn words and pairs from.
        resume: Go on with the run in ``output``, with the settings it began with.
        progress: Called after every batch.

    Raises:
        OutputExistsError: ``output`` holds something and ``resume`` was not asked for.
        CheckpointError: ``output`` holds no run, or one over other data.
        DataError: The rows cannot be used.
        UsageError: A teacher that does not fit.
        ColumnNotFoundError: There are no such columns of a teacher.
    """
    folder = RunFolder(Path(output))
    earlier = None
    if resume:
        earlier = folder.read_json(folder.run)
        network, fitting, data, columns, labels = _settings(earlier)
    else:
        claim(folder)
    taught_rows = bool(teachers) if earlier is None else "teachers" in earlier
    rows = read_rows(paths, columns, labels, taught_rows)
    if earlier is not None:
        check_same_files(earlier, rows, without, folder)
    kept = leave_out(rows, without, data) if without else rows
    split = split_rows(kept, data, fitting.seed)
    if earlier is None:
        run = describe_run(rows, split, network, fitting, data, columns, labels)
        run["held_out"], run["rows"]["repeat_held_out"] = describe_files(without), len(rows) - len(kept)
        more = read_tokens(vocabulary_text, data) if vocabulary_text else None
        vocabulary, train_rows = learn(split, network, data, more)
        run["vocabulary"] = {
            "words": len(vocabulary),
            "pairs": vocabulary.pair_count,
            "also_from": [one["name"] for one in describe_files(vocabulary_text)],
        }
        folder.write_vocabulary(vocabulary)
        if teachers:
            opened = open_teachers(teachers, rows.labels, data.rules)
            run["teachers"] = describe_teachers(opened, teachers)
            folder.write_taught(*teach(opened, teachers, paths, kept, split))
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
    taught = folder.read_taught() if "teachers" in run else None
    train_side, validation_side = lessons(split, (train_rows, validation_rows), classes, fitting, taught)
    history = fit(
        model,
        train_side,
        validation_side,
        fitting,
        folder,
        resume=resume and folder.state.exists(),
        progress=progress,
    )
    return finish(folder, model, history, split.report, run)


def read_rows(
    paths: Sequence[str | Path], columns: Columns, labels: Sequence[str] | None, taught: bool
) -> LabeledData:
    """The rows of a run; with teachers, those without a label, too.

    Raises:
        DataError, UsageError: They cannot be used, or nobody says what the labels are.
    """
    rows = read_labeled(
        paths,
        text_column=columns.text,
        label_column=columns.label,
        user_column=columns.user,
        labels=labels,
        keep_unlabeled=taught,
    )
    if taught and len(rows.labels) < 2:
        raise UsageError("no row has a label, so --labels must name them")
    return rows


def check_same_files(
    run: dict[str, Any], rows: LabeledData, without: Sequence[str | Path], folder: RunFolder
) -> None:
    """Raise if a run that is to go on began with other files.

    Raises:
        CheckpointError: It did.
    """
    if [one["sha256"] for one in run["data"]] != [one["sha256"] for one in describe_sources(rows)]:
        raise CheckpointError(
            f"the run in {folder.path} began with other data", hint="give the same files in the same order"
        )
    held_out = run.get("held_out", [])
    if [one["sha256"] for one in held_out] != [one["sha256"] for one in describe_files(without)]:
        names = " ".join(f"--without {one['name']}" for one in held_out) or "no --without"
        raise CheckpointError(
            f"the run in {folder.path} began with other held-out rows", hint=f"it was given {names}"
        )


def learn(
    split: Split, network: NetworkConfig, data: DataConfig, more: Tokens | None = None
) -> tuple[Vocabulary, Encoded]:
    """The vocabulary of the training side (and ``more``), and that side's ids."""
    sides = [split.train] if more is None else [split.train, more]
    vocabulary = learn_words(sides, network.words, network.min_count)
    path = TextPath(data.rules, vocabulary, data.max_chars)
    looked_up = [path.look_up(side) for side in sides]
    rows = looked_up[0]
    if network.pairs:
        vocabulary = learn_pairs(looked_up, vocabulary, network.pairs, network.min_count)
        rows = Encoded(
            rows.offsets, rows.words, vocabulary.pair_ids(rows.words, rows.offsets), rows.truncated
        )
    return vocabulary, rows


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
    folder.taught.unlink(missing_ok=True)
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


def describe_files(paths: Sequence[str | Path]) -> list[dict[str, str]]:
    """Name and fingerprint of files."""
    if not paths:
        return []
    return [{"name": recorded_name(path), "sha256": sha256_of(path)} for path in find_files(paths)]


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


def describe_run(
    rows: LabeledData,
    split: Split,
    network: NetworkConfig,
    fitting: FitConfig,
    data: DataConfig,
    columns: Columns,
    labels: Sequence[str] | None,
) -> dict[str, Any]:
    """What ``run.json`` says of a run that begins; the arguments are those of ``train``."""
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
        "data": describe_sources(rows),
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
