"""A further column of labeled files, as text: what the rows are grouped by."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from sentstream.errors import ColumnNotFoundError, ColumnTypeError
from sentstream.text import is_text
from sentstream.text.clean import clean
from sentstream.text.storage import plain_values, value_type
from sentstream_train.data.files import PathLike, find_files, open_table
from sentstream_train.data.labeled import digits

#: Characters of a value that count.
_MOST_CHARS = 100


def read_column(
    paths: PathLike | Iterable[PathLike], column: str, text_column: str | None = None
) -> pa.DictionaryArray:
    """The values of every row of some files, in the order of ``read_labeled``, rows without a label included.

    Args:
        paths: As ``read_labeled`` takes them.
        column: Its name, in each of the files; not that of the texts.
        text_column: The column of the texts; default ``text``.

    Returns:
        A dictionary of ``string``; null and empty values are null.

    Raises:
        InputNotFoundError: A file is missing, a glob or a directory holds none.
        InputFormatError: A Parquet file is corrupt.
        ColumnNotFoundError: A file lacks the column.
        ColumnTypeError: It holds neither text, whole numbers nor truth values.
        DataError: A malformed CSV row.
    """
    chunks: list[pa.Array] = []
    for path in find_files(paths):
        try:
            # Where the reader expects labels, any column will do.
            reader = open_table(path, text_column, column, None, False)
        except ColumnNotFoundError as error:
            raise ColumnNotFoundError(error.message, hint="give an existing column to --slice") from error
        chunks += [
            _values(batch.column("label"), f"{path}: the column {column!r}") for batch in reader.batches
        ]
    return pa.chunked_array(chunks, pa.string()).dictionary_encode().combine_chunks()


def _values(column: pa.Array, name: str) -> pa.Array:
    kind = column.type
    if kind != value_type(kind):
        return _values(plain_values(column), name)
    if is_text(kind):
        text = pc.utf8_trim_whitespace(clean(column, _MOST_CHARS).text)
        return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    hint = "a slice column holds text, integers or booleans"
    return digits(
        column,
        ColumnTypeError(f"{name} has fractional numbers", hint=hint),
        ColumnTypeError(f"{name} is of type {kind}", hint=hint),
    )
