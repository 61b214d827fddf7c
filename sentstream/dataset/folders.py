"""Hive-style partition folders, ``lang=en/day=2026-09-01/``, as columns of the files in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Final
from urllib.parse import quote, unquote

import pyarrow as pa

#: The name that Hive, Spark and others use for null.
NULL: Final = "__HIVE_DEFAULT_PARTITION__"
_FOLDER: Final = re.compile(r"([^=]+)=(.*)", re.DOTALL)
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
#: Characters escaped in a column's name; only these, since DuckDB and polars do not unescape names.
_UNSAFE: Final = re.compile(r'[\x00-\x1f\x7f"%*/:<=>?\\|]')


def folder(column: str, value: str | bytes | None) -> str:
    """Return the folder for a value, as Arrow names it: all but letters, digits and ``-._~`` is escaped.

    >>> folder("lang", "en"), folder("city", "São Paulo"), folder("lang", None)
    ('lang=en', 'city=S%C3%A3o%20Paulo', 'lang=__HIVE_DEFAULT_PARTITION__')
    """
    key = _UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", column)
    return f"{key}={NULL if value is None else quote(value, safe='')}"


def folder_values(name: str) -> dict[str, str | None]:
    """Return the columns in the folders of a path or URI; if a name occurs twice, the inner folder counts.

    >>> folder_values("logs/lang=en/city=S%C3%A3o Paulo/part.parquet")
    {'lang': 'en', 'city': 'São Paulo'}
    """
    values: dict[str, str | None] = {}
    for part in re.split(r"[/\\\\]", name)[:-1]:
        match = _FOLDER.fullmatch(part)
        if match:
            value = _text(match[2])
            values[_text(match[1])] = None if value == NULL else value
    return values


def without_folders(name: str, columns: Iterable[str]) -> str:
    """Return a path without the folders of some columns.

    >>> without_folders("lang=en/day=1/a.parquet", ["day"])
    'lang=en/a.parquet'
    """
    wanted = {*columns}
    *parents, base = name.split("/")
    columns_of = ((part, _FOLDER.fullmatch(part)) for part in parents)
    kept = [part for part, match in columns_of if match is None or _text(match[1]) not in wanted]
    return "/".join([*kept, base])


def _text(part: str) -> str:
    """Unescape a part of a path; bytes that are not UTF-8 become U+FFFD."""
    return unquote(part.encode("utf-8", "surrogateescape").decode("utf-8", "replace"), errors="replace")


class Folders:
    """The columns in the folders of some files.

    A column has the same type for all files: ``int64`` or ``date32`` if all of its values parse as that, else
    ``string``.

    Args:
        names: The paths or URIs of the files.

    >>> Folders(["lang=en/hour=07/a.parquet", "lang=de/hour=12/a.parquet"]).types
    {'lang': DataType(string), 'hour': DataType(int64)}
    """

    def __init__(self, names: Iterable[str]) -> None:
        seen: dict[str, set[str]] = {}
        # One file per folder is enough.
        for folder in dict.fromkeys(folder_of(name) for name in names):
            for key, value in folder_values(folder).items():
                values = seen.setdefault(key, set())
                if value is not None:
                    values.add(value)
        self.types: dict[str, pa.DataType] = {key: _type(values) for key, values in seen.items()}
        self._values = seen

    def of(self, name: str) -> dict[str, pa.Scalar]:
        """Return the columns' values for one of the files."""
        values = folder_values(name).items()
        return {key: _scalar(value, self.types.get(key, pa.string())) for key, value in values}

    def describe(self, limit: int = 5) -> str:
        """Return the columns and some values for a message: ``lang=de, en``."""
        return "; ".join(
            f"{key}={', '.join(sorted(values)[:limit])}{', …' if len(values) > limit else ''}"
            for key, values in self._values.items()
        )


def folder_fields(folders: Mapping[str, pa.Scalar]) -> list[pa.Field]:
    """Return the fields of the columns that ``add_columns`` adds."""
    return [pa.field(name, value.type) for name, value in folders.items()]


def add_columns(
    batches: Iterable[pa.RecordBatch], folders: Mapping[str, pa.Scalar]
) -> Iterator[pa.RecordBatch]:
    """Append columns of one value each to batches."""
    for batch in batches:
        schema = pa.schema([*batch.schema, *folder_fields(folders)], batch.schema.metadata)
        added = [pa.repeat(value, len(batch)) for value in folders.values()]
        yield pa.RecordBatch.from_arrays([*batch.columns, *added], schema=schema)


def folder_of(name: str) -> str:
    """Return a path or URI without the file's own name."""
    return name[: max(name.rfind("/"), name.rfind("\\")) + 1]


def _type(values: set[str]) -> pa.DataType:
    if not values:
        return pa.string()
    if all(_INTEGER.fullmatch(value) for value in values):
        return pa.int64()
    if all(_DATE.fullmatch(value) and _is_date(value) for value in values):
        return pa.date32()
    return pa.string()


def _is_date(value: str) -> bool:
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _scalar(value: str | None, kind: pa.DataType) -> pa.Scalar:
    if value is None:
        return pa.scalar(None, kind)
    if pa.types.is_integer(kind):
        return pa.scalar(int(value), kind)
    return pa.scalar(date.fromisoformat(value) if pa.types.is_date(kind) else value, kind)
