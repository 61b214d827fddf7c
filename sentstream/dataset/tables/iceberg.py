"""Iceberg tables: ``pyiceberg`` reads the metadata files; data files are read like any others.

No catalog is used. What a catalog knows about a table is the path of its metadata file, which can be given
instead of the directory.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from sentstream.dataset.formats.view import View, ViewColumn
from sentstream.dataset.tables.api import Snapshot, TableFile, TableOptions
from sentstream.errors import (
    InputError,
    InputFormatError,
    InputNotFoundError,
    MissingExtraError,
    SentstreamError,
    first_line,
)
from sentstream.storage.ahead import ahead
from sentstream.storage.api import Storage, StoredFile
from sentstream.storage.names import without_file_scheme

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.schema import Schema
    from pyiceberg.table import FileScanTask, StaticTable
    from pyiceberg.types import IcebergType

METADATA: Final = "metadata"
EXTRA: Final = "iceberg"
ENDING: Final = ".metadata.json"
_NUMBERED: Final = re.compile(r"v?(\d+)(-.+)?\.metadata\.json")
_HINT: Final = "version-hint.text"
_NONE: Final = np.zeros(0, np.int64)
_ANEW: Final = "write it to another table, e.g. with Spark: CREATE TABLE … AS SELECT"


def metadata_of(storage: Storage, directory: str) -> str | None:
    """Return the newest metadata file in a table's directory; None if it is not a table.

    Raises:
        InputFormatError: There are several, and only a catalog knows which one is current.
    """
    path = storage.join(directory, METADATA)
    if not storage.is_directory(path):
        return None
    found = {below: file for below, file in storage.walk(path, hidden=True) if "/" not in below}
    numbers: dict[int, list[str]] = defaultdict(list)
    for name in found:
        if match := _NUMBERED.fullmatch(name):
            numbers[int(match[1])].append(name)
    if not numbers:
        return None
    if _HINT in found:
        with found[_HINT].open() as data:
            hint = data.read().decode(errors="replace").strip()
        if (name := f"v{hint}{ENDING}") in found:
            return storage.join(path, name)
    newest = numbers[max(numbers)]
    if len(newest) > 1:
        raise InputFormatError(
            f"{directory} has several metadata files of version {max(numbers)}: {', '.join(sorted(newest))}",
            hint="give the one that its catalog names instead of the directory",
        )
    return storage.join(path, newest[0])


def read_iceberg(metadata: str, options: TableOptions, settings: Mapping[str, str] | None) -> Snapshot:
    """Read a snapshot of an Iceberg table.

    Args:
        metadata: The table's metadata file.
        options: Which snapshot.
        settings: Settings of object stores.

    Raises:
        InputNotFoundError: There is no such snapshot, or one of its files is missing.
        InputFormatError: The metadata is invalid, or the table uses an unsupported feature.
        MissingExtraError: pyiceberg is not installed.
    """
    table = _open(metadata, settings)
    wanted = options.chosen(str(table.metadata.table_uuid))
    snapshot = table.current_snapshot() if wanted is None else table.snapshot_by_id(wanted)
    if snapshot is None:
        latest = table.current_snapshot()
        have = "none" if latest is None else f"{latest.snapshot_id} as the latest"
        raise InputNotFoundError(
            f"{metadata} has no snapshot {'' if wanted is None else wanted}".rstrip() + f"; it has {have}",
            hint="give another --snapshot",
        )
    # As in other readers, the latest snapshot has the current schema, and an earlier one its own.
    schema = table.schema()
    if wanted is not None and snapshot != table.current_snapshot() and snapshot.schema_id is not None:
        schema = table.schemas()[snapshot.schema_id]
    with _explaining(metadata):
        tasks = list(table.scan(snapshot_id=snapshot.snapshot_id).plan_files())
    properties = dict(settings or {})
    for task in tasks:
        _check(task, metadata)
    vectors = {one.file_path: one for task in tasks for one in task.delete_files}
    deleted = dict(ahead(lambda file: _positions(file, properties), vectors.values()))
    columns = _columns(schema)
    location = without_file_scheme(table.location()).rstrip("/")
    names = [without_file_scheme(task.file.file_path) for task in tasks]
    files = []
    for name, file, task in zip(
        names, ahead(lambda name: _find(name, properties), names), tasks, strict=True
    ):
        if file is None:
            raise InputNotFoundError(
                f"{name}, a file of snapshot {snapshot.snapshot_id}, is missing",
                hint="was the table moved, or the snapshot expired?",
            )
        if not name.startswith(f"{location}/"):
            raise InputFormatError(f"{name} is outside its table, {location}", hint=_ANEW)
        own = _with_values(columns, table, task.file, metadata)
        found = [deleted[one.file_path].get(task.file.file_path, _NONE) for one in task.delete_files]
        gone = np.unique(np.concatenate([_NONE, *found]))
        # Folder names are not reliable (null is ``lang=null``), so they are not columns of the outputs.
        below = name.removeprefix(f"{location}/").replace("=", "-")
        files.append(TableFile(file, below, View(own, gone, folders=False)))
    files.sort(key=lambda one: one.below)
    return Snapshot(str(table.metadata.table_uuid), snapshot.snapshot_id, tuple(files))


def _open(metadata: str, settings: Mapping[str, str] | None) -> StaticTable:
    try:
        from pyiceberg.table import StaticTable

        from sentstream.dataset.tables import iceberg_io
    except ImportError as error:
        raise MissingExtraError(
            f"{metadata} is Iceberg metadata, but pyiceberg, which reads it, is not installed", extra=EXTRA
        ) from error
    properties = {
        "py-io-impl": f"{iceberg_io.__name__}.{iceberg_io.StorageIO.__name__}",
        iceberg_io.OPTIONS: json.dumps(dict(settings or {})),
    }
    with _explaining(metadata):
        return StaticTable.from_metadata(metadata, properties)


class _explaining:
    """Translate whatever pyiceberg raises into an error that names the metadata file."""

    def __init__(self, metadata: str) -> None:
        self._metadata = metadata

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None or isinstance(error, SentstreamError) or not isinstance(error, Exception):
            return
        feature = "equality deletes" if "equality" in str(error) else ""
        text = f"it has {feature}, which are not supported" if feature else first_line(error)
        raise InputFormatError(
            f"{self._metadata} cannot be read as Iceberg metadata: {text}",
            hint="compact the table with the program that wrote it"
            if feature
            else "is it complete? Read the files as they are with --table none",
        ) from error


def _find(name: str, settings: dict[str, str]) -> StoredFile | None:
    from sentstream.dataset.tables.iceberg_io import find

    return find(name, settings)


def _check(task: FileScanTask, metadata: str) -> None:
    """Reject files in unsupported formats."""
    for file in (task.file, *task.delete_files):
        kind = str(file.file_format.value)
        if kind != "PARQUET" and (file is task.file or kind != "PUFFIN"):
            raise InputFormatError(
                f"{metadata}: {file.file_path} is {kind}, but only Parquet is supported in Iceberg tables",
                hint=_ANEW,
            )


def _positions(file: DataFile, settings: dict[str, str]) -> tuple[str, dict[str, npt.NDArray[np.int64]]]:
    """Return a delete file's name, and the deleted row indices in it by data file."""
    stored = _find(file.file_path, settings)
    if stored is None:
        raise InputNotFoundError(f"{file.file_path}, a delete file, is missing")
    try:
        with stored.open() as data:
            if str(file.file_format.value) == "PUFFIN":
                from pyiceberg.table.deletion_vector import deletion_vectors_from_puffin_file
                from pyiceberg.table.puffin import PuffinFile

                vectors = deletion_vectors_from_puffin_file(PuffinFile(data.read()))
                return file.file_path, {
                    one.referenced_data_file: one.to_vector().to_numpy().astype(np.int64) for one in vectors
                }
            rows = pq.ParquetFile(data).read(["file_path", "pos"])
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, LookupError) as error:
        raise InputFormatError(
            f"{stored.name} cannot be read as a delete file: {first_line(error)}"
        ) from error
    paths, positions = rows["file_path"].to_pylist(), rows["pos"].to_numpy()
    found: dict[str, list[int]] = defaultdict(list)
    for path, position in zip(paths, positions.tolist(), strict=True):
        found[path].append(position)
    return file.file_path, {path: np.array(several, np.int64) for path, several in found.items()}


def _columns(schema: Schema) -> tuple[ViewColumn, ...]:
    """Return the columns of a table; files identify them by field id."""
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    kinds = schema_to_pyarrow(schema, include_field_ids=False)
    columns = []
    for field in schema.fields:
        kind = kinds.field(field.name).type
        value = pa.scalar(field.initial_default, kind)
        inner = frozenset(_inner(field.field_type))
        columns.append(ViewColumn(field.name, field.name, value, field.field_id, inner))
    return tuple(columns)


def _inner(kind: IcebergType) -> Iterator[tuple[int, str]]:
    """Yield the ids and names of the fields inside a type."""
    from pyiceberg.types import ListType, MapType, StructType

    if isinstance(kind, StructType):
        for field in kind.fields:
            yield field.field_id, field.name
            yield from _inner(field.field_type)
    elif isinstance(kind, ListType):
        yield from _inner(kind.element_type)
    elif isinstance(kind, MapType):
        yield from _inner(kind.key_type)
        yield from _inner(kind.value_type)


def _with_values(
    columns: tuple[ViewColumn, ...], table: StaticTable, file: DataFile, metadata: str
) -> tuple[ViewColumn, ...]:
    """Return columns with a file's partition values, which need not be stored in the file."""
    from pyiceberg.transforms import IdentityTransform

    spec = table.specs()[file.spec_id]
    values: dict[int, Any] = {
        one.source_id: file.partition[index]
        for index, one in enumerate(spec.fields)
        if isinstance(one.transform, IdentityTransform)
    }
    if not values:
        return columns
    return tuple(
        ViewColumn(one.name, one.source, _scalar(values[one.number], one.value.type), one.number, one.inner)
        if one.number in values
        else one
        for one in columns
    )


def _scalar(value: Any, kind: pa.DataType) -> pa.Scalar:
    """Convert a value from Iceberg, where dates and times are numbers since 1970."""
    if isinstance(value, int) and pa.types.is_temporal(kind):
        width = pa.int32() if pa.types.is_date32(kind) else pa.int64()
        return pa.scalar(value, width).cast(kind)
    return pa.scalar(value, kind)
