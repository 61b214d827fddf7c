"""Fine-tuning: a trained network learns new labels or a new domain without forgetting its words."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from sentstream.errors import UsageError
from sentstream_train.batches import Examples
from sentstream_train.config import DataConfig, FitConfig, to_dict
from sentstream_train.data import split_rows
from sentstream_train.fit import History, Progress, fit
from sentstream_train.folder import RUN_FORMAT, RunFolder
from sentstream_train.keras_network import from_keras
from sentstream_train.labeled import LabeledData, read_labeled
from sentstream_train.run import (
    ANY_COLUMNS,
    Columns,
    TrainResult,
    claim,
    describe_sources,
    finish,
    now,
    row_weights,
    versions,
)
from sentstream_train.trained import open_trained

Thaw = Literal["chain", "gradual", "head", "all"]


@dataclass(frozen=True)
class Stage:
    """A part of the fine-tuning: which layers learn."""

    name: str
    layers: frozenset[str]


def plan_stages(layers: Sequence[str], thaw: Thaw) -> list[Stage]:
    """The stages of a fine-tuning.

    Args:
        layers: Names of the layers with weights, first to last.
        thaw: ``"chain"``: the head, then each layer alone from the first, then all (chain-thaw, Felbo
            et al. 2017). ``"gradual"``: the head, then one layer more at a time from the last (gradual
            unfreezing, Howard & Ruder 2018). ``"head"``: the head only. ``"all"``: everything at once.
    """
    head, body = layers[-1], list(layers[:-1])
    everything = Stage("all", frozenset(layers))
    if thaw == "all":
        return [everything]
    stages = [Stage(head, frozenset({head}))]
    if thaw == "chain":
        stages += [Stage(name, frozenset({name})) for name in body] + [everything]
    elif thaw == "gradual":
        stages += [
            Stage(f"{name} and later", frozenset(layers[len(body) - 1 - k :]))
            for k, name in enumerate(body[::-1])
        ]
    elif thaw != "head":
        raise UsageError(f"--thaw must be chain, gradual, head or all, not {thaw!r}")
    return stages


def with_labels(
    model: keras.Sequential, old: Sequence[str], new: Sequence[str], seed: int
) -> keras.Sequential:
    """The same network with a head for other labels; a label both know keeps what was learned of it.

    Args:
        model: A network whose last layer is ``Dense`` softmax.
        old: Its labels.
        new: The labels wanted.
        seed: Seed of the weights of labels that are new.
    """
    last = model.layers[-1]
    head = keras.layers.Dense.from_config({**last.get_config(), "units": len(new)})
    keras.utils.set_random_seed(seed)
    renewed = keras.Sequential(
        [keras.Input(shape=model.input_shape[1:], dtype="int32"), *model.layers[:-1], head]
    )
    kernel, bias = (np.array(weight) for weight in head.get_weights())
    old_kernel, old_bias = last.get_weights()
    for place, label in enumerate(new):
        if label in old:
            kernel[:, place], bias[place] = old_kernel[:, old.index(label)], old_bias[old.index(label)]
    head.set_weights([kernel, bias])
    return renewed


def fine_tune(
    source: str | os.PathLike[str],
    paths: Sequence[str | Path],
    output: Path,
    *,
    fitting: FitConfig,
    data: DataConfig,
    columns: Columns = ANY_COLUMNS,
    labels: Sequence[str] | None = None,
    thaw: Thaw = "chain",
    layer_decay: float = 0.8,
    progress: Progress | None = None,
) -> TrainResult:
    """Fine-tune a model on other labeled rows; the vocabulary and the text rules stay.

    Args:
        source: A finished run's folder or its ``model.keras``, or a bundle, by name or path.
        paths: CSV or Parquet files of labeled rows.
        output: The new run's folder.
        fitting: How each stage is fitted; patience ends a stage early, at its best epoch.
        data: How rows become examples; its text rules and character cap are those of the model.
        columns: Where text, label and user stand.
        labels: Use only the rows with these labels, in this order of classes.
        thaw: Order in which layers learn; see ``plan_stages``.
        layer_decay: The learning rate of a layer is that of the next one times this.
        progress: Called after every batch.

    Raises:
        BundleError: There is no such bundle, or it is not sound.
        CheckpointError: The run is not finished.
        ModelFormatError: The model cannot be loaded safely.
        DataError: The rows cannot be used.
    """
    if not 0 < layer_decay <= 1:
        raise UsageError("--layer-decay must be above 0 and at most 1")
    started = now()
    before = open_trained(source)
    text, model = before.text, before.model
    folder = RunFolder(Path(output))
    data = replace(data, rules=text.rules, max_chars=text.max_chars)

    rows = read_labeled(
        paths, text_column=columns.text, label_column=columns.label, user_column=columns.user, labels=labels
    )
    rows = _in_order_of(rows, before.labels)
    claim(folder)
    split = split_rows(rows, data, fitting.seed)
    if rows.labels != before.labels:
        model = with_labels(model, before.labels, rows.labels, fitting.seed)
    train_rows, validation_rows = text.look_up(split.train), text.look_up(split.validation)
    weights = row_weights(fitting, split.train_labels, len(rows.labels))
    train = Examples(train_rows, split.train_labels, weights)
    validation = Examples(validation_rows, split.validation_labels)

    names = [layer.name for layer in model.layers if layer.weights]
    history = History()
    stages = plan_stages(names, thaw)
    for stage in stages:
        for layer in model.layers:
            layer.trainable = layer.name in stage.layers
        depth = {name: layer_decay ** (len(names) - 1 - place) for place, name in enumerate(names)}
        factors = [depth[layer.name] for layer in model.layers for _ in layer.trainable_variables]
        adaptive = fitting.optimizer == "adam"
        part = fit(
            model,
            train,
            validation,
            fitting,
            folder,
            rate_factors=factors if adaptive else None,
            progress=progress,
        )
        history.epochs += [{**epoch, "epoch": history.done + 1 + k} for k, epoch in enumerate(part.epochs)]
        history.best_epoch = history.done - part.done + (part.best_epoch if fitting.patience else part.done)
        folder.checkpoint(part.done).unlink(missing_ok=True)
    for layer in model.layers:
        layer.trainable = True

    folder.write_vocabulary(text.vocabulary)
    folder.write_parity_rows(validation_rows)
    folder.write("log.csv", history.to_csv())
    folder.write_json(folder.path / "log.json", history.epochs)
    run: dict[str, Any] = {
        "format": RUN_FORMAT,
        "labels": list(rows.labels),
        "text": data.rules.to_dict(),
        "max_chars": data.max_chars,
        "network": from_keras(model).describe(),
        "training": to_dict(fitting),
        "fine_tuning": {"thaw": thaw, "layer_decay": layer_decay, "stages": [stage.name for stage in stages]},
        "preparation": to_dict(data),
        "data": describe_sources(rows),
        "rows": split.report.to_dict(),
        "from": {"name": before.name, "labels": list(before.labels), **before.provenance},
        "vocabulary": {"words": len(text.vocabulary), "pairs": text.vocabulary.pair_count},
        "versions": versions(),
        "started": started,
    }
    return finish(folder, model, history, split.report, run)


def _in_order_of(rows: LabeledData, known: Sequence[str]) -> LabeledData:
    """Where the model knows every label of the rows, its classes stay, in its order."""
    if not set(rows.labels) <= set(known):
        return rows
    place = np.array([known.index(label) for label in rows.labels], np.int32)
    return replace(rows, label=place[rows.label], labels=tuple(known))
