"""fastText (Joulin et al. 2016), trained here: its speed and accuracy compared with ``tweets-small``.

    python -m benchmarks.fasttext_peer train MODEL BIN               # half a minute, kept in build/bench
    python -m benchmarks.fasttext_peer predict MODEL BIN FILE ROWS
    python -m benchmarks.fasttext_peer accuracy MODEL BIN            # needs the data

It gets prepared lines with the same tokens as sentstream's, and one process per core. Both are trained on
Sentiment140's labels and evaluated on its test set; for the SemEval validation tweets, a second fastText is
trained on their three labels. No text that repeats one of a test set is used for training. Unlike fastText,
``tweets-small`` also learns from a teacher's labels of more tweets (``recipes/README.md``).
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.machine import ROOT
from benchmarks.rows import data_folder, has_data, read_texts
from benchmarks.timing import timed
from sentstream.bundle import Bundle, load_bundle
from sentstream.session import Session, usable_cpus
from sentstream.text import TextPath, tokenize

#: Vectors of 50 and word bigrams; learning rate and epochs are the best of several on the test rows.
SETTINGS: dict[str, Any] = {"dim": 50, "wordNgrams": 2, "verbose": 0}
SENTIMENT140: dict[str, Any] = {"lr": 0.1, "epoch": 2}
SEMEVAL: dict[str, Any] = {"lr": 0.1, "epoch": 10}
_LABEL = "__label__"


@dataclass(frozen=True)
class Labeled:
    """Labeled lines.

    Attributes:
        texts: The original texts.
        lines: Their tokens, joined with spaces.
        labels: One per line.
        keys: One per text; texts that repeat each other have the same key.
    """

    texts: pa.Array
    lines: pa.Array
    labels: pa.Array
    keys: npt.NDArray[np.uint64]

    def only(self, kept: npt.NDArray[np.bool_]) -> Labeled:
        """Return some of the rows."""
        mask = pa.array(kept)
        texts, lines, labels = (one.filter(mask) for one in (self.texts, self.lines, self.labels))
        return Labeled(texts, lines, labels, self.keys[kept])


def to_lines(texts: pa.Array | pa.ChunkedArray, path: TextPath) -> pa.Array:
    """Return the tokens of each text as one line."""
    tokens, _ = tokenize(texts, path.rules, path.max_chars)
    offsets = pa.array(tokens.offsets.astype(np.int32))
    return pc.binary_join(pa.ListArray.from_arrays(offsets, tokens.text), " ")


def read_labeled(file: Path, path: TextPath, label: str = "label") -> Labeled:
    """Read the rows of a data set that have a text and a label."""
    from sentstream_train.data.same_text import same_text

    table = pq.read_table(file, columns=["text", label]).drop_null().combine_chunks()
    lines = to_lines(table["text"], path)
    texts, labels = (table[name].combine_chunks() for name in ("text", label))
    return Labeled(texts, lines, labels, same_text(texts).words)


def fit(rows: Labeled, settings: dict[str, Any]) -> Any:
    """Train a fastText model on labeled lines, which it reads from a file."""
    import fasttext

    order = np.random.default_rng(0).permutation(len(rows.lines))  # data sets are ordered by label
    lines, labels = (one.take(pa.array(order)).to_pylist() for one in (rows.lines, rows.labels))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lines.txt"
        with file.open("w", encoding="utf-8") as out:
            out.writelines(f"{_LABEL}{label} {line}\n" for label, line in zip(labels, lines, strict=True))
        return fasttext.train_supervised(str(file), thread=usable_cpus(), **SETTINGS, **settings)


def train(path: TextPath, output: Path) -> None:
    """Train the model whose speed is measured: on Sentiment140, or without it on the example tweets."""
    data = data_folder() / "sentiment140"
    if has_data():
        rows = read_labeled(data / "train.parquet", path)
        rows = rows.only(~np.isin(rows.keys, read_labeled(data / "test.parquet", path).keys))
    else:
        rows = read_labeled(ROOT / "examples" / "tweets.parquet", path, "expected")
    unfinished = output.with_suffix(".unfinished")
    fit(rows, SENTIMENT140).save_model(str(unfinished))
    os.replace(unfinished, output)


#: What the worker processes of ``predict`` inherit by fork: nothing is sent to them.
_shared: dict[str, Any] = {}


def _predict(span: tuple[int, int]) -> int:
    labels, _ = _shared["model"].predict(_shared["lines"][slice(*span)])
    return len(labels)


def predict(path: TextPath, file: Path, texts: pa.ChunkedArray) -> dict[str, Any]:
    """Time ``predict`` on lists of lines."""
    import fasttext

    _shared["model"] = fasttext.load_model(str(file))
    _shared["lines"] = to_lines(texts.combine_chunks(), path).to_pylist()
    rows, cores = len(texts), usable_cpus()
    spans = [(start, min(start + 5000, rows)) for start in range(0, rows, 5000)]
    with multiprocessing.get_context("fork").Pool(cores) as pool:
        pool.map(_predict, spans[:cores], chunksize=1)
        return timed(rows, lambda: pool.map(_predict, spans, chunksize=1))


def accuracy(bundle: Bundle, file: Path) -> dict[str, Any]:
    """Return accuracy on Sentiment140's test without neutral rows, and macro-recall on SemEval validation."""
    import fasttext

    from sentstream_train.measure.metrics import measure

    data, session = data_folder(), Session(bundle, "cpu")

    def ours(rows: Labeled, labels: list[str]) -> npt.NDArray[np.int64]:
        chances = session.probabilities(bundle.text.encode(rows.texts))
        best: npt.NDArray[np.int64] = np.argmax(
            chances[:, [bundle.labels.index(label) for label in labels]], axis=1
        )
        return best

    def theirs(model: Any, rows: Labeled, labels: list[str]) -> npt.NDArray[np.int64]:
        predictions, _ = model.predict(rows.lines.to_pylist())
        return np.array([labels.index(one[0].removeprefix(_LABEL)) for one in predictions])

    def judged(model: Any, rows: Labeled, labels: list[str]) -> dict[str, Any]:
        truth = pc.index_in(rows.labels, value_set=pa.array(labels)).to_numpy()
        pair = [
            measure(truth, predicted, labels)
            for predicted in (ours(rows, labels), theirs(model, rows, labels))
        ]
        return {name: [getattr(one, name) for one in pair] for name in ("accuracy", "macro_recall")} | {
            "rows": len(rows.labels)
        }

    test = read_labeled(data / "sentiment140" / "test.parquet", bundle.text)
    test = test.only(pc.not_equal(test.labels, "neutral").to_numpy(zero_copy_only=False))
    learned = read_labeled(data / "semeval" / "train.parquet", bundle.text)
    validation = read_labeled(data / "semeval" / "validation.parquet", bundle.text)
    learned = learned.only(~np.isin(learned.keys, validation.keys))
    return {
        "sentiment140": judged(fasttext.load_model(str(file)), test, ["negative", "positive"]),
        "semeval": judged(fit(learned, SEMEVAL), validation, ["negative", "neutral", "positive"]),
    }


def main() -> None:
    command, model, file, *arguments = sys.argv[1:]
    bundle = load_bundle(model)
    if command == "train":
        train(bundle.text, Path(file))
        print("{}")
    elif command == "accuracy":
        print(json.dumps(accuracy(bundle, Path(file))))
    else:
        print(json.dumps(predict(bundle.text, Path(file), read_texts(Path(arguments[0]), int(arguments[1])))))


if __name__ == "__main__":
    main()
