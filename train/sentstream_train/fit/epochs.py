"""Fit a network, an epoch at a time, so that a killed run goes on as if nothing had happened."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from sentstream.errors import CheckpointError, TrainingError
from sentstream_train.config import FitConfig
from sentstream_train.data.batches import Examples, LengthBatches
from sentstream_train.fit.optimizers import make_optimizer
from sentstream_train.fit.teacher_loss import TeacherLoss, accuracy
from sentstream_train.network.model import seed_generators
from sentstream_train.store.folder import RunFolder

#: Called with (epoch, batches done, batches in all, loss so far, accuracy so far).
Progress = Callable[[int, int, int, float, float], None]
#: Called after each epoch, before its checkpoint, with the network and the epoch's record.
AfterEpoch = Callable[[keras.Sequential, dict[str, float]], None]


@dataclass
class History:
    """The learning curve so far; what a checkpoint keeps beside the weights.

    Attributes:
        epochs: One record an epoch: number, losses and accuracies, seconds, tweets a second.
        best_epoch: The epoch of the lowest validation loss, from 1.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0

    @property
    def done(self) -> int:
        return len(self.epochs)

    def best_loss(self) -> float:
        return self.epochs[self.best_epoch - 1]["validation_loss"] if self.best_epoch else math.inf

    def is_over(self, config: FitConfig) -> bool:
        """Whether the last epoch is done or patience has run out."""
        waited = self.done - self.best_epoch
        return self.done >= config.epochs or bool(config.patience and waited >= config.patience)

    def to_csv(self) -> bytes:
        out = io.StringIO()
        if self.epochs:
            writer = csv.DictWriter(out, list(self.epochs[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.epochs)
        return out.getvalue().encode()


def compile_model(
    model: keras.Sequential, config: FitConfig, train: LengthBatches, rate_factors: Sequence[float] | None
) -> None:
    """Attach the optimizer, its schedule laid over all the epochs, and the loss."""
    taught = train.examples.targets.ndim == 2
    model.compile(
        optimizer=make_optimizer(config, len(train) * config.epochs, rate_factors),
        loss=TeacherLoss(config.teacher_temperature) if taught else "sparse_categorical_crossentropy",
        weighted_metrics=[accuracy] if taught else ["accuracy"],
        jit_compile=False,  # XLA compiles anew for each length, and was slower on CPU even then
    )


def fit(
    model: keras.Sequential,
    train: Examples,
    validation: Examples,
    config: FitConfig,
    folder: RunFolder,
    *,
    resume: bool = False,
    rate_factors: Sequence[float] | None = None,
    progress: Progress | None = None,
    after_epoch: AfterEpoch | None = None,
) -> History:
    """Fit ``model`` in place, with a checkpoint after each epoch.

    Order and dropout are drawn anew for each epoch from the seed and its number, and the optimizer's
    state is in the checkpoint: a resumed run computes what an uninterrupted one would have.

    Args:
        model: The network; with ``resume`` its weights are replaced by the checkpoint's.
        train: Rows to learn from.
        validation: Rows to judge each epoch by.
        config: The settings.
        folder: Where checkpoints and the log go.
        resume: Go on after the last finished epoch.
        rate_factors: Discriminative learning rates, one factor a trainable variable.
        progress: Called after every batch.
        after_epoch: Called after every epoch; what it raises ends the fit.

    Returns:
        The learning curve. With patience set, the model has the weights of its best epoch.

    Raises:
        CheckpointError: There is nothing to resume.
        TrainingError: The loss is no longer a number.
    """
    train_batches = LengthBatches(train, config.batch_size, config.max_tokens, config.seed)
    validation_batches = LengthBatches(validation, 2048, config.max_tokens)
    history = History()
    compile_model(model, config, train_batches, rate_factors)
    if resume:
        history = _restore(model, folder)
    while not history.is_over(config):
        epoch = history.done
        train_batches.begin_epoch(epoch)
        for place, generator in enumerate(seed_generators(model)):
            generator.state.assign(np.array([config.seed * 1000 + place, epoch + 1], np.uint32))
        began = time.perf_counter()
        callbacks = [_Reporter(progress, epoch, len(train_batches))] if progress else []
        result = model.fit(train_batches, epochs=1, verbose=0, shuffle=False, callbacks=callbacks).history
        seconds = time.perf_counter() - began
        loss, accuracy = model.evaluate(validation_batches, verbose=0)[:2]
        if not math.isfinite(result["loss"][0]):
            raise TrainingError(
                f"the loss of epoch {epoch + 1} is {result['loss'][0]}",
                hint="lower --learning-rate or --clip-norm",
            )
        history.epochs.append(
            {
                "epoch": epoch + 1,
                "loss": result["loss"][0],
                "accuracy": result["accuracy"][0],
                "validation_loss": float(loss),
                "validation_accuracy": float(accuracy),
                "seconds": round(seconds, 2),
                "tweets_per_second": round(len(train) / seconds, 1),
            }
        )
        if after_epoch:
            after_epoch(model, history.epochs[-1])
        if loss < history.best_loss() or not history.best_epoch:
            history.best_epoch = epoch + 1
            if config.patience:
                folder.save_model(model, folder.best)
        _checkpoint(model, history, folder)
    if config.patience and history.best_epoch != history.done:
        model.load_weights(folder.best)
    return history


def _checkpoint(model: keras.Sequential, history: History, folder: RunFolder) -> None:
    # The state goes last and names its epoch: a kill between the two leaves the older pair readable.
    folder.save_model(model, folder.checkpoint(history.done))
    folder.write_json(folder.state, {"epochs": history.epochs, "best_epoch": history.best_epoch})
    folder.write("log.csv", history.to_csv())
    folder.write_json(folder.path / "log.json", history.epochs)
    folder.checkpoint(history.done - 1).unlink(missing_ok=True)


def _restore(model: keras.Sequential, folder: RunFolder) -> History:
    state = folder.read_json(folder.state)
    history = History(list(state["epochs"]), int(state["best_epoch"]))
    path = folder.checkpoint(history.done)
    try:
        saved = keras.saving.load_model(path, safe_mode=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"the checkpoint {path} cannot be loaded: {error}") from error
    model.set_weights(saved.get_weights())
    model.optimizer.build(model.trainable_variables)
    for mine, theirs in zip(model.optimizer.variables, saved.optimizer.variables, strict=True):
        mine.assign(theirs)
    return history


class _Reporter(keras.callbacks.Callback):
    """Passes the running figures on after each batch."""

    def __init__(self, progress: Progress, epoch: int, batches: int) -> None:
        super().__init__()
        self._progress, self._epoch, self._batches = progress, epoch, batches

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        figures = logs or {}
        self._progress(
            self._epoch, batch + 1, self._batches, figures.get("loss", 0.0), figures.get("accuracy", 0.0)
        )
