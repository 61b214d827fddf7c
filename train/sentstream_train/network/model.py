"""The network: a Keras ``Sequential`` of Embedding → recurrent layers → (pooling) → Dense softmax."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from sentstream_train.config import NetworkConfig
from sentstream_train.network.layers import MaskedPooling, WordDropout, WordPairEmbedding

_CELLS: dict[str, Any] = {
    "simple": keras.layers.SimpleRNN,
    "gru": keras.layers.GRU,
    "lstm": keras.layers.LSTM,
}


def build_model(
    config: NetworkConfig, *, words: int, pairs: int, classes: int, seed: int
) -> keras.Sequential:
    """Build the network with random initial weights.

    Args:
        config: The architecture.
        words: Size of the vocabulary, including padding and the unknown word.
        pairs: Number of known word pairs (the table has one more row, for "no pair").
        classes: Number of labels.
        seed: Seed of weights and dropout.

    Returns:
        A built, uncompiled model. Input: ``int32 (batch, time)`` word ids, or ``(batch, time, 2)``
        with pairs; output: ``float32 (batch, classes)`` probabilities.
    """
    keras.utils.set_random_seed(seed)
    l2 = keras.regularizers.L2(config.l2) if config.l2 else None
    shape: tuple[int | None, ...] = (None, 2) if config.pairs else (None,)
    layers: list[Any] = [keras.Input(shape=shape, dtype="int32", name="tokens")]
    if config.word_dropout:
        layers.append(WordDropout(config.word_dropout, name="word_dropout"))
    if config.pairs:
        layers.append(
            WordPairEmbedding(
                words,
                pairs + 1,
                config.embedding,
                pair_dropout=config.pair_dropout,
                seed=seed,
                name="embedding",
            )
        )
    else:
        layers.append(keras.layers.Embedding(words, config.embedding, mask_zero=True, name="embedding"))
    if config.embedding_dropout:
        layers.append(keras.layers.SpatialDropout1D(config.embedding_dropout, name="embedding_dropout"))
    for depth, units in enumerate(config.units, start=1):
        recurrent = _CELLS[config.cell](
            units,
            activation=config.activation,
            return_sequences=depth < len(config.units) or config.pooling != "last",
            recurrent_dropout=config.recurrent_dropout,
            kernel_regularizer=l2,
            recurrent_regularizer=l2,
            name=f"rnn_{depth}",
        )
        if config.bidirectional:
            recurrent = keras.layers.Bidirectional(recurrent, name=f"birnn_{depth}")
        layers.append(recurrent)
    if config.pooling != "last":
        layers.append(MaskedPooling(config.pooling, name="pooling"))
    if config.dropout:
        layers.append(keras.layers.Dropout(config.dropout, name="dropout"))
    layers.append(
        keras.layers.Dense(classes, activation="softmax", kernel_regularizer=l2, name="probabilities")
    )
    return keras.Sequential(layers, name="sentstream")


def seed_generators(model: keras.Sequential) -> list[Any]:
    """The random states of a model's dropout layers, in a fixed order.

    They are reset at each epoch from the seed and the epoch's number, so that a resumed run draws the
    same numbers as an uninterrupted one.
    """
    generators: list[Any] = []
    for layer in model._flatten_layers():
        for name in ("seed_generator", "_seed_generator"):
            generator = getattr(layer, name, None)
            if generator is not None and all(generator is not one for one in generators):
                generators.append(generator)
    return generators


def set_word_vectors(
    model: keras.Sequential, words: npt.NDArray[np.int64], vectors: npt.NDArray[np.float32]
) -> None:
    """Set initial word vectors; other words keep their random ones.

    Args:
        model: A network from ``build_model``.
        words: ``int64[n]``, word ids.
        vectors: ``float32[n, embedding]``, their vectors.
    """
    embedding = model.get_layer("embedding")
    table, *others = embedding.get_weights()
    table[words] = vectors
    embedding.set_weights([table, *others])
