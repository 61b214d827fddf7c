"""Page headers as pyarrow writes them, invalid ones, and the batch sizes that follow from them."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentstream.dataset.formats.parquet.pages import DICTIONARY_ENCODINGS, PLAIN, Page, read_pages
from sentstream.dataset.formats.parquet.steps import STEP_BYTES, VALUE_BYTES, Span, byte_spans, fixed, steps

ROWS = 5000


def pages_of(version: str, **options: Any) -> list[Page]:
    """The pages of one column chunk of repeated values and nulls."""
    sink = io.BytesIO()
    table = pa.table({"text": [None if row % 7 == 0 else f"value {row % 50}" for row in range(ROWS)]})
    pq.write_table(
        table, sink, data_page_version=version, data_page_size=2000, write_batch_size=100, **options
    )
    chunk = pq.read_metadata(io.BytesIO(sink.getvalue())).row_group(0).column(0)
    start = chunk.data_page_offset
    if chunk.dictionary_page_offset is not None:
        start = min(start, chunk.dictionary_page_offset)
    return list(read_pages(sink, start, chunk.total_compressed_size))


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("checksums", [False, True])
@pytest.mark.parametrize("codec", ["none", "zstd"])
class TestHeaders:
    def test_plain_page(self, version: str, checksums: bool, codec: str) -> None:
        pages = pages_of(version, write_page_checksum=checksums, compression=codec, use_dictionary=False)
        assert len(pages) > 5
        assert sum(page.values for page in pages) == ROWS
        assert {page.encoding for page in pages} == {PLAIN}
        assert sum(page.size for page in pages) > 6 * ROWS

    def test_dictionary_page(self, version: str, checksums: bool, codec: str) -> None:
        dictionary, *pages = pages_of(version, write_page_checksum=checksums, compression=codec)
        assert dictionary.is_dictionary
        assert (dictionary.values, dictionary.size) == (50, sum(4 + len(f"value {n}") for n in range(50)))
        assert sum(page.values for page in pages) == ROWS
        assert all(page.encoding in DICTIONARY_ENCODINGS for page in pages)


@pytest.mark.parametrize("data", [b"\xff" * 600, b"\0" * 600, b"\x15", b"\x15\x00\x15\x01" * 300])
def test_invalid_header_is_reported(data: bytes) -> None:
    with pytest.raises(ValueError, match="header"):
        list(read_pages(io.BytesIO(data), 0, len(data)))


class TestSteps:
    def test_data_that_fits_is_read_at_once(self) -> None:
        assert list(steps([[fixed(1000, 8)], [Span(400, 100, 900), Span(600, 100, 900)]], 1000)) == [
            (1000, 1000)
        ]

    def test_dictionary_values_count_per_occurrence(self) -> None:
        pages = [Page(3, 120_000, PLAIN, is_dictionary=True), Page(30_000, 900, DICTIONARY_ENCODINGS[1])]
        spans = list(byte_spans(pages, lambda: 40_000))
        assert list(steps([spans], 30_000)) == [(30_000, STEP_BYTES // 40_000)]

    def test_values_of_unknown_size_count_as_large(self) -> None:
        delta = 7
        pages = [Page(9000, 500_000, PLAIN), Page(1000, 2 * VALUE_BYTES, delta), Page(9000, 500_000, PLAIN)]
        found = list(steps([list(byte_spans(pages, lambda: 0))], 19_000))
        assert found == [(9000, 19_000), (10_000, STEP_BYTES // VALUE_BYTES), (19_000, 19_000)]

    def test_rows_without_a_page_are_unknown(self) -> None:
        assert list(steps([[fixed(10, 1)]], 1000)) == [(10, 1000), (1000, STEP_BYTES // VALUE_BYTES)]
