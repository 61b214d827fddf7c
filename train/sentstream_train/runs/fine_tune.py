"""Fine-tuning: a trained network learns new labels or a new domain without forgetting its words."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from sentstream.errors import CheckpointError, UsageError
from sentstream_train.config import DataConfig, FitConfig, from_dict, to_dict
from sentstream_train.data.labeled import LabeledData
from sentstream_train.data.split import leave_out, split_rows
from sentstream_train.fit.distill import NOBODY, Teachers, describe_teachers, open_teachers
from sentstream_train.fit.epochs import History, Progress, fit
from sentstream_train.fit.lessons import lessons, teach
from sentstream_train.network.conversion import from_keras
from sentstream_train.network.keras_file import load_keras
from sentstream_train.runs.train import (
    ANY_COLUMNS,
    Columns,
    TrainResult,
    check_same_files,
    claim,
    describe_files,
    describe_sources,
    finish,
    now,
    read_rows,
    versions,
)
from sentstream_train.store.folder import RUN_FORMAT, RunFolder
from sentstream_train.store.trained import Trained, open_trained

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
    teachers: Teachers = NOBODY,
    without: Sequence[str | Path] = (),
    thaw: Thaw = "chain",
    layer_decay: float = 0.8,
    resume: bool = False,
    progress: Progress | None = None,
) -> TrainResult:
    """Fine-tune a model on other rows; the vocabulary and the text rules stay.

    Args:
        source: A finished run's folder or its ``model.keras``, or a bundle, by name or path.
        paths: CSV or Parquet files of rows; with teachers, they need no labels.
        output: The new run's folder.
        fitting: How each stage is fitted; patience ends a stage early, at its best epoch.
        data: How rows become examples; its text rules and character cap are those of the model.
        columns: Where text, label and user stand.
        labels: Use only the rows with these labels, in this order of classes.
        teachers: Whose probabilities are learned beside the labels.
        without: Files of held-out texts; rows that repeat one are left out.
        thaw: Order in which layers learn; see ``plan_stages``.
        layer_decay: The learning rate of a layer is that of the next one times this.
        resume: Go on with the fine-tuning in ``output``, with the settings it began with.
        progress: Called after every batch.

    Raises:
        BundleError: There is no such bundle, or it is not sound.
        CheckpointError: The run is not finished; or ``output`` holds none to resume, or one over other data.
        ModelFormatError: The model cannot be loaded safely.
        DataError: The rows cannot be used.
        UsageError: A teacher that does not fit.
    """
    if not 0 < layer_decay <= 1:
        raise UsageError("--layer-decay must be above 0 and at most 1")
    before = open_trained(source)
    text, model = before.text, before.model
    folder = RunFolder(Path(output))
    run: dict[str, Any] = {}
    if resume:
        run = _read_unfinished(folder, before)
        fitting = from_dict(FitConfig, run["training"])
        data = from_dict(DataConfig, run["preparation"])
        columns, labels = Columns(**run["columns"]), run["only_labels"]
        thaw, layer_decay = run["fine_tuning"]["thaw"], run["fine_tuning"]["layer_decay"]
    data = replace(data, rules=text.rules, max_chars=text.max_chars)
    rows = read_rows(paths, columns, labels, taught="teachers" in run if resume else bool(teachers))
    rows = _in_order_of(rows, before.labels)
    if resume:
        check_same_files(run, rows, without, folder)
    else:
        claim(folder)
    kept = leave_out(rows, without, data) if without else rows
    split = split_rows(kept, data, fitting.seed)
    if rows.labels != before.labels:
        model = with_labels(model, before.labels, rows.labels, fitting.seed)
    names = [layer.name for layer in model.layers if layer.weights]
    stages = plan_stages(names, thaw)
    validation_rows = text.look_up(split.validation)
    if not resume:
        run = {
            "format": RUN_FORMAT,
            "labels": list(rows.labels),
            "text": data.rules.to_dict(),
            "max_chars": data.max_chars,
            "network": from_keras(model).describe(),
            "training": to_dict(fitting),
            "fine_tuning": {
                "thaw": thaw,
                "layer_decay": layer_decay,
                "stages": [stage.name for stage in stages],
                "fingerprint": before.fingerprint,
            },
            "preparation": to_dict(data),
            "columns": {"text": columns.text, "label": columns.label, "user": columns.user},
            "only_labels": list(labels) if labels is not None else None,
            "data": describe_sources(rows),
            "rows": {**split.report.to_dict(), "repeat_held_out": len(rows) - len(kept)},
            "held_out": describe_files(without),
            "from": {"name": before.name, "labels": list(before.labels), **before.provenance},
            "vocabulary": {"words": len(text.vocabulary), "pairs": text.vocabulary.pair_count},
            "versions": versions(),
            "started": now(),
        }
        if teachers:
            opened = open_teachers(teachers, rows.labels, data.rules)
            run["teachers"] = describe_teachers(opened, teachers)
            folder.write_taught(*teach(opened, teachers, paths, kept, split))
        folder.write_vocabulary(text.vocabulary)
        folder.write_parity_rows(validation_rows)
        folder.write_json(folder.run, run)
    taught = folder.read_taught() if "teachers" in run else None
    sides = text.look_up(split.train), validation_rows
    train, validation = lessons(split, sides, len(rows.labels), fitting, taught)

    history, done = History(), 0
    if resume and folder.stages.exists():
        state = folder.read_json(folder.stages)
        history, done = History(list(state["epochs"]), int(state["best_epoch"])), int(state["stages"])
        model.set_weights(load_keras(folder.stage(done)).get_weights())
    for number, stage in enumerate(stages[done:], start=done + 1):
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
            resume=resume and folder.state.exists(),
            rate_factors=factors if adaptive else None,
            progress=progress,
        )
        history.epochs += [{**epoch, "epoch": history.done + 1 + k} for k, epoch in enumerate(part.epochs)]
        history.best_epoch = history.done - part.done + (part.best_epoch if fitting.patience else part.done)
        _finish_stage(folder, model, number, history)
    for layer in model.layers:
        layer.trainable = True
    folder.write("log.csv", history.to_csv())
    folder.write_json(folder.path / "log.json", history.epochs)
    result = finish(folder, model, history, split.report, run)
    folder.stage(len(stages)).unlink(missing_ok=True)
    folder.stages.unlink(missing_ok=True)
    return result


def _finish_stage(folder: RunFolder, model: keras.Sequential, number: int, history: History) -> None:
    """Keep the weights after a stage. A kill within repeats the stage, from the weights before it."""
    folder.save_model(model, folder.stage(number))
    epoch = folder.read_json(folder.state)["epochs"][-1]["epoch"]
    folder.state.unlink()
    folder.write_json(
        folder.stages, {"stages": number, "epochs": history.epochs, "best_epoch": history.best_epoch}
    )
    folder.checkpoint(int(epoch)).unlink(missing_ok=True)
    folder.best.unlink(missing_ok=True)
    folder.stage(number - 1).unlink(missing_ok=True)


def _read_unfinished(folder: RunFolder, before: Trained) -> dict[str, Any]:
    run = folder.read_json(folder.run)
    if "finished" in run:
        raise CheckpointError("the run is finished", hint="export it, or start another in a new folder")
    if run.get("format") != RUN_FORMAT or "fine_tuning" not in run:
        raise CheckpointError(f"{folder.path} does not hold a fine-tuning", hint="is it one of train?")
    if run["fine_tuning"]["fingerprint"] != before.fingerprint:
        raise CheckpointError(f"the run in {folder.path} began with another model")
    return run


def _in_order_of(rows: LabeledData, known: Sequence[str]) -> LabeledData:
    """Where the model knows every label of the rows, its classes stay, in its order."""
    if not set(rows.labels) <= set(known):
        return rows
    place = np.array([*(known.index(label) for label in rows.labels), -1], np.int32)  # -1: no label
    return replace(rows, label=place[rows.label], labels=tuple(known))
