"""Fit a network one epoch at a time, so that a killed run resumes with the same result."""

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

#: Called with (epoch, batches done, total batches, loss so far, accuracy so far).
Progress = Callable[[int, int, int, float, float], None]
#: Called after each epoch, before its checkpoint, with the network and the epoch's record.
AfterEpoch = Callable[[keras.Sequential, dict[str, float]], None]

#: A held-out loss above this multiple of a uniform guess's loss means that training diverged.
_DIVERGED = 10.0


@dataclass
class History:
    """The learning curve so far, saved in a checkpoint with the weights.

    Attributes:
        epochs: One record per epoch: number, losses and accuracies, seconds, tweets per second.
        best_epoch: The epoch with the lowest validation loss, from 1; 0: none is below the initial loss.
        begun: Epochs of the run before this fit, which continues after them with a new optimizer.
        start: Loss and accuracy on the held-out rows before the first epoch, for a pretrained network.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    begun: int = 0
    start: Figures | None = None

    @property
    def done(self) -> int:
        return len(self.epochs)

    def kept_epoch(self, config: FitConfig) -> int:
        """The epoch whose weights are kept; 0: the initial weights."""
        return self.best_epoch if config.patience else self.done

    def figures(self, epoch: int) -> Figures:
        """Loss and accuracy on the held-out rows after an epoch; epoch 0 is the initial network."""
        if epoch == 0:
            assert self.start is not None
            return self.start
        return figures_of(self.epochs[epoch - 1])

    def best_loss(self) -> float:
        if self.best_epoch > 0:
            return self.epochs[self.best_epoch - 1]["validation_loss"]
        return math.inf if self.start is None else self.start.loss

    def is_over(self, config: FitConfig) -> bool:
        """Whether the last epoch is done or patience is exhausted."""
        waited = self.done - max(self.best_epoch, self.begun)
        return self.done >= config.epochs or bool(config.patience and waited >= config.patience)

    def to_dict(self) -> dict[str, Any]:
        """The curve as JSON-ready data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> History:
        """The inverse of ``to_dict`` of this version or an earlier one."""
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
    """Attach the loss and the optimizer, with a learning-rate schedule over all ``steps``."""
    taught = train.targets.ndim == 2
    model.compile(
        optimizer=make_optimizer(config, steps, rate_factors),
        loss=TeacherLoss(config.teacher_temperature) if taught else "sparse_categorical_crossentropy",
        # Not weighted: whatever the class weights in the loss, this is the share of rows that are right.
        metrics=[
            keras.metrics.MeanMetricWrapper(accuracy, name="accuracy")
            if taught
            else keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        ],
        jit_compile=False,  # XLA compiles again for each length; on the CPU it was slower even without that
    )
    # A step that creates variables while it is traced is traced twice; so the metric is an object, too.
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

    Row order and dropout are seeded for each epoch from the seed and the epoch's number, and the checkpoint
    has the optimizer's state, so a resumed run computes the same as an uninterrupted one.

    Args:
        model: The network. With ``resume``, the network that the fit started with; its weights are
            replaced by the checkpoint's.
        train: Training rows.
        validation: Rows that each epoch is evaluated on.
        config: The settings.
        folder: The folder for checkpoints and the log.
        resume: Continue after the last finished epoch.
        earlier: The curve of a run that gets more epochs. ``model`` then has the weights that the run kept,
            and the schedule covers the additional epochs (a warm restart, Loshchilov and Hutter 2017).
        from_start: The network is pretrained: evaluate it before the first epoch, as epoch 0.
        rate_factors: Discriminative learning rates, one factor per trainable variable.
        progress: Called after every batch.
        after_epoch: Called after every epoch; an exception that it raises ends the fit.

    Returns:
        The learning curve. With patience, ``model`` has the weights of the best epoch, which may be the
        initial ones.

    Raises:
        CheckpointError: There is nothing to resume, or the checkpoint is invalid or too old.
        TrainingError: Training diverged: a loss is not finite, or the held-out loss exploded.
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
        for index, generator in enumerate(seed_generators(model)):
            generator.state.assign(np.array([config.seed * 1000 + index, epoch + 1], np.uint32))
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
    figures = model.evaluate(rows, verbose=0, return_dict=True)
    return Figures(float(figures["loss"]), float(figures["accuracy"]))


def _check_loss(model: keras.Sequential, record: dict[str, float], config: FitConfig) -> None:
    """Raise if training diverged.

    Raises:
        TrainingError: A loss is not finite, or the held-out loss exploded.
    """
    penalty = sum(float(loss) for loss in model.losses)
    guess = math.log(max(2, model.output_shape[-1]))
    if isinstance(model.loss, TeacherLoss):  # it grows with the square of the temperature
        guess *= max(1.0, config.teacher_temperature) ** 2
    for name, kind in (("loss", "loss"), ("validation_loss", "validation loss")):
        if not math.isfinite(record[name]) or (
            name == "validation_loss" and record[name] - penalty > _DIVERGED * guess
        ):
            raise TrainingError(
                f"the {kind} of epoch {record['epoch']} is {record[name]:,.4g}, that of guessing {guess:.2f}"
                ": the training diverged",
                hint=f"lower --learning-rate (it is {config.learning_rate:g})"
                + ("" if config.clip_norm else ", or set --clip-norm 1"),
            )


def _checkpoint(model: keras.Sequential, history: History, folder: RunFolder) -> None:
    # The state names its epoch and is written after the model: a kill in between leaves the older pair.
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
    for mine, restored in zip(model.optimizer.variables, saved.optimizer.variables, strict=True):
        mine.assign(restored)
    return history


class _Reporter(keras.callbacks.Callback):
    """Reports the running loss and accuracy after each batch."""

    def __init__(self, progress: Progress, epoch: int, batches: int) -> None:
        super().__init__()
        self._progress, self._epoch, self._batches = progress, epoch, batches

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        figures = logs or {}
        self._progress(
            self._epoch, batch + 1, self._batches, figures.get("loss", 0.0), figures.get("accuracy", 0.0)
        )
