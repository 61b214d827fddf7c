"""Sizes of rows, measured and estimated, and the row groups that follow from them."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentstream.dataset.formats.parquet import writer
from sentstream.dataset.formats.parquet.row_sizes import most_bytes, row_sizes
from sentstream.dataset.formats.parquet.settings import ParquetSettings

_texts = st.lists(st.none() | st.text(max_size=30), max_size=30)
_TYPES = (pa.string(), pa.large_string(), pa.binary())


@st.composite
def batches(draw: st.DrawFn) -> pa.RecordBatch:
    """Batches of flat columns, some of them slices of longer ones."""
    texts = draw(_texts)
    numbers = [None if text is None else len(text) for text in texts]
    columns = {
        "text": pa.array(texts, pa.string()).cast(draw(st.sampled_from(_TYPES))),
        "number": pa.array(numbers, draw(st.sampled_from((pa.int8(), pa.float64(), pa.timestamp("ms"))))),
        "flag": pa.array([None if number is None else number > 3 for number in numbers], pa.bool_()),
        "none": pa.nulls(len(texts)),
    }
    batch = pa.record_batch(columns)
    start = draw(st.integers(0, len(texts)))
    return batch.slice(start, draw(st.integers(0, len(texts) - start)))


@settings(deadline=None)
@given(batches())
def test_quick_estimate_is_an_upper_bound(batch: pa.RecordBatch) -> None:
    upper = most_bytes(batch)
    assert upper is not None
    assert upper >= row_sizes(batch).sum()


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.int8()), pa.struct({"a": pa.string()}), pa.dictionary(pa.int8(), pa.string())]
)
def test_other_types_are_measured(kind: pa.DataType) -> None:
    assert most_bytes(pa.record_batch({"a": pa.nulls(3, kind)})) is None


@settings(deadline=None)
@given(st.lists(_texts, max_size=8), st.integers(1, 200), st.integers(1, 40))
def test_row_groups_end_by_row_size(cuts: list[list[str | None]], size: int, rows: int) -> None:
    """However the rows are cut into batches."""
    parts = [pa.record_batch({"text": pa.array(texts, pa.string())}) for texts in cuts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "GROUP_BYTES", size)
        quick = _written(parts, rows)
        patch.setattr(writer, "most_bytes", lambda batch: None)
        assert quick == _written(parts, rows)
        assert quick == _written([part.slice(row, 1) for part in parts for row in range(len(part))], rows)


def _written(parts: list[pa.RecordBatch], rows: int) -> list[list[str | None]]:
    """The texts of each row group."""
    file = io.BytesIO()
    schema = pa.schema({"text": pa.string()})
    with writer.Writer(file, schema, settings=ParquetSettings(rows)) as one:
        for part in parts:
            one.write(part)
    opened = pq.ParquetFile(io.BytesIO(file.getvalue()))
    return [opened.read_row_group(group)["text"].to_pylist() for group in range(opened.num_row_groups)]
