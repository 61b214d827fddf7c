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
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

BATCH = 2048


def timed(rows: int, work: Callable[[], object]) -> dict[str, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"rows": rows, "rows_per_second": rows / wall, "cpu_seconds": cpu}


def keras_predict(texts: pa.ChunkedArray) -> dict[str, Any]:
    """``Model.predict`` as people run it: padded batches, masks, TensorFlow's own threads."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from keras_twin import twin  # builds the Keras network out of the bundle's own weights

    from sentstream.bundle import load_bundle

    bundle = load_bundle("sentiment140")
    model = twin(bundle)
    encoded = bundle.text.encode(texts)
    order = np.argsort(encoded.lengths, kind="stable")
    order = order[encoded.lengths[order] > 0]
    batches = []
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        length = int(encoded.lengths[chosen[-1]])
        ids = np.zeros((len(chosen), length, 2), np.int32)
        for place, row in enumerate(chosen):
            span = slice(encoded.offsets[row], encoded.offsets[row + 1])
            ids[place, : encoded.lengths[row], 0] = encoded.words[span]
            if encoded.pairs is not None:
                ids[place, : encoded.lengths[row], 1] = encoded.pairs[span]
        batches.append(ids if encoded.pairs is not None else ids[..., 0])
    for ids in batches[:: max(1, len(batches) // 8)]:
        model.predict(ids, batch_size=BATCH, verbose=0)  # traces the graph before the clock runs

    def work() -> None:
        for ids in batches:
            model.predict(ids, batch_size=BATCH, verbose=0)

    return timed(len(texts), work)


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
    from sentstream.bundle import load_bundle

    pa.set_cpu_count(1)
    path = load_bundle("sentiment140").text
    parts = [texts.slice(start, 65_536) for start in range(0, len(texts), 65_536)]
    return timed(len(texts), lambda: [path.encode(part) for part in parts])


if __name__ == "__main__":
    column = pq.read_table(sys.argv[2], columns=["text"])["text"]
    print(json.dumps({"keras": keras_predict, "vader": vader, "text": text_path}[sys.argv[1]](column)))
