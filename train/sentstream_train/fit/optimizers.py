"""Optimizers: Keras' own, and an Adam that updates only the table rows that a batch has read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from sentstream_train.config import FitConfig


@keras.saving.register_keras_serializable(package="sentstream")
class SparseAdam(keras.optimizers.Adam):
    """Adam (Kingma & Ba 2015) with lazy updates of look-up tables.

    The gradient of a look-up has a few thousand rows of a table of hundreds of thousands. Keras' Adam
    decays the moments of every row at every step, which costs three times as much as the rest of the
    step. Here a row's moments change only when the row was read (the "lazy Adam" of TensorFlow Addons).
    Dense gradients are handled by Keras' Adam.

    Args:
        sparse_clip_norm: Maximum global norm of the gradients; 0 means no clipping.
        rate_factors: Discriminative learning rates (Howard & Ruder 2018): one factor per trainable
            variable, in the model's order; None: the same rate for all.
    """

    def __init__(
        self,
        *args: Any,
        sparse_clip_norm: float = 0.0,
        rate_factors: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.sparse_clip_norm = sparse_clip_norm
        self.rate_factors = None if rate_factors is None else [float(factor) for factor in rate_factors]

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        grads = [_merge_rows(gradient) for gradient in grads]
        if self.sparse_clip_norm:  # Keras' own clipping would make the sparse gradients dense
            grads, _ = tf.clip_by_global_norm(grads, self.sparse_clip_norm)
        super().apply(grads, trainable_variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        if self.rate_factors is not None:
            learning_rate = learning_rate * self.rate_factors[index]
        if not isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, learning_rate)
            return
        rows, total = gradient.indices, gradient.values
        step = tf.cast(self.iterations + 1, total.dtype)
        beta_1, beta_2 = tf.cast(self.beta_1, total.dtype), tf.cast(self.beta_2, total.dtype)
        rate = tf.cast(learning_rate, total.dtype)
        rate *= tf.sqrt(1.0 - tf.pow(beta_2, step)) / (1.0 - tf.pow(beta_1, step))
        first, second = self._momentums[index].value, self._velocities[index].value
        new_first = beta_1 * tf.gather(first, rows) + (1.0 - beta_1) * total
        new_second = beta_2 * tf.gather(second, rows) + (1.0 - beta_2) * tf.square(total)
        first.scatter_update(tf.IndexedSlices(new_first, rows))
        second.scatter_update(tf.IndexedSlices(new_second, rows))
        change = rate * new_first / (tf.sqrt(new_second) + self.epsilon)
        table = variable.value if isinstance(variable, keras.Variable) else variable
        table.scatter_sub(tf.IndexedSlices(change, rows))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "sparse_clip_norm": self.sparse_clip_norm,
            "rate_factors": self.rate_factors,
        }


def _merge_rows(gradient: Any) -> Any:
    """Sum the slices of a sparse gradient that belong to the same row."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, index = tf.unique(gradient.indices)
    total = tf.math.unsorted_segment_sum(gradient.values, index, tf.size(rows))
    return tf.IndexedSlices(total, rows, gradient.dense_shape)


@keras.saving.register_keras_serializable(package="sentstream")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warmup, then a decay to (nearly) zero at the last step, or a constant rate.

    Args:
        peak: The highest learning rate.
        steps: Steps of the whole training.
        warmup: Steps of the warmup.
        shape: ``constant``, ``linear``, ``cosine`` (Loshchilov & Hutter 2017) or ``exponential`` (to 1 %).
    """

    def __init__(self, peak: float, steps: int, warmup: int, shape: str) -> None:
        super().__init__()
        self.peak, self.steps, self.warmup, self.shape = peak, steps, warmup, shape

    def __call__(self, step: Any) -> Any:
        at = tf.cast(step, tf.float32)
        rise = tf.minimum(1.0, (at + 1.0) / max(1, self.warmup))
        done = tf.clip_by_value((at - self.warmup) / max(1, self.steps - self.warmup), 0.0, 1.0)
        if self.shape == "constant":
            fall = tf.ones_like(done)
        elif self.shape == "linear":
            fall = 1.0 - done
        elif self.shape == "cosine":
            fall = 0.5 * (1.0 + tf.cos(math.pi * done))
        else:
            fall = tf.pow(0.01, done)
        return self.peak * rise * fall

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "steps": self.steps, "warmup": self.warmup, "shape": self.shape}


def make_optimizer(config: FitConfig, steps: int, rate_factors: Sequence[float] | None = None) -> Any:
    """The optimizer that ``config`` names, with a learning-rate schedule over ``steps`` steps.

    Args:
        config: The settings.
        steps: Steps of the whole training.
        rate_factors: Discriminative learning rates, one factor per trainable variable (``adam`` only).
    """
    rate = WarmupDecay(config.learning_rate, steps, int(config.warmup * steps), config.schedule)
    clip = {"global_clipnorm": config.clip_norm} if config.clip_norm else {}
    if config.optimizer == "adam":
        return SparseAdam(rate, sparse_clip_norm=config.clip_norm, rate_factors=rate_factors)
    if config.optimizer == "adamw":
        return keras.optimizers.AdamW(rate, weight_decay=config.weight_decay, **clip)
    if config.optimizer == "rmsprop":
        return keras.optimizers.RMSprop(rate, **clip)
    if config.optimizer == "nadam":
        return keras.optimizers.Nadam(rate, **clip)
    return keras.optimizers.SGD(rate, momentum=0.9, **clip)
