"""Fine-tuning: a trained network learns new labels or a new domain and keeps its vocabulary."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from sentstream.errors import CheckpointError, UsageError
from sentstream_train.config import ANY_COLUMNS, Columns, DataConfig, FitConfig
from sentstream_train.fit.distill import NOBODY, Teachers
from sentstream_train.fit.epochs import Progress
from sentstream_train.fit.targets import lessons
from sentstream_train.network.conversion import from_keras
from sentstream_train.runs.preparation import check_same_files, describe, prepare
from sentstream_train.runs.result import OnEpoch, TrainResult, claim
from sentstream_train.runs.stages import Thaw, Tuner, plan_stages
from sentstream_train.store.folder import HeldOutRows, RunFolder
from sentstream_train.store.record import FineTuning, RunRecord, Settings
from sentstream_train.store.trained import Trained, open_trained


def fine_tune(
    source: str | os.PathLike[str],
    paths: Sequence[str | Path],
    output: Path,
    *,
    fitting: FitConfig,
    data: DataConfig,
    columns: Columns = ANY_COLUMNS,
    labels: Sequence[str] | None = None,
    teachers: Teachers = NOBODY,
    without: Sequence[str | Path] = (),
    thaw: Thaw = "chain",
    layer_decay: float = 0.8,
    resume: bool = False,
    progress: Progress | None = None,
    on_epoch: OnEpoch | None = None,
) -> TrainResult:
    """Fine-tune a model on new rows; the vocabulary and the text rules stay the same.

    The weights before a stage are the stage's epoch 0. They are kept if no epoch has a lower loss on the
    held-out rows, or if the epoch with the lowest loss is not better (``reason_not_better``).

    Args:
        source: A finished run's folder or its ``model.keras``, or a bundle, by name or path.
        paths: CSV or Parquet files of rows; with teachers, they need no labels.
        output: The new run's folder.
        fitting: Training settings of each stage; patience ends a stage early, at its best epoch.
        data: How rows become examples; text rules and character cap are replaced by the model's.
        columns: The columns of text, label and user.
        labels: Use only the rows with these labels; the classes have this order.
        teachers: Teachers whose probabilities are learned in addition to the labels.
        without: Files of held-out texts; rows that repeat one are left out.
        thaw: The order in which layers are trained; see ``plan_stages``.
        layer_decay: A layer's learning rate is the next layer's, multiplied by this.
        resume: Resume the fine-tuning in ``output`` with its original settings.
        progress: Called after every batch.
        on_epoch: Called after every epoch.

    Raises:
        BundleError: The bundle does not exist or is not valid.
        CheckpointError: The source run is not finished; or ``output`` has no run to resume, or one with
            other data.
        ModelFormatError: The model cannot be loaded safely.
        DataError: The rows cannot be used.
        UsageError: A teacher does not match the run, or a class weight names an unknown label.
        TrainingError: The training diverged.
    """
    if not 0 < layer_decay <= 1:
        raise UsageError("--layer-decay must be above 0 and at most 1")
    before = open_trained(source)
    folder = RunFolder(Path(output))
    if resume:
        record = _read_unfinished(folder, before)
        assert record.settings is not None
        assert record.fine_tuning is not None
        settings, plan = record.settings, record.fine_tuning
        prepared = prepare(
            paths,
            settings,
            without=without,
            teachers=NOBODY,
            taught=bool(record.teachers),
            known=before.labels,
        )
        check_same_files(record, prepared, folder)
    else:
        claim(folder)
        data = replace(data, rules=before.text.rules, max_chars=before.text.max_chars)
        settings = Settings(None, fitting, data, columns, None if labels is None else tuple(labels))
        prepared = prepare(paths, settings, without=without, teachers=teachers, known=before.labels)
    new_labels = prepared.labels != before.labels
    model = before.model
    if new_labels:
        model = with_labels(model, before.labels, prepared.labels, settings.fitting.seed)
    names = [layer.name for layer in model.layers if layer.weights]
    validation_rows = before.text.look_up(prepared.split.validation)
    if not resume:
        stages = plan_stages(names, thaw)
        plan = FineTuning(thaw, layer_decay, tuple(stage.name for stage in stages), before.fingerprint)
        record = replace(
            describe(prepared, settings, before.text.vocabulary),
            network=from_keras(model).describe(),
            fine_tuning=plan,
            started_from={"name": before.name, "labels": list(before.labels), **before.provenance},
        )
        if teachers:
            taught, asked = prepared.taught(teachers, settings)
            folder.write_taught(*taught)
            record = replace(record, teachers=asked)
        folder.write_vocabulary(before.text.vocabulary)
        folder.write_validation(HeldOutRows(prepared.validation_name, validation_rows))
        folder.write_record(record)
    sides = lessons(
        prepared.split,
        (before.text.look_up(prepared.split.train), validation_rows),
        prepared.labels,
        settings.fitting,
        folder.read_taught() if record.teachers else None,
    )
    tuner = Tuner(folder, model, sides, settings.fitting, plan, names, new_labels, progress, on_epoch)
    tuner.run(plan_stages(names, plan.thaw))  # type: ignore[arg-type]
    return tuner.finish(record)


def with_labels(
    model: keras.Sequential, old: Sequence[str], new: Sequence[str], seed: int
) -> keras.Sequential:
    """The same network with a head for other labels; labels in both sets keep their weights.

    Args:
        model: A network whose last layer is ``Dense`` softmax.
        old: The labels of ``model``.
        new: The labels of the new head.
        seed: Seed for the weights of new labels.
    """
    last = model.layers[-1]
    head = keras.layers.Dense.from_config({**last.get_config(), "units": len(new)})
    keras.utils.set_random_seed(seed)
    renewed = keras.Sequential(
        [keras.Input(shape=model.input_shape[1:], dtype="int32"), *model.layers[:-1], head]
    )
    kernel, bias = (np.array(weight) for weight in head.get_weights())
    old_kernel, old_bias = last.get_weights()
    for index, label in enumerate(new):
        if label in old:
            kernel[:, index], bias[index] = old_kernel[:, old.index(label)], old_bias[old.index(label)]
    head.set_weights([kernel, bias])
    return renewed


def _read_unfinished(folder: RunFolder, before: Trained) -> RunRecord:
    record = folder.read_record()
    if record.finished is not None:
        raise CheckpointError(
            "the run is finished", hint="export it, or fine-tune it again into a new --output"
        )
    if record.fine_tuning is None:
        raise CheckpointError(
            f"{folder.path} does not contain a fine-tuning run", hint="was it made by train?"
        )
    if record.fine_tuning.fingerprint != before.fingerprint:
        raise CheckpointError(f"the run in {folder.path} started from another model")
    return record
