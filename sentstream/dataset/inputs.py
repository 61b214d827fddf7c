"""Find the input files of paths, URIs, globs and directories."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sentstream.dataset.formats.api import Format
from sentstream.dataset.formats.names import ENDINGS, is_scored, layout_of_name, scored_name
from sentstream.dataset.formats.sniff import BINARY, begins_as
from sentstream.dataset.formats.view import View
from sentstream.dataset.tables.api import ANY_TABLE, TITLES, TableOptions
from sentstream.dataset.tables.delta import LOG
from sentstream.dataset.tables.detect import is_metadata, read_table
from sentstream.errors import InputError, InputFormatError, InputNotFoundError, UsageError
from sentstream.packed import Packed, pickled_by_fields
from sentstream.storage.api import Storage, StoredFile
from sentstream.storage.local import LocalFile, LocalStorage, local_file
from sentstream.storage.names import (
    SCORED,
    is_root,
    is_skipped,
    is_uri,
    missing,
    scored_directory,
    without_file_scheme,
)
from sentstream.storage.open import open_storage
from sentstream.storage.patterns import matcher, split_magic

_MOST = 5  # names listed in a message


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class Found:
    """An input.

    Attributes:
        file: The file.
        storage: Its storage.
        relative: Its path relative to the given input, separated by ``/``.
        default: The default name of its output in the same storage; None if there is no place for it.
        directory: The default output directory of an input directory; None for a single file.
        view: The table's view of its rows; None if it is not part of a table.
        named: Whether it was given by its own name, not by a directory or a glob.
    """

    file: StoredFile
    storage: Storage
    relative: str
    default: str | None
    directory: str | None = None
    view: View | None = None
    named: bool = False


@dataclass
class Inputs:
    """The files that were found.

    Attributes:
        tables: Which directories are tables.
        settings: Settings of object stores.
        files: The files, in order.
        left_out: Lines about files in the directories that are not read.
        snapshots: The snapshot of each table, by table id.
        scored: Whether to include files that are outputs of scoring.
    """

    tables: TableOptions = ANY_TABLE
    settings: Mapping[str, str] | None = None
    files: Packed[Found] = field(default_factory=Packed)
    left_out: list[str] = field(default_factory=list)
    snapshots: dict[str, int] = field(default_factory=dict)
    scored: bool = False

    def is_output(self, name: str) -> bool:
        """Return whether a file in a directory or glob is skipped because it is an output."""
        return not self.scored and is_scored(name)


def find_inputs(
    inputs: Sequence[str],
    output: str | None = None,
    options: Mapping[str, str] | None = None,
    format: Format | None = None,
    tables: TableOptions = ANY_TABLE,
    *,
    scored: bool = False,
) -> Inputs:
    """Find the files that paths, URIs, globs and directories stand for.

    Directories are searched recursively for files with the suffix of a supported format, in any case, and for
    files without a suffix whose content has one (Hive names its files so). Hidden names, names with a leading
    underscore such as ``_SUCCESS``, and outputs of scoring are skipped. A table's directory stands for the
    files of a snapshot.

    Args:
        inputs: The given inputs.
        output: A directory to skip if it is inside an input: a URI, or a resolved path.
        options: Settings of object stores.
        format: The format of all inputs; in directories only files of it are read. None for any.
        tables: Which directories are tables, and which of their snapshots to read.
        scored: Whether to include outputs of scoring.

    Raises:
        UsageError: A snapshot was given for no table or several; or a directory has a table inside.
        InputFormatError: An input is not the expected table, or the table uses an unsupported feature.
        InputNotFoundError: A path, a bucket or a link's target does not exist, or a directory or glob has no
            files.
        InputError: A directory cannot be read.
        StorageError: An object store does not answer, or rejects the credentials.
        MissingExtraError: The package that reads a URI is not installed.
    """
    found = Inputs(tables, options, scored=scored)
    for name in map(without_file_scheme, inputs):
        count = len(found.snapshots)
        if is_uri(name):
            _find_objects(name, open_storage(name, options), output, found, format)
        else:
            try:
                _find(name, output and Path(output), found, format)
            except OSError as error:
                raise InputError(f"{name} cannot be read: {error.strerror or error}") from error
        if tables.kind not in (None, "none") and len(found.snapshots) == count:
            raise InputFormatError(f"{name} is not {TITLES[tables.kind]}", hint="give the table's directory")
    if tables.snapshot is not None and len(found.snapshots) != 1:
        raise UsageError(
            f"--snapshot takes one table, but the inputs are {len(found.snapshots)}",
            hint="give the directory of a table",
        )
    return found


def _find_table(directory: str, storage: Storage, found: Inputs, prefix: str = "") -> bool:
    """Add the files of a directory that is a table; return whether it is one."""
    snapshot = read_table(storage, directory, found.tables, found.settings)
    if snapshot is None:
        return False
    if not snapshot.files:
        raise InputNotFoundError(f"{directory} is a table with no files", hint="give another --snapshot")
    if is_metadata(directory, found.tables):  # TABLE/metadata/00003-….metadata.json
        parent = directory.rsplit("/", 2)[0] if is_uri(directory) else Path(directory).absolute().parents[1]
        directory = str(parent)
    if is_uri(directory):
        default = scored_directory(directory) if not is_root(directory) else None
    else:
        resolved = Path(directory).resolve()
        default = str(resolved.with_name(scored_directory(resolved.name))) if resolved.name else None
    for one in snapshot.files:
        target = default and storage.join(default, one.below)
        found.files.append(Found(one.file, storage, prefix + one.below, target, default, one.view))
    found.snapshots[snapshot.table] = snapshot.version
    return True


def _find(name: str, output: Path | str | None, found: Inputs, format: Format | None) -> None:
    """Add the files that one path stands for."""
    path = Path(name)
    if path.is_dir():
        if not _find_table(str(path), LocalStorage(), found):
            _walk(path, output, found, format)
        return
    if path.exists():
        if is_metadata(path.name, found.tables):
            _find_table(str(path), LocalStorage(), found)
            return
        found.files.append(replace(_local(path, path.name, format), named=True))
        return
    if os.path.lexists(path) or not glob.has_magic(name):
        raise missing(name)
    root = Path(*_before_magic(path))
    count = len(found.files)
    for match in map(Path, sorted(glob.glob(name, recursive=True))):
        if match.is_dir():
            below = match.relative_to(root)
            if "**" not in path.parts and not _find_table(  # ** enters directories by itself
                str(match), LocalStorage(), found, f"{below.as_posix()}/"
            ):
                _walk(match, output, found, format, below)
        elif SCORED in name or not found.is_output(match.name):
            if not match.exists():
                raise missing(match)
            found.files.append(_local(match, match.relative_to(root).as_posix(), format))
    if len(found.files) == count:
        raise _no_match(name)


def _local(path: Path, relative: str, format: Format | None) -> Found:
    """Return a local file that was given by name or by a glob."""
    file = local_file(path)
    return Found(file, LocalStorage(), relative, str(path.with_name(_output_beside(file, path.name, format))))


def _output_beside(file: StoredFile, name: str, format: Format | None) -> str:
    """Return the name of a file's output in the same directory."""
    found = format if layout_of_name(name) is not None else format or begins_as(file)
    return scored_name(name, found or "parquet")


def _no_match(name: str) -> InputNotFoundError:
    return InputNotFoundError(
        f"no file matches {name}",
        hint="check the pattern, and quote it so that the shell does not expand it",
    )


def _before_magic(path: Path) -> list[str]:
    parts: list[str] = []
    for part in path.parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return parts


def _walk(
    directory: Path, output: Path | str | None, found: Inputs, format: Format | None, below: Path = Path()
) -> None:
    """Add the files of a directory, recursively."""
    resolved = directory.resolve()
    default = str(resolved.with_name(scored_directory(resolved.name))) if resolved.name else None
    root, prefix = str(directory), "" if below == Path() else f"{below.as_posix()}/"
    storage = LocalStorage()
    count = len(found.files)
    others: list[str] = []
    for parent, names, entries in os.walk(root, onerror=_refuse):
        if LOG in names and found.tables.kind != "none":
            raise UsageError(
                f"{parent} is a Delta table inside {root}",
                hint="name the tables one by one, or read their files as they are with --table none",
            )
        names[:] = sorted(n for n in names if not is_skipped(n) and (Path(parent) / n).resolve() != output)
        others += [f"{name}{os.sep}, a link" for name in names if os.path.islink(os.path.join(parent, name))]
        # Joined once per directory, as there may be millions of files.
        folder = os.path.join(parent, "")
        above = "" if parent == root else os.path.join(os.path.relpath(parent, root), "")
        outputs = None if default is None else os.path.join(default, above)
        for name in sorted(entries):
            if is_skipped(name) or found.is_output(name):
                continue
            relative = above + name
            file = _local_or_none(folder + name, name)
            if file is None or not _is_input(file, name, format):
                others.append(relative)
                continue
            target = None if outputs is None else outputs + name
            inside = prefix + relative.replace(os.sep, "/")
            found.files.append(Found(file, storage, inside, target, default))
    _leave_out(root, count, others, found)


def _local_or_none(path: str, name: str) -> LocalFile | None:
    """Return a file in a directory; None if it is not a regular file.

    Raises:
        InputNotFoundError: A broken or circular link with a supported suffix.
        InputError: It cannot be examined.
    """
    try:
        return local_file(path)
    except InputError as error:
        if os.path.exists(path):  # a pipe, a device
            return None
        if layout_of_name(name) is None:
            return None
        if os.path.islink(path) or isinstance(error, InputNotFoundError):
            raise missing(path) from error
        raise


def _leave_out(directory: str, count: int, others: Sequence[str], found: Inputs) -> None:
    """Note the files of a directory that were skipped; raise if nothing was found."""
    examples = ", ".join(others[:_MOST]) + (
        f" and {len(others) - _MOST:,} more" if len(others) > _MOST else ""
    )
    if len(found.files) == count:
        raise InputNotFoundError(
            f"no files to read in {directory}" + (f", but {examples}" if others else ""),
            hint=f"in a directory, names must end in {', '.join(one[0] for one in ENDINGS.values())} …",
        )
    if others:
        found.left_out.append(f"{directory}: files skipped for lack of a known suffix: {examples}")


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error


def _is_input(file: StoredFile, name: str, format: Format | None) -> bool:
    """Return whether a file in a directory is an input."""
    named = layout_of_name(name)
    if named is not None:
        # A .json file next to data is often metadata, not JSON lines.
        sure = not name.lower().endswith(".json") or begins_as(file) == "jsonl"
        return sure and format in (None, named.format)
    if os.path.splitext(name)[1]:
        return False
    return begins_as(file) in ((*BINARY, "jsonl") if format is None else (format,))


def _find_objects(
    given: str, storage: Storage, output: str | None, found: Inputs, format: Format | None
) -> None:
    """Add the files of one URI: an object, all below a prefix, or those that match a pattern."""
    if not given.endswith("/"):
        file = storage.find(given)
        if file is not None and is_metadata(given, found.tables):
            _find_table(given, storage, found)
            return
        if file is not None:
            parent, _, name = given.partition("?")[0].rpartition("/")
            target = f"{parent}/{_output_beside(file, name, format)}"
            found.files.append(Found(file, storage, name, target, named=True))
            return
    if storage.is_directory(given):
        if not _find_table(given.rstrip("/"), storage, found):
            _walk_objects(given.rstrip("/"), storage, output, found, format)
        return
    root, pattern = split_magic(given)
    if not pattern:
        raise InputNotFoundError(f"{given} does not exist", hint="check the URI")
    matches = matcher(pattern)
    count = len(found.files)
    directories: dict[str, None] = {}
    for below, file in storage.walk(root, hidden=True) if storage.is_directory(root) else ():
        parent, _, name = file.name.rpartition("/")
        if matches(below):
            if SCORED in given or not found.is_output(name):
                target = f"{parent}/{_output_beside(file, name, format)}"
                found.files.append(Found(file, storage, below, target))
        elif "**" not in pattern:
            parts = below.split("/")
            depth = pattern.count("/") + 1
            if len(parts) > depth and matches("/".join(parts[:depth])):
                directories["/".join(parts[:depth])] = None
    for below in directories:
        if not _find_table(storage.join(root, below), storage, found, f"{below}/"):
            _walk_objects(storage.join(root, below), storage, output, found, format, f"{below}/")
    if len(found.files) == count:
        raise _no_match(given)


def _walk_objects(
    directory: str,
    storage: Storage,
    output: str | None,
    found: Inputs,
    format: Format | None,
    prefix: str = "",
) -> None:
    """Add the input files below a prefix."""
    default = scored_directory(directory) if not is_root(directory) else None
    left = None if output is None else f"{output.rstrip('/')}/"
    count = len(found.files)
    others: list[str] = []
    for below, file in storage.walk(directory):
        name = below.rpartition("/")[2]
        if found.is_output(name) or (left and file.name.startswith(left)):
            continue
        if _is_input(file, name, format):
            target = default and storage.join(default, below)
            found.files.append(Found(file, storage, f"{prefix}{below}", target, default))
        else:
            others.append(below)
    _leave_out(directory, count, others, found)
