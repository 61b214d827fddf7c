"""Keras ``predict`` with the weights of a bundle, and the graph that tf2onnx makes of that model.

    python -m benchmarks.keras_peer predict MODEL FILE ROWS    # batches in file order
    python -m benchmarks.keras_peer sorted MODEL FILE ROWS     # tweets of similar length together
    python -m benchmarks.keras_peer convert MODEL ONNX         # once
    python -m benchmarks.keras_peer tf2onnx MODEL FILE ROWS ONNX

Both get prepared token ids, in batches padded to their longest tweet, and their libraries' default number of
threads. The padding is masked, as in training.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.rows import read_texts
from benchmarks.timing import timed
from sentstream.bundle import Bundle, load_bundle
from sentstream.session import Session, import_runtime
from sentstream.text import Encoded

BATCH = 2048
Ids = npt.NDArray[np.int32]


def padded_batches(encoded: Encoded, *, sort: bool = False) -> list[Ids]:
    """Return all rows that have tokens, in batches of 2,048.

    Args:
        encoded: The rows.
        sort: Put rows of similar length together first, to minimize padding.
    """
    order = np.argsort(encoded.lengths, kind="stable") if sort else np.arange(len(encoded))
    order = order[encoded.lengths[order] > 0]
    return [padded(encoded, order[start : start + BATCH]) for start in range(0, len(order), BATCH)]


def padded(encoded: Encoded, rows: npt.NDArray[np.int64]) -> Ids:
    """Return the ids of some rows, padded with zeros: ``int32[rows, time]``, with pairs ``[…, 2]``."""
    lengths = encoded.lengths[rows]
    positions = np.arange(lengths.max())
    inside = positions < lengths[:, None]
    indices = np.where(inside, encoded.offsets[rows, None] + positions, 0)
    tables = [encoded.words] if encoded.pairs is None else [encoded.words, encoded.pairs]
    ids = [np.where(inside, table[indices], 0) for table in tables]
    return ids[0] if len(ids) == 1 else np.stack(ids, axis=-1)


def keras_model(bundle: Bundle) -> tuple[Any, Any]:
    """Return TensorFlow, and a Keras model with the bundle's own weights."""
    from sentstream_train.quiet import quiet_stderr

    with quiet_stderr():
        import tensorflow as tf

        from sentstream_train.network.conversion import to_keras
        from sentstream_train.store.trained import network_of
    return tf, to_keras(network_of(bundle))


def predict(bundle: Bundle, texts: pa.ChunkedArray, *, sort: bool) -> dict[str, Any]:
    """Time ``Model.predict``."""
    tf, model = keras_model(bundle)
    return timed_predict(tf, model, padded_batches(bundle.text.encode(texts), sort=sort), len(texts))


def timed_predict(tf: Any, model: Any, batches: list[Ids], rows: int) -> dict[str, Any]:
    """Time ``Model.predict`` over batches of ids, which TensorFlow prefetches."""
    signature = tf.TensorSpec([None, None, *batches[0].shape[2:]], tf.int32)

    def run(some: list[Ids]) -> object:
        data = tf.data.Dataset.from_generator(lambda: iter(some), output_signature=signature)
        data = data.apply(tf.data.experimental.assert_cardinality(len(some)))
        return model.predict(data.prefetch(2), verbose=0)

    run(batches[:: max(1, len(batches) // 8)])  # trace the graph before timing
    return timed(rows, lambda: run(batches))


def convert(bundle: Bundle, path: Path) -> None:
    """Write the graph that tf2onnx makes of the Keras model: a ``Loop`` over time that contains the mask.

    Not with ``from_keras``, which fails on a Sequential of Keras 3; this does what it would do.
    """
    tf, model = keras_model(bundle)
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        warnings.simplefilter("ignore")
        import tf2onnx

        shape = [None, None] if bundle.text.vocabulary.pairs is None else [None, None, 2]
        signature = [tf.TensorSpec(shape, tf.int32, name="tokens")]
        graph = tf.function(lambda tokens: model(tokens, training=False), input_signature=signature)
        proto, _ = tf2onnx.convert.from_function(graph, input_signature=signature, opset=17)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(proto.SerializeToString())
    os.replace(unfinished, path)


def run_converted(bundle: Bundle, texts: pa.ChunkedArray, path: Path) -> dict[str, Any]:
    """Time that graph with ONNX Runtime's defaults; also return its largest difference from sentstream."""
    session = import_runtime().InferenceSession(path, providers=["CPUExecutionProvider"])
    few = bundle.text.encode(texts.slice(0, BATCH))
    (same,) = session.run(None, {"tokens": padded_batches(few)[0]})
    ours = Session(bundle, "cpu").probabilities(few)[few.lengths > 0]
    batches = padded_batches(bundle.text.encode(texts))
    figures = timed(len(texts), lambda: [session.run(None, {"tokens": batch}) for batch in batches])
    return {**figures, "max_abs_difference": float(np.abs(ours - same).max())}


def main() -> None:
    command, model, *arguments = sys.argv[1:]
    bundle = load_bundle(model)
    if command == "convert":
        convert(bundle, Path(arguments[0]))
        print("{}")
        return
    texts = read_texts(Path(arguments[0]), int(arguments[1]))
    if command == "tf2onnx":
        print(json.dumps(run_converted(bundle, texts, Path(arguments[2]))))
    else:
        print(json.dumps(predict(bundle, texts, sort=command == "sorted")))


if __name__ == "__main__":
    main()
