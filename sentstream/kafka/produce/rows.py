"""Convert the rows of a record batch to Kafka records.

    json    a row becomes a JSON object of its columns (``dataset/formats/json/rows.py``)
    text    a row becomes its text, byte for byte; a null text becomes a record without a value

A null key means no key, a null timestamp the time of sending.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from sentstream.dataset.formats.json.rows import as_binary, is_binary, json_objects
from sentstream.errors import (
    ColumnClashError,
    ColumnTypeError,
    InputError,
    UsageError,
)
from sentstream.kafka.clients.api import Outgoing
from sentstream.kafka.messages.codec import Format
from sentstream.scorer.added_columns import TEXT_COLUMN
from sentstream.text import is_text
from sentstream.text.columns import find_column, find_text
from sentstream.text.storage import plain_values, value_type


@dataclass(frozen=True)
class Shape:
    """How a row becomes a record.

    Attributes:
        format: The format of the value: a JSON object or plain text.
        columns: Fields of the object, in this order; None for all columns. JSON only.
        text_column: The column with the text, or the path of a struct field; None for ``text``. Text only.
        key_column: The column of the key: text (UTF-8), integers (in decimal) or bytes.
        timestamp_column: The column of the timestamp: timestamps (UTC if without a time zone) or dates.
    """

    format: Format = "json"
    columns: Sequence[str] | None = None
    text_column: str | None = None
    key_column: str | None = None
    timestamp_column: str | None = None

    def check(self) -> None:
        """Check that the options are valid together.

        Raises:
            UsageError: Columns with plain text, a text column with JSON, or a duplicate column.
        """
        if self.format == "text" and self.columns is not None:
            raise UsageError(
                "plain text has no --columns", hint="use --text-column to name the column to send"
            )
        if self.format == "json" and self.text_column is not None:
            raise UsageError(
                "--text-column applies only to plain text", hint="give --format text, or --columns"
            )
        if self.columns is not None and len(set(self.columns)) < len(self.columns):
            raise UsageError(f"duplicate column in {', '.join(self.columns)}", hint="name each column once")

    @property
    def needed(self) -> list[str] | None:
        """The columns to read; None for all."""
        values = self.columns if self.format == "json" else [self.text_column or TEXT_COLUMN]
        if values is None:
            return None
        others = [name for name in (self.key_column, self.timestamp_column) if name is not None]
        return list(dict.fromkeys([*values, *others]))

    def check_schema(self, schema: pa.Schema) -> None:
        """Check that rows of this schema can be sent.

        Raises:
            ColumnNotFoundError: A column does not exist.
            ColumnTypeError: A column has the wrong type for its use.
            ColumnClashError: Two columns have the same name.
        """
        if self.columns is None and self.format == "json":
            for name in schema.names:
                if schema.names.count(name) > 1:
                    raise ColumnClashError(f"two columns have the name {name!r}", hint="rename one of them")
        self.messages(pa.RecordBatch.from_pylist([], schema=schema), "")

    def messages(self, batch: pa.RecordBatch, topic: str) -> list[Outgoing]:
        """Return the records of a batch's rows, in order.

        Raises:
            InputError: As ``check_schema``; or a time before 1970.
        """
        nothing = [None] * len(batch)
        keys = nothing if self.key_column is None else _keys(batch, self.key_column)
        times = nothing if self.timestamp_column is None else _times(batch, self.timestamp_column)
        return [
            Outgoing(topic, key, value, (), moment)
            for key, value, moment in zip(keys, self._values(batch), times, strict=True)
        ]

    def _values(self, batch: pa.RecordBatch) -> list[bytes | None] | list[bytes]:
        if self.format == "json":
            if self.columns is not None:
                batch = batch.select([find_column(batch.schema, name) for name in self.columns])
            return json_objects(batch)
        return _bytes(find_text(batch.schema, self.text_column or TEXT_COLUMN).values(batch))


def _bytes(column: pa.Array) -> list[bytes | None]:
    values: list[bytes | None] = as_binary(column).to_pylist()
    return values


def _keys(batch: pa.RecordBatch, name: str) -> list[bytes | None]:
    column = batch.column(find_column(batch.schema, name))
    kind = value_type(column.type)
    if is_text(kind) or is_binary(kind):
        return _bytes(column)
    if pa.types.is_integer(kind):
        return _bytes(plain_values(column).cast(pa.string()))
    raise ColumnTypeError(
        f"column {name!r} is of type {column.type}, which cannot be a key",
        hint="use a text, integer or binary column",
    )


def _times(batch: pa.RecordBatch, name: str) -> list[int | None]:
    column = batch.column(find_column(batch.schema, name))
    if not pa.types.is_timestamp(column.type) and not pa.types.is_date(column.type):
        raise ColumnTypeError(
            f"column {name!r} is of type {column.type}, not timestamps",
            hint="choose another --timestamp-column",
        )
    zone = column.type.tz if pa.types.is_timestamp(column.type) else None
    times = column.cast(pa.timestamp("ms", zone), safe=False).cast(pa.int64())
    earliest = pc.min(times).as_py()
    if earliest is not None and earliest < 0:
        raise InputError(
            f"column {name!r} has a time before 1970, which Kafka does not allow",
            hint="leave out --timestamp-column",
        )
    moments: list[int | None] = times.to_pylist()
    return moments
