"""Read one more column of labeled files, as text, to group rows by."""

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

#: Values are cut to this many characters.
_MOST_CHARS = 100


def read_column(
    paths: PathLike | Iterable[PathLike], column: str, text_column: str | None = None
) -> pa.DictionaryArray:
    """Read a column's values in the order of ``read_labeled``, including rows without a label.

    Args:
        paths: As for ``read_labeled``.
        column: The column's name in every file; not the text column.
        text_column: The text column; default ``text``.

    Returns:
        A dictionary array of ``string``; null and empty values are null.

    Raises:
        InputNotFoundError: A file is missing, or a glob or directory has no data file.
        InputFormatError: A Parquet file is corrupt.
        ColumnNotFoundError: A file does not have the column.
        ColumnTypeError: The column is neither text, integers nor booleans.
        DataError: A CSV row is malformed.
    """
    chunks: list[pa.Array] = []
    for path in find_files(paths):
        try:
            # Read it as the label column, which may be any column.
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
