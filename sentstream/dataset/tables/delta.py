"""Delta tables: ``deltalake`` reads the log; data files are read like any others.

A remote log is fetched first, so that the log is read with the same settings and retries as the data files,
whatever store they are in.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentstream.dataset.folders import folder_values
from sentstream.dataset.formats.view import View, ViewColumn
from sentstream.dataset.tables.api import Snapshot, TableFile, TableOptions
from sentstream.errors import (
    InputFormatError,
    InputNotFoundError,
    MissingExtraError,
    first_line,
)
from sentstream.storage.ahead import ahead
from sentstream.storage.api import Storage, StoredFile
from sentstream.storage.names import is_uri

if TYPE_CHECKING:
    from deltalake import DeltaTable

LOG: Final = "_delta_log"
EXTRA: Final = "delta"
_COMMIT: Final = re.compile(r"(\d{20})\.json")
_CHECKPOINT: Final = re.compile(r"(\d{20})\.checkpoint\..+")
_VECTORS: Final = re.compile(r"(.*/)?deletion_vector_[^/]*\.bin")
#: Reader features that need no support, or that are supported here.
_FEATURES: Final = frozenset(
    {
        "columnMapping",
        "deletionVectors",
        "inCommitTimestamp",
        "timestampNtz",
        "typeWidening",
        "typeWidening-preview",
        "v2Checkpoint",
        "vacuumProtocolCheck",
    }
)
_NONE: Final = np.zeros(0, np.int64)
_PHYSICAL: Final = "delta.columnMapping.physicalName"
_ANEW: Final = "write it to another table, e.g. with Spark: CREATE TABLE … AS SELECT"


def is_delta(storage: Storage, directory: str) -> bool:
    """Return whether a directory is a Delta table."""
    return storage.is_directory(storage.join(directory, LOG))


def read_delta(storage: Storage, directory: str, options: TableOptions) -> Snapshot:
    """Read a snapshot of a Delta table.

    Args:
        storage: The storage of the table.
        directory: The table's directory.
        options: Which snapshot.

    Raises:
        InputNotFoundError: There is no such version, or one of its files is missing.
        InputFormatError: The log is invalid, or the table uses an unsupported feature, such as nested fields
            with other names in the files.
        MissingExtraError: deltalake is not installed.
    """
    found = dict(storage.walk(directory, hidden=True))
    with _local(directory, found) as (folder, fetch):
        table = _open(folder, directory, None)
        metadata = table.metadata()
        version = options.chosen(str(metadata.id))
        if version is not None and version != table.version():
            if not 0 <= version <= table.version():
                raise InputNotFoundError(
                    f"{directory} has no version {version}; the latest is {table.version()}",
                    hint="give another --snapshot",
                )
            table = _open(folder, directory, version)
            metadata = table.metadata()
        _check(table, metadata.configuration, directory)
        if "deletionVectors" in (table.protocol().reader_features or ()):
            fetch(name for name in found if _VECTORS.fullmatch(name))
            deleted = _deleted(table, directory)
        else:
            deleted = {}
        schema = pa.schema(table.schema().to_arrow())
        sources = _sources(json.loads(table.schema().to_json())["fields"], directory)
        actions = pa.table(table.get_add_actions())
        actions = actions.select(["path", *(["partition"] if metadata.partition_columns else [])])
        files = [
            _file(directory, table.version(), found, schema, sources, action, deleted)
            for action in actions.to_pylist()
        ]
        numbers = {name: folder for folder, name in enumerate(found)}
        files.sort(key=lambda one: numbers[one.below])
        return Snapshot(str(metadata.id), table.version(), tuple(files))


@contextmanager
def _local(
    directory: str, found: Mapping[str, StoredFile]
) -> Iterator[tuple[str, Callable[[Iterable[str]], None]]]:
    """Yield a local directory with the log, and a function that fetches more files to it."""
    if not is_uri(directory):
        yield directory, lambda names: None
        return
    with tempfile.TemporaryDirectory(prefix=".sentstream-") as folder:

        def fetch(names: Iterable[str]) -> None:
            for name, data in ahead(lambda name: (name, _content(found[name])), names):
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)

        fetch(name for name in found if _is_log(name))
        yield folder, fetch


def _is_log(name: str) -> bool:
    parent, _, base = name.rpartition("/")
    is_one = _COMMIT.fullmatch(base) or _CHECKPOINT.fullmatch(base) or base == "_last_checkpoint"
    return (parent == LOG and bool(is_one)) or parent == f"{LOG}/_sidecars"


def _content(file: StoredFile) -> bytes:
    with file.open() as data:
        return data.read()


def _open(folder: str, directory: str, version: int | None) -> DeltaTable:
    try:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError
    except ImportError as error:
        raise MissingExtraError(
            f"{directory} is a Delta table, but deltalake, which reads its log, is not installed", extra=EXTRA
        ) from error
    try:
        return DeltaTable(folder, version=version)
    except (DeltaError, OSError, ValueError) as error:
        raise _unsound(directory, error) from error


def _unsound(directory: str, error: Exception) -> InputFormatError:
    return InputFormatError(
        f"{directory} cannot be read as a Delta table: {first_line(error)}",
        hint="repair it with the program that wrote it, or read its files as they are with --table none",
    )


def _check(table: DeltaTable, configuration: Mapping[str, str | None], directory: str) -> None:
    """Reject features that would yield wrong rows."""
    if configuration.get("delta.columnMapping.mode") == "id":
        raise InputFormatError(
            f"{directory} maps columns by ID (delta.columnMapping.mode = id), which is not supported",
            hint=_ANEW,
        )
    unknown = sorted({*(table.protocol().reader_features or ())} - _FEATURES)
    if unknown:
        raise InputFormatError(
            f"{directory} needs reader features that are not supported: {', '.join(unknown)}",
            hint=_ANEW,
        )


def _sources(fields: Sequence[Mapping[str, Any]], directory: str) -> dict[str, str]:
    """Return the columns' names in the files, by their names in the table."""
    sources = {}
    for field in fields:
        for one in _fields_in(field["type"]):
            if one["metadata"].get(_PHYSICAL, one["name"]) != one["name"]:
                raise InputFormatError(
                    f"{directory}: the field {one['name']!r} in column {field['name']!r} has another name in"
                    " the files, which is not supported",
                    hint=_ANEW,
                )
        sources[field["name"]] = field["metadata"].get(_PHYSICAL, field["name"])
    return sources


def _fields_in(kind: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the fields inside a type, in the log's notation."""
    if isinstance(kind, dict):
        for field in kind.get("fields", ()):
            yield field
            yield from _fields_in(field["type"])
        for part in ("elementType", "keyType", "valueType"):
            yield from _fields_in(kind.get(part))


def _deleted(table: DeltaTable, directory: str) -> dict[str, npt.NDArray[np.int64]]:
    """Return the indices of deleted rows, by the file's name in the log."""
    try:
        read = pa.table(table.deletion_vectors())
    except Exception as error:
        raise _unsound(directory, error) from error
    above = table.table_uri.rstrip("/") + "/"
    deleted = {}
    for name, kept in zip(read["filepath"].to_pylist(), read["selection_vector"], strict=True):
        flags = kept.values.to_numpy(zero_copy_only=False)
        deleted[name.removeprefix(above)] = np.flatnonzero(~flags).astype(np.int64)
    return deleted


def _file(
    directory: str,
    version: int,
    found: Mapping[str, StoredFile],
    schema: pa.Schema,
    sources: Mapping[str, str],
    action: Mapping[str, Any],
    deleted: Mapping[str, npt.NDArray[np.int64]],
) -> TableFile:
    path = action["path"]
    below = unquote(path)
    if is_uri(path) or path.startswith("/"):
        raise InputFormatError(
            f"{directory} is a shallow clone: {below} is outside it",
            hint="read the source table, or make a deep clone",
        )
    if below not in found:
        raise InputNotFoundError(
            f"{directory}: {below}, a file of version {version}, is missing",
            hint="was it vacuumed? Give a later --snapshot",
        )
    from_path = folder_values(below)
    columns = []
    for field in schema:
        values: Mapping[str, Any] = action.get("partition") or {}
        if field.name not in values:
            columns.append(ViewColumn(field.name, sources[field.name], pa.scalar(None, field.type)))
            continue
        value = pa.scalar(values[field.name], field.type)
        if field.name not in from_path:
            columns.append(ViewColumn(field.name, None, value))
        elif not _folder_matches(from_path[field.name], value):
            raise InputFormatError(
                f"{directory}: {below} is in {field.name}={from_path[field.name]}, but the log says"
                f" {values[field.name]!r}",
                hint=_ANEW,
            )
    return TableFile(found[below], below, View(tuple(columns), deleted.get(path, _NONE)))


def _folder_matches(text: str | None, value: pa.Scalar) -> bool:
    """Return whether a folder stands for a value; types that writers format differently are not checked."""
    kind = value.type
    if text is None or not value.is_valid:
        return text is None and not value.is_valid
    if pa.types.is_integer(kind) or pa.types.is_date(kind) or pa.types.is_boolean(kind):
        return text.lower() == str(value.cast(pa.string()))
    return not (pa.types.is_string(kind) or pa.types.is_large_string(kind)) or text == value.as_py()
