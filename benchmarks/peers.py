"""The peers of ``end_to_end.py``, one a process: prints JSON with rows, rows_per_second, cpu_seconds.

Start-up (imports, building the network, a first batch) is not counted against a peer.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from sentstream.text import Encoded

BATCH = 2048


def timed(rows: int, work: Callable[[], object]) -> dict[str, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"rows": rows, "rows_per_second": rows / wall, "cpu_seconds": cpu}


def keras_predict(texts: pa.ChunkedArray, *, sort: bool) -> dict[str, Any]:
    """``Model.predict`` of ready-made ids, TensorFlow's own threads: each batch padded to its longest row.

    Args:
        texts: The tweets.
        sort: Put tweets of like length together first, so that little is padded.
    """
    from sentstream_train.quiet import hushed

    with hushed():
        import tensorflow as tf

        from sentstream_train.keras_network import to_keras
        from sentstream_train.trained import network_of
    from sentstream.bundle import DEFAULT_MODEL, load_bundle

    bundle = load_bundle(DEFAULT_MODEL)
    model = to_keras(network_of(bundle))  # the bundle's own weights
    encoded = bundle.text.encode(texts)
    order = np.argsort(encoded.lengths, kind="stable") if sort else np.arange(len(texts))
    order = order[encoded.lengths[order] > 0]
    batches = [padded(encoded, order[start : start + BATCH]) for start in range(0, len(order), BATCH)]
    signature = tf.TensorSpec([None, None, *batches[0].shape[2:]], tf.int32)

    def predict(some: list[npt.NDArray[np.int32]]) -> object:
        data = tf.data.Dataset.from_generator(lambda: iter(some), output_signature=signature)
        data = data.apply(tf.data.experimental.assert_cardinality(len(some)))
        return model.predict(data.prefetch(2), verbose=0)

    predict(batches[:: max(1, len(batches) // 8)])  # traces the graph before the clock runs
    return timed(len(texts), lambda: predict(batches))


def padded(encoded: Encoded, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """The ids of some rows, zeros behind the shorter: ``int32[rows, time]``, with pairs ``[…, 2]``."""
    lengths = encoded.lengths[rows]
    at = np.arange(lengths.max())
    inside = at < lengths[:, None]
    places = np.where(inside, encoded.offsets[rows, None] + at, 0)
    tables = [encoded.words] if encoded.pairs is None else [encoded.words, encoded.pairs]
    ids = [np.where(inside, table[places], 0) for table in tables]
    return ids[0] if len(ids) == 1 else np.stack(ids, axis=-1)


def _vader(texts: list[str]) -> list[float]:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    return [analyzer.polarity_scores(text)["compound"] for text in texts]


def vader(texts: pa.ChunkedArray) -> dict[str, Any]:
    """VADER is one thread; it gets a process for each core."""
    cores = len(os.sched_getaffinity(0))
    rows = texts.to_pylist()
    parts = [rows[start : start + 2000] for start in range(0, len(rows), 2000)]
    with ProcessPoolExecutor(cores) as pool:
        list(pool.map(_vader, [["warm up"]] * cores))
        return timed(len(rows), lambda: list(pool.map(_vader, parts)))


def text_path(texts: pa.ChunkedArray) -> dict[str, Any]:
    """The text path by itself, in batches of the size that ``score`` reads."""
    from sentstream.bundle import DEFAULT_MODEL, load_bundle
    from sentstream.model import BATCH_ROWS

    pa.set_cpu_count(1)
    path = load_bundle(DEFAULT_MODEL).text
    parts = [texts.slice(start, BATCH_ROWS) for start in range(0, len(texts), BATCH_ROWS)]
    return timed(len(texts), lambda: [path.encode(part) for part in parts])


if __name__ == "__main__":
    column = pq.read_table(sys.argv[2], columns=["text"])["text"]
    contenders: dict[str, Callable[[pa.ChunkedArray], dict[str, Any]]] = {
        "keras": partial(keras_predict, sort=False),
        "keras-sorted": partial(keras_predict, sort=True),
        "vader": vader,
        "text": text_path,
    }
    print(json.dumps(contenders[sys.argv[1]](column)))
