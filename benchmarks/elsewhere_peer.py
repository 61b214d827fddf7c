"""Models as tutorials make them: Keras ``predict`` compared with their bundles from ``export-onnx``.

    python -m benchmarks.elsewhere_peer make KIND FOLDER            # once: the model and its bundle
    python -m benchmarks.elsewhere_peer predict FOLDER FILE ROWS    # from token ids

Weights are Keras' random initial ones: nothing here depends on what a model has learned.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.keras_peer import BATCH, Ids, padded_batches, timed_predict
from benchmarks.machine import ROOT
from benchmarks.rows import read_texts, tweets
from sentstream.bundle import Bundle, load_bundle

#: As in many tutorials: the words of a Tokenizer, the tokens of pad_sequences.
WORDS, LENGTH = 20_000, 40
_FITTED_ON = 50_000
LABELS = ("negative", "positive")


def _padded(layers: Any) -> list[Any]:
    """Zeros are tokens like any other, so every row has 40: our exporter's graph."""
    return [
        layers.Embedding(WORDS, 64),
        layers.SimpleRNN(64, return_sequences=True),
        layers.SimpleRNN(64),
        layers.Dense(2, activation="softmax"),
    ]


def _converted(layers: Any) -> list[Any]:
    """A convolution before the recurrent layer, padded: the graph of tf2onnx."""
    return [
        layers.Embedding(WORDS, 64),
        layers.Conv1D(64, 5, activation="relu"),
        layers.MaxPooling1D(2),
        layers.LSTM(64),
        layers.Dense(2, activation="softmax"),
    ]


def _converted_masked(layers: Any) -> list[Any]:
    """Zeros are masked, so rows run at their own length: the graph of tf2onnx."""
    return [
        layers.Embedding(WORDS, 64, mask_zero=True),
        layers.LSTM(64, return_sequences=True),
        layers.LayerNormalization(),
        layers.LSTM(64),
        layers.Dense(2, activation="softmax"),
    ]


#: Each kind's layers, and its input length; None: any.
KINDS: dict[str, tuple[Callable[[Any], list[Any]], int | None]] = {
    "padded": (_padded, LENGTH),
    "converted": (_converted, LENGTH),
    "converted-masked": (_converted_masked, None),
}


def sources_digest() -> str:
    """Return the digest of the sources that make a bundle: a bundle of another exporter is not reused."""
    digest = sha256()
    for path in (Path(__file__), *sorted((ROOT / "train" / "sentstream_train").rglob("*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def make(kind: str, folder: Path) -> None:
    """Make the model, the vocabulary of its tweets, and the bundle of both."""
    from sentstream_train.quiet import quiet_stderr

    with quiet_stderr():
        import keras
        from keras.src.legacy.preprocessing.text import Tokenizer

        from sentstream_train.export.run import export
    layers, length = KINDS[kind]
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    tokenizer = Tokenizer(num_words=WORDS, oov_token="<OOV>")
    tokenizer.fit_on_texts(tweets(_FITTED_ON).drop_null().to_pylist())
    (folder / "tokenizer.json").write_text(tokenizer.to_json(), encoding="utf-8")
    model = keras.Sequential([keras.Input((length,), dtype="int32"), *layers(keras.layers)])
    model.save(folder / "model.keras")
    export(
        folder / "model.keras",
        folder / "bundle",
        vocabulary=folder / "tokenizer.json",
        labels=LABELS,
        overwrite=True,
    )


def batches_of(bundle: Bundle, texts: pa.ChunkedArray) -> list[Ids]:
    """Return ids as Keras gets them: padded to the model's length, if any, else to each batch's longest."""
    encoded = bundle.text.encode(texts)
    if not bundle.text.rules.padded:
        return padded_batches(encoded)
    ids = encoded.words.reshape(-1, bundle.text.rules.length)
    return [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]


def predict(folder: Path, texts: pa.ChunkedArray) -> dict[str, Any]:
    """Time ``Model.predict``, and measure how far the bundle's probabilities are from it."""
    from sentstream.session import Session
    from sentstream_train.quiet import quiet_stderr

    with quiet_stderr():
        import keras
        import tensorflow as tf

        model = keras.models.load_model(folder / "model.keras")
    bundle = load_bundle(folder / "bundle")
    few = texts.slice(0, BATCH)
    first = batches_of(bundle, few)[0]
    encoded = bundle.text.encode(few)
    ours = Session(bundle, "cpu").probabilities(encoded)[encoded.lengths > 0]
    apart = float(np.abs(ours - model.predict(first, batch_size=BATCH, verbose=0)).max())
    figures = timed_predict(tf, model, batches_of(bundle, texts), len(texts))
    return {**figures, "max_abs_difference": apart}


def main() -> None:
    command, *arguments = sys.argv[1:]
    if command == "make":
        make(arguments[0], Path(arguments[1]))
        print("{}")
    else:
        print(json.dumps(predict(Path(arguments[0]), read_texts(Path(arguments[1]), int(arguments[2])))))


if __name__ == "__main__":
    main()
