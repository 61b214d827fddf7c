"""Layers that Keras does not have: word-pair embedding, masked pooling over time, word dropout.

They are registered under the package name ``sentstream``, so a ``.keras`` file that contains them loads
with ``safe_mode=True`` and without ``custom_objects``.
"""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops

PoolingMode = Literal["mean", "max", "mean-max"]


@keras.saving.register_keras_serializable(package="sentstream")
class WordPairEmbedding(keras.layers.Layer):
    """The sum of two look-ups per token: its word, and the pair (previous word, this word).

    A pair costs a memory read and an addition, and brings most of what a bigram model knows ("not good")
    into the recurrence. Pair id 0 means "not a frequent pair" and adds nothing.

    Args:
        words: Rows of the word table (vocabulary size; id 0 is padding).
        pairs: Rows of the pair table, including the row of id 0.
        units: Width of both tables.
        pair_dropout: Share of the pairs to drop in training, so that words keep their own meaning and
            rare pairs are not memorized. No effect at inference.
        mask_zero: Whether word id 0 is padding, to be masked downstream.
        seed: Seed of the initial word table and of the dropout.
        embeddings_regularizer: Keras regularizer of both tables, or None.

    Shapes: input ``(batch, time, 2)`` of integer ids, ``[..., 0]`` words and ``[..., 1]`` pairs;
    output ``(batch, time, units)``.
    """

    def __init__(
        self,
        words: int,
        pairs: int,
        units: int,
        *,
        pair_dropout: float = 0.0,
        mask_zero: bool = True,
        seed: int | None = None,
        embeddings_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.words, self.pairs, self.units = words, pairs, units
        self.pair_dropout, self.mask_zero, self.seed = pair_dropout, mask_zero, seed
        self.embeddings_regularizer = keras.regularizers.get(embeddings_regularizer)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        self.word_table = self.add_weight(
            name="word_table",
            shape=(self.words, self.units),
            initializer=keras.initializers.RandomUniform(-0.05, 0.05, seed=self.seed),
            regularizer=self.embeddings_regularizer,
        )
        # Pairs start at zero, so rare pairs that are hardly trained do no harm.
        self.pair_table = self.add_weight(
            name="pair_table",
            shape=(self.pairs, self.units),
            initializer="zeros",
            regularizer=self.embeddings_regularizer,
        )
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        words, pairs = inputs[..., 0], inputs[..., 1]
        if training and self.pair_dropout > 0:
            keep = keras.random.uniform(ops.shape(pairs), seed=self.seed_generator) >= self.pair_dropout
            pairs = pairs * ops.cast(keep, pairs.dtype)
        known = ops.expand_dims(ops.cast(ops.not_equal(pairs, 0), self.compute_dtype), -1)
        return ops.take(self.word_table, words, axis=0) + ops.take(self.pair_table, pairs, axis=0) * known

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return ops.not_equal(inputs[..., 0], 0) if self.mask_zero else mask

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "words": self.words,
            "pairs": self.pairs,
            "units": self.units,
            "pair_dropout": self.pair_dropout,
            "mask_zero": self.mask_zero,
            "seed": self.seed,
            "embeddings_regularizer": keras.regularizers.serialize(self.embeddings_regularizer),
        }


@keras.saving.register_keras_serializable(package="sentstream")
class MaskedPooling(keras.layers.Layer):
    """Pooling over the time axis without masked steps.

    Args:
        mode: ``"mean"``, ``"max"``, or ``"mean-max"`` (both, the maximum first).

    Shapes: input ``(batch, time, units)``; output ``(batch, units)``, twice as wide for
    ``"mean-max"``.
    """

    def __init__(self, mode: PoolingMode = "mean-max", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if mode not in ("mean", "max", "mean-max"):
            raise ValueError(f"mode must be mean, max or mean-max, not {mode!r}")
        self.mode = mode
        self.supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        if mask is None:
            maximum, mean = ops.max(inputs, axis=1), ops.mean(inputs, axis=1)
        else:
            kept = ops.expand_dims(ops.cast(mask, inputs.dtype), -1)
            lowest = ops.cast(-3.0e38, inputs.dtype)
            maximum = ops.max(ops.where(kept > 0, inputs, lowest), axis=1)
            mean = ops.sum(inputs * kept, axis=1) / ops.maximum(ops.sum(kept, axis=1), 1.0)
        if self.mode == "max":
            return maximum
        if self.mode == "mean":
            return mean
        return ops.concatenate([maximum, mean], axis=-1)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None

    def compute_output_shape(self, input_shape: Any) -> Any:
        width = input_shape[-1]
        return (input_shape[0], width * 2 if self.mode == "mean-max" else width)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode}


@keras.saving.register_keras_serializable(package="sentstream")
class WordDropout(keras.layers.Layer):
    """Replaces some words with the unknown word (id 1) in training; does nothing at inference.

    It teaches the network to handle unknown words. The pair of a replaced word is dropped, too.

    Args:
        rate: Share of the words to replace.
        seed: Seed of the draws.

    Shapes: ``(batch, time)`` or ``(batch, time, 2)`` of integer ids, in and out.
    """

    def __init__(self, rate: float, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.seed = rate, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training or self.rate <= 0:
            return inputs
        words = inputs[..., 0] if len(inputs.shape) == 3 else inputs
        hit = keras.random.uniform(ops.shape(words), seed=self.seed_generator) < self.rate
        hit = ops.logical_and(hit, ops.not_equal(words, 0))
        if len(inputs.shape) == 2:
            return ops.where(hit, ops.ones_like(words), words)
        return ops.where(ops.expand_dims(hit, -1), ops.cast([1, 0], inputs.dtype), inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
