"""Fit a network, an epoch at a time, so that a killed run goes on as if nothing had happened."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
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
from sentstream_train.store.record import Figures

#: Called with (epoch, batches done, batches in all, loss so far, accuracy so far).
Progress = Callable[[int, int, int, float, float], None]
#: Called after each epoch, before its checkpoint, with the network and the epoch's record.
AfterEpoch = Callable[[keras.Sequential, dict[str, float]], None]

#: A held-out loss this many times that of a guess is not a setback: the training has diverged.
_DIVERGED = 10.0


@dataclass
class History:
    """The learning curve so far; what a checkpoint keeps beside the weights.

    Attributes:
        epochs: One record an epoch: number, losses and accuracies, seconds, tweets a second.
        best_epoch: The epoch of the lowest validation loss, from 1; 0: none is below that of the start.
        begun: Epochs of the run before this fit, which goes on after them with a new optimizer.
        start: Loss and accuracy on the held-out rows before the first epoch, where the network began trained.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    begun: int = 0
    start: Figures | None = None

    @property
    def done(self) -> int:
        return len(self.epochs)

    def kept_epoch(self, config: FitConfig) -> int:
        """The epoch whose weights are kept; 0: those before the first epoch."""
        return self.best_epoch if config.patience else self.done

    def figures(self, epoch: int) -> Figures:
        """Loss and accuracy on the held-out rows after an epoch; after epoch 0: before the first one."""
        if epoch == 0:
            assert self.start is not None
            return self.start
        return figures_of(self.epochs[epoch - 1])

    def best_loss(self) -> float:
        if self.best_epoch > 0:
            return self.epochs[self.best_epoch - 1]["validation_loss"]
        return math.inf if self.start is None else self.start.loss

    def is_over(self, config: FitConfig) -> bool:
        """Whether the last epoch is done or patience has run out."""
        waited = self.done - max(self.best_epoch, self.begun)
        return self.done >= config.epochs or bool(config.patience and waited >= config.patience)

    def to_dict(self) -> dict[str, Any]:
        """The curve as JSON-ready data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> History:
        """Read back what ``to_dict`` made, in this version or an earlier one."""
        start = values.get("start")
        return cls(
            epochs=list(values["epochs"]),
            best_epoch=int(values["best_epoch"]),
            begun=int(values.get("begun", 0)),
            start=None if start is None else Figures(**start),
        )


def figures_of(record: dict[str, float]) -> Figures:
    """Loss and accuracy on the held-out rows, from an epoch's record."""
    return Figures(record["validation_loss"], record["validation_accuracy"])


def compile_model(
    model: keras.Sequential,
    config: FitConfig,
    train: Examples,
    steps: int,
    rate_factors: Sequence[float] | None,
) -> None:
    """Attach the loss, and the optimizer with its schedule laid over all the steps."""
    taught = train.targets.ndim == 2
    model.compile(
        optimizer=make_optimizer(config, steps, rate_factors),
        loss=TeacherLoss(config.teacher_temperature) if taught else "sparse_categorical_crossentropy",
        # Not weighted: whatever the classes count in the loss, this is the share of rows that are right.
        metrics=[
            keras.metrics.MeanMetricWrapper(accuracy, name="accuracy")
            if taught
            else keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        ],
        jit_compile=False,  # XLA compiles again for each length, and was slower on the CPU even so
    )
    # Like the metric, given as an object: a step that makes variables while it is traced is traced twice.
    model.optimizer.build(model.trainable_variables)


def fit(
    model: keras.Sequential,
    train: Examples,
    validation: Examples,
    config: FitConfig,
    folder: RunFolder,
    *,
    resume: bool = False,
    earlier: History | None = None,
    from_start: bool = False,
    rate_factors: Sequence[float] | None = None,
    progress: Progress | None = None,
    after_epoch: AfterEpoch | None = None,
) -> History:
    """Fit ``model`` in place, with a checkpoint after each epoch.

    Order and dropout are drawn again for each epoch from the seed and its number, and the optimizer's
    state is in the checkpoint: a resumed run computes what an uninterrupted one would have.

    Args:
        model: The network; with ``resume`` it is the one that the fit began with, and its weights are
            replaced by the checkpoint's.
        train: Rows to learn from.
        validation: Rows to judge each epoch by.
        config: The settings.
        folder: Where checkpoints and the log go.
        resume: Go on after the last finished epoch.
        earlier: The curve of a run that gets more epochs: the network is the one that it kept, and the
            schedule is laid over the further epochs (a warm restart, Loshchilov and Hutter 2017).
        from_start: The network is trained already: it is judged before the first epoch, as epoch 0.
        rate_factors: Discriminative learning rates, one factor a trainable variable.
        progress: Called after every batch.
        after_epoch: Called after every epoch; what it raises ends the fit.

    Returns:
        The learning curve. With patience set, the model has the weights of its best epoch, which may be
        those that it began with.

    Raises:
        CheckpointError: There is nothing to resume, or it was begun by a version that kept less.
        TrainingError: It diverged: a loss is not a number, or that of the held-out rows has exploded.
    """
    train_batches = LengthBatches(train, config.batch_size, config.max_tokens, config.seed)
    validation_batches = LengthBatches(validation, 2048, config.max_tokens)
    history = History() if earlier is None else earlier
    began_with = model.get_weights() if earlier is not None or from_start else None
    steps = len(train_batches) * (config.epochs - history.begun)
    compile_model(model, config, train, steps, rate_factors)
    if resume:
        history = _restore(model, folder)
        if from_start and history.start is None:
            raise CheckpointError(
                f"{folder.state} was written by an earlier version", hint="start over in another --output"
            )
    elif from_start:
        history.start = _judge(model, validation_batches)
    while not history.is_over(config):
        epoch = history.done
        train_batches.begin_epoch(epoch)
        for place, generator in enumerate(seed_generators(model)):
            generator.state.assign(np.array([config.seed * 1000 + place, epoch + 1], np.uint32))
        began = time.perf_counter()
        callbacks = [_Reporter(progress, epoch, len(train_batches))] if progress else []
        result = model.fit(train_batches, epochs=1, verbose=0, shuffle=False, callbacks=callbacks).history
        seconds = time.perf_counter() - began
        held_out = _judge(model, validation_batches)
        record = {
            "epoch": epoch + 1,
            "loss": result["loss"][0],
            "accuracy": result["accuracy"][0],
            "validation_loss": held_out.loss,
            "validation_accuracy": held_out.accuracy,
            "seconds": round(seconds, 2),
            "tweets_per_second": round(len(train) / seconds, 1),
        }
        _check_loss(model, record, config)
        history.epochs.append(record)
        if after_epoch:
            after_epoch(model, record)
        if held_out.loss < history.best_loss():
            history.best_epoch = epoch + 1
            if config.patience:
                folder.save_model(model, folder.best)
        _checkpoint(model, history, folder)
    kept = history.kept_epoch(config)
    if kept != history.done:
        if kept > history.begun:
            model.load_weights(folder.best)
        else:
            assert began_with is not None
            model.set_weights(began_with)
    return history


def _judge(model: keras.Sequential, rows: LengthBatches) -> Figures:
    found = model.evaluate(rows, verbose=0, return_dict=True)
    return Figures(float(found["loss"]), float(found["accuracy"]))


def _check_loss(model: keras.Sequential, record: dict[str, float], config: FitConfig) -> None:
    """Raise if a network has diverged.

    Raises:
        TrainingError: A loss is not a number, or that of the held-out rows has exploded.
    """
    penalty = sum(float(loss) for loss in model.losses)
    guess = math.log(max(2, model.output_shape[-1]))
    if isinstance(model.loss, TeacherLoss):  # which grows with the square of the temperature
        guess *= max(1.0, config.teacher_temperature) ** 2
    for name, what in (("loss", "loss"), ("validation_loss", "validation loss")):
        if not math.isfinite(record[name]) or (
            name == "validation_loss" and record[name] - penalty > _DIVERGED * guess
        ):
            raise TrainingError(
                f"the {what} of epoch {record['epoch']} is {record[name]:,.4g}, that of guessing {guess:.2f}:"
                " the training diverged",
                hint=f"lower --learning-rate (it is {config.learning_rate:g})"
                + ("" if config.clip_norm else ", or set --clip-norm 1"),
            )


def _checkpoint(model: keras.Sequential, history: History, folder: RunFolder) -> None:
    # The state goes last and names its epoch: a kill between the two leaves the older pair readable.
    folder.save_model(model, folder.checkpoint(history.done))
    folder.write_json(folder.state, history.to_dict())
    folder.write_log(history.epochs)
    folder.checkpoint(history.done - 1).unlink(missing_ok=True)


def _restore(model: keras.Sequential, folder: RunFolder) -> History:
    try:
        history = History.from_dict(folder.read_json(folder.state))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder.state} is not a valid training state: {error}") from error
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
