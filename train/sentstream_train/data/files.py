"""Open tables of texts: the official Sentiment140 CSV, any CSV or TSV with a header, Parquet."""

from __future__ import annotations

import contextlib
import difflib
import glob
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import pyarrow as pa
import pyarrow.csv as pa_csv

from sentstream.dataset.formats.foreign import recognize
from sentstream.dataset.formats.parquet.opening import is_utf8, open_parquet
from sentstream.errors import (
    ColumnNotFoundError,
    DataError,
    InputFormatError,
    InputNotFoundError,
    UsageError,
    one_line,
)
from sentstream.storage.local import local_file
from sentstream.storage.names import is_uri, missing
from sentstream.text.columns import field_names, find_field
from sentstream_train.data.csv_shape import CsvShape, look

PathLike: TypeAlias = "str | Path"

#: The labels of Sentiment140's polarities; some copies have 1 for 4.
SENTIMENT140_LABELS = {"0": "negative", "1": "positive", "2": "neutral", "4": "positive"}

_SUFFIXES = (".parquet", ".csv", ".tsv", ".tab")
_COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
_ROWS_AT_ONCE = 65_536
_BLOCK_BYTES = 4 << 20


def find_files(paths: PathLike | Iterable[PathLike]) -> list[Path]:
    """The files that paths, globs and directories name, each once, in the order given.

    Raises:
        InputNotFoundError: A path does not exist, or a glob or directory has no data file.
    """
    found: dict[Path, Path] = {}
    for name in [paths] if isinstance(paths, (str, Path)) else paths:
        path = Path(name)
        if path.is_dir():
            hits = sorted(file for file in path.iterdir() if _is_data(file))
            if not hits:
                raise InputNotFoundError(f"{path} has no {', '.join(_SUFFIXES[:3])} file")
        elif path.exists():
            hits = [path]
        else:
            found_by_glob = [] if is_uri(str(name)) else sorted(glob.glob(str(name), recursive=True))
            hits = [path for path in map(Path, found_by_glob) if not path.is_dir()]
            if not hits:
                raise missing(name)
        for hit in hits:
            if not hit.exists():
                raise missing(hit)
            found.setdefault(hit.resolve(), hit)
    if not found:
        raise InputNotFoundError("no data file was given")
    return list(found.values())


def recorded_name(path: Path) -> str:
    """A file's base name for records, as valid UTF-8."""
    return os.fsencode(path.name).decode("utf-8", "replace")


def _is_data(path: Path) -> bool:
    return not path.is_dir() and _unpacked_name(path).endswith(_SUFFIXES) and not path.name.startswith(".")


def _is_named_csv(path: Path) -> bool:
    return _unpacked_name(path).endswith(_SUFFIXES[1:])


def _unpacked_name(path: Path) -> str:
    name = path.name.lower()
    for suffix in _COMPRESSED:
        name = name.removesuffix(suffix)
    return name


@dataclass(frozen=True)
class TableReader:
    """An open file: batches with the columns ``text`` and, if present, ``label`` and ``user``.

    Attributes:
        batches: The rows; number columns of ``more`` are included, their names prefixed with ``MORE``.
        labeled: Whether the file has labels.
        names: Maps the file's labels to label names; None: they are the names.
        more: The columns with the requested prefix, and their types.
    """

    batches: Iterator[pa.RecordBatch]
    labeled: bool
    names: dict[str, str] | None = None
    more: dict[str, pa.DataType] = field(default_factory=dict)


#: Distinguishes a file's own column ``text`` from the column chosen as the text.
MORE = "more:"


def open_table(
    path: Path,
    text: str | None,
    label: str | None,
    user: str | None,
    unlabeled_ok: bool,
    prefix: str | None = None,
) -> TableReader:
    """Open a file.

    Args:
        path: The file.
        text, label, user: Column names; None: the default names.
        unlabeled_ok: Accept a file without the default label column.
        prefix: Also read floating-point columns with this prefix (Parquet only).
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        if magic == b"PAR1":
            return _open_parquet(path, text, label, user, unlabeled_ok, prefix)
    except OSError as error:
        raise InputFormatError(f"{path} cannot be read: {error.strerror or error}") from error
    if path.suffix.lower() == ".parquet":
        raise InputFormatError(f"{path} is not a Parquet file", hint="if it is CSV, name it .csv")
    foreign = None if _is_named_csv(path) else recognize(local_file(path))
    if foreign is not None and not foreign.is_csv:
        raise InputFormatError(f"{path} is {foreign.what}, not Parquet or CSV", hint=foreign.hint)
    return _open_csv(path, text, label, user, unlabeled_ok)


def open_unpacked(path: Path) -> BinaryIO:
    """A file's bytes, decompressed if its name has a suffix of a compression format."""
    stream: BinaryIO
    if is_utf8(path):
        stream = pa.input_stream(str(path), compression="detect")
    else:
        stream = pa.input_stream(path.open("rb"), compression=_COMPRESSED.get(path.suffix.lower()))
    return stream


def _open_parquet(
    path: Path, text: str | None, label: str | None, user: str | None, unlabeled_ok: bool, prefix: str | None
) -> TableReader:
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_parquet(local_file(path)))
        chosen_columns = _choose(path, field_names(file.schema_arrow), text, label, user, unlabeled_ok)
        opened = stack.pop_all()
    schema = file.schema_arrow
    more = {one.name: one.type for one in schema if prefix is not None and one.name.startswith(prefix)}
    numbers = [name for name, kind in more.items() if pa.types.is_floating(kind)]
    read = list(dict.fromkeys([*chosen_columns.values(), *numbers]))

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            with opened:
                for batch in file.iter_batches(_ROWS_AT_ONCE, columns=read):
                    columns = [
                        find_field(batch.schema, name).texts(batch) for name in chosen_columns.values()
                    ]
                    columns += [batch.column(name) for name in numbers]
                    names = [*chosen_columns, *(f"{MORE}{name}" for name in numbers)]
                    yield pa.RecordBatch.from_arrays(columns, names=names)
        except (pa.ArrowException, OSError) as error:
            raise InputFormatError(f"{path} is corrupt: {one_line(error, 160)}") from error

    return TableReader(batches(), "label" in chosen_columns, more=more)


def _open_csv(
    path: Path, text: str | None, label: str | None, user: str | None, unlabeled_ok: bool
) -> TableReader:
    stem = path.with_suffix("") if path.suffix.lower() in _COMPRESSED else path
    with open_unpacked(path) as stream:
        shape = look(stream, "\t" if stem.suffix.lower() in {".tsv", ".tab"} else None)
    if shape is None:
        raise DataError(
            f"{path} is empty or starts with an empty line", hint="the first line must be the header"
        )
    if shape.sentiment140:
        label = "polarity" if label in {None, "label", "target"} else label
        unlabeled_ok = False
    columns = _choose(path, shape.columns, text, label, user, unlabeled_ok)
    for name in columns.values():
        if shape.columns.count(name) > 1:
            raise DataError(f"{path} has {shape.columns.count(name)} columns named {name!r}")
    mapped = SENTIMENT140_LABELS if shape.sentiment140 and label == "polarity" else None
    return TableReader(_csv_batches(path, shape, columns), "label" in columns, mapped)


def _csv_batches(path: Path, shape: CsvShape, columns: dict[str, str]) -> Iterator[pa.RecordBatch]:
    rejected: list[Any] = []

    def reject(row: Any) -> str:
        rejected.append(row)
        return "error"

    reading = pa_csv.ReadOptions(
        use_threads=False,
        block_size=_BLOCK_BYTES,
        encoding=shape.encoding if shape.encoding != "utf-8" else "utf8",
        column_names=list(shape.columns),
        skip_rows=int(shape.header),
    )
    parsing = pa_csv.ParseOptions(
        delimiter=shape.delimiter, newlines_in_values=True, invalid_row_handler=reject
    )
    # Binary, because one invalid byte in a text column would fail the whole file.
    converting = pa_csv.ConvertOptions(
        include_columns=list(columns.values()), column_types=dict.fromkeys(columns.values(), pa.binary())
    )
    try:
        with open_unpacked(path) as stream:
            stream.read(shape.mark)
            for batch in pa_csv.open_csv(stream, reading, parsing, converting):
                yield pa.RecordBatch.from_arrays(
                    [column.view(pa.string()) for column in batch.columns], names=list(columns)
                )
    except (pa.ArrowException, OSError) as error:
        if rejected:
            row = rejected[0]
            where = f" row {row.number:,}" if row.number is not None else ""
            raise DataError(
                f"{path}{where}: {row.actual_columns} fields instead of {row.expected_columns}",
                hint="is a quote missing, or is the delimiter a different one?",
            ) from None
        raise DataError(
            f"{path} is not readable CSV: {one_line(error, 160)}", hint="is a quote never closed?"
        ) from error


def _choose(
    path: Path,
    names: Sequence[str],
    text: str | None,
    label: str | None,
    user: str | None,
    unlabeled_ok: bool,
) -> dict[str, str]:
    """The columns to read: role -> name."""
    columns = {"text": _present(path, names, text or "text", "--text-column")}
    if label is not None or "label" in names or not unlabeled_ok:
        columns["label"] = _present(path, names, label or "label", "--label-column")
    if user is not None:
        columns["user"] = _present(path, names, user, "--user-column")
    elif "user" in names and "user" not in columns.values():
        columns["user"] = "user"
    if len(set(columns.values())) < len(columns):
        raise UsageError(
            f"one column cannot serve as several of {', '.join(columns)}: {', '.join(columns.values())}"
        )
    return columns


#: Other common names for the columns.
_OTHER_NAMES = {
    "--text-column": "tweet clean_text tweet_text content message sentence review body".split(),
    "--label-column": "sentiment target polarity category class airline_sentiment emotion".split(),
    "--user-column": ["username", "user_name", "author"],
}


def _present(path: Path, names: Sequence[str], name: str, option: str) -> str:
    if name in names:
        return name
    names_by_key = {given.strip().lower(): given for given in names}
    close = [names_by_key[other] for other in _OTHER_NAMES.get(option, ()) if other in names_by_key]
    close = close or difflib.get_close_matches(name, names, 1, 0.5)
    nearest = f"; did you mean {close[0]!r}?" if close else ""
    raise ColumnNotFoundError(
        f"{path} has no column {name!r}{nearest} (it has {_some(names)})",
        hint=f"name it with {option}" + (f" {shlex.quote(close[0])}" if close else ""),
    )


def _some(names: Sequence[str], limit: int = 12) -> str:
    shown = ", ".join(names[:limit])
    return f"{shown}, …" if len(names) > limit else shown


def why_unlabeled(path: Path, text: str | None) -> str | None:
    """The message for a file without labels if another of its columns may hold them; else None."""
    try:
        open_table(path, text, None, None, unlabeled_ok=False)
    except ColumnNotFoundError as error:
        return str(error) if error.hint != "name it with --label-column" else None
    return None
