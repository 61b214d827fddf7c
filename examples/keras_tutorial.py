"""The network of many tutorials, from the official CSV to scored tweets: Keras trains, sentstream scores.

usage: python examples/keras_tutorial.py training.1600000.processed.noemoticon.csv [ROWS] [FOLDER]

The code above the line "From here on" does not use sentstream: a Tokenizer, pad_sequences, and two SimpleRNN
layers that do not mask the padding. At the end, each tweet's label and probability are compared with Keras.
"""

from __future__ import annotations

import csv
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

LONGEST = 40  # tokens per tweet
LABELS = ("negative", "positive")


def read_tweets(path: Path, rows: int) -> tuple[list[str], list[int]]:
    """Return up to ``rows`` random tweets of the official file, and 0 or 1 for each."""
    with path.open(encoding="latin-1", newline="") as file:
        kept = [(row[5], int(row[0] == "4")) for row in csv.reader(file) if row[5].strip()]
    chosen = random.Random(0).sample(kept, min(rows, len(kept)))
    return [text for text, _ in chosen], [label for _, label in chosen]


def main() -> None:
    source = Path(sys.argv[1])
    rows = int(sys.argv[2]) if len(sys.argv) > 2 else 50_000
    folder = Path(sys.argv[3]) if len(sys.argv) > 3 else Path("tutorial")
    folder.mkdir(parents=True, exist_ok=True)
    tf.keras.utils.set_random_seed(0)
    texts, labels = read_tweets(source, rows)

    tokenizer = tf.keras.preprocessing.text.Tokenizer(num_words=20_000, oov_token="<OOV>")
    tokenizer.fit_on_texts(texts)
    padded = tf.keras.preprocessing.sequence.pad_sequences(
        tokenizer.texts_to_sequences(texts), maxlen=LONGEST
    )
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            layers.Embedding(20_000, 32),
            layers.SimpleRNN(32, return_sequences=True),
            layers.SimpleRNN(32),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(padded, np.array(labels), epochs=1, batch_size=256, validation_split=0.1, verbose=2)
    expected = model.predict(padded, batch_size=1024, verbose=0)

    # From here on, sentstream takes over. The model takes any length and masks nothing, so it needs --pad-to.
    model.save(folder / "model.keras")
    (folder / "tokenizer.json").write_text(tokenizer.to_json(), "utf-8")
    pq.write_table(pa.table({"text": texts}), folder / "tweets.parquet")
    command = [sys.executable, "-m", "sentstream"]
    export = ["export-onnx", f"{folder}/model.keras", "--vocabulary", f"{folder}/tokenizer.json"]
    export += ["--labels", ",".join(LABELS), "--pad-to", str(LONGEST), "--output", f"{folder}/bundle"]
    subprocess.run([*command, *export, "--overwrite"], check=True)
    score = ["score", f"{folder}/tweets.parquet", "--model", f"{folder}/bundle", "--overwrite"]
    subprocess.run([*command, *score, "--output", f"{folder}/scored.parquet"], check=True)

    scored = pq.read_table(folder / "scored.parquet")
    probabilities = np.stack(
        [scored.column(f"sentiment_prob_{label}").to_numpy() for label in LABELS], axis=1
    )
    other = sum(
        label != LABELS[best]
        for label, best in zip(scored.column("sentiment").to_pylist(), expected.argmax(axis=1), strict=True)
    )
    apart = float(np.abs(probabilities - expected).max())
    print(f"{len(texts):,} tweets: {other} labels differ from Keras, probabilities by at most {apart:.1e}")
    sys.exit(other > 0)


if __name__ == "__main__":
    main()
