"""Score thousands of corrupt copies of one small file; test_fuzz.py runs this as a separate process.

    python fuzz_worker.py BUNDLE FOLDER STEP CODEC PAGE_VERSION CHECKSUMS

Prints one JSON object: the number of copies by outcome, and the wrong results. FOLDER/at holds the current
offset, so that a crash can be reproduced.
"""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sentstream.dataset import open_source, score_piece
from sentstream.errors import SentstreamError
from sentstream.model import Model
from sentstream.scorer import Scorer
from sentstream.storage.local import local_file

ROWS = 150
NAMES = ("id", "text", "kind", "list", "sentiment", "sentiment_score")


def table() -> pa.Table:
    """Rows whose columns all say which row they are of."""
    numbers = range(ROWS)
    return pa.table(
        {
            "id": pa.array(numbers, pa.int64()),
            "text": pa.array(
                [None if i % 7 == 0 else f"i love tweet {i} " + "x" * (i % 13) for i in numbers]
            ),
            "kind": pa.array([f"kind {i % 5}" for i in numbers]).dictionary_encode(),
            "list": pa.array([[i, i + 1] if i % 3 else None for i in numbers]),
        }
    )


def encode(codec: str, version: str, checksums: bool) -> bytes:
    sink = io.BytesIO()
    pq.write_table(
        table(),
        sink,
        row_group_size=64,
        compression=codec,
        data_page_version=version,
        write_page_checksum=checksums,
        use_dictionary=["kind"],
    )
    return sink.getvalue()


def outcome(scorer: Scorer, path: Path, schema: pa.Schema, expected: list[dict[str, object]]) -> str:
    """Return an error's class, or how the rows of a copy compare with the right ones."""
    try:
        source = open_source(local_file(path))
        if source.schema != schema:  # the footer has no checksum, and names and types stand nowhere else
            scorer.output_schema(source.schema)
            return "schema"
        rows: list[dict[str, object]] = []
        for piece in source.pieces():
            for scored in score_piece(scorer, piece, batch_rows=40):
                rows += scored.batch.to_pylist()
        assert len(rows) == sum(source.rows)
    except SentstreamError as error:
        return type(error).__name__
    except UnicodeDecodeError:
        return "broken UTF-8 in a column that nobody reads"
    if rows == expected:
        return "same"
    if len(rows) != ROWS:
        return "count"
    alike = [
        sum(row[name] == right[name] for row, right in zip(rows, expected, strict=True)) for name in NAMES
    ]
    # Of a column with one flipped byte, most rows are right; after a shift, hardly one is.
    return "values" if min(alike) > ROWS // 3 else "shift"


def main() -> None:
    bundle, folder, step, codec, version, checksums = sys.argv[1:]
    scorer = Model.load(bundle, provider="cpu", threads=1).scorer()
    data = encode(codec, version, checksums == "1")
    path = Path(folder, "corrupt.parquet")
    path.write_bytes(data)
    source = open_source(local_file(path))
    (piece,) = source.pieces()
    expected = [row for scored in score_piece(scorer, piece) for row in scored.batch.to_pylist()]
    found: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    for index, at in enumerate(range(0, len(data), int(step))):
        mask = (0xFF, 0x01, 0x80)[index % 3]
        copies = {
            f"{at}^{mask}": data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :],
            f"{at} missing": data[:at] + data[at + 1 :],
        }
        if index % 10 == 0:
            copies[f"cut at {at}"] = data[:at]
        for name, copy in copies.items():
            Path(folder, "at").write_text(name)
            path.write_bytes(copy)
            result = outcome(scorer, path, source.schema, expected)
            found[result] += 1
            examples.setdefault(result, []).append(name)
    print(json.dumps({"found": found, "examples": {name: some[:20] for name, some in examples.items()}}))


if __name__ == "__main__":
    main()
