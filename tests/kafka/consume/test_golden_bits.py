"""The tweets of ``golden`` through a topic: the same bits as through every other interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from golden import bits, golden_bits, golden_model, golden_tweets
from kafka_runs import Run, settings
from kafka_tools import fill, make_topic

from sentstream.kafka.consume.run import Options


def test_stream_gives_the_golden_bits(kafka: Any, tmp_path: Path, client: str) -> None:
    topic = make_topic(kafka.bootstrap)
    texts = golden_tweets()["text"].to_pylist()
    fill(
        kafka.bootstrap,
        topic,
        [
            (str(row).encode(), None if text is None else text.encode(), (), None)
            for row, text in enumerate(texts)
        ],
    )
    options = Options([topic], group=topic, until_end=True, format="text", to_parquet=tmp_path / "out")
    Run(options, settings(kafka.bootstrap), model=golden_model().bundle.path, client=client).ended()
    parts = [pq.ParquetFile(path).read(use_threads=False) for path in (tmp_path / "out").rglob("*.parquet")]
    found = pa.concat_tables(parts)
    ids = pa.array([int(key) for key in found["key"].to_pylist()])
    assert bits(found.append_column("id", ids)) == golden_bits()
