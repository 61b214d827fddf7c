"""Pair inputs with outputs: from the command line's arguments to one job per file."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import sys
import tempfile
from array import array
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import overload

from sentstream.dataset.distinct import Values
from sentstream.dataset.folders import folder_of
from sentstream.dataset.formats.api import STREAMED, Format
from sentstream.dataset.formats.names import layout_of_name, renamed
from sentstream.dataset.formats.sniff import layout_of
from sentstream.dataset.formats.view import View
from sentstream.dataset.inputs import Found, find_inputs
from sentstream.dataset.survey import Identity, Survey
from sentstream.dataset.tables.api import ANY_TABLE, TableOptions
from sentstream.errors import OutputExistsError, OutputWriteError, UsageError, counted
from sentstream.packed import Packed, pickled_by_fields
from sentstream.storage.api import Storage, StoredFile
from sentstream.storage.local import LocalFile, LocalStorage, local_file
from sentstream.storage.names import is_uri, without_file_scheme
from sentstream.storage.open import open_storage
from sentstream.storage.stream import Stream

#: Standard input as INPUT, standard output as --output.
STANDARD = "-"
#: The name of standard input in messages.
STANDARD_INPUT = "standard input"


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class Job:
    """One file to score.

    Attributes:
        source: The input file.
        relative: Its path relative to the given input, separated by ``/``; unique among all jobs.
        output: The output's name, with links resolved; None for standard output.
        storage: The storage of the output.
        format: The format of the source; None to detect it.
        output_format: The format of the output; None to use its name's suffix, or the source's format.
        view: The table's view of the source's rows; None if it is not part of a table.
        is_stream: Whether the output is written directly: standard output, a pipe, a device.
    """

    source: StoredFile
    relative: str
    output: str | None
    storage: Storage
    format: Format | None = None
    output_format: Format | None = None
    view: View | None = field(default=None, compare=False)
    is_stream: bool = field(default=False, compare=False)

    @property
    def name(self) -> str:
        """The source's name in messages."""
        return self.source.name

    @property
    def placed(self) -> str:
        """The path whose folders are columns."""
        return self.name if self.view is None or self.view.folders else self.relative

    @property
    def target(self) -> Path | None:
        """The path of a local output; None for standard output or an object."""
        return None if self.output is None or is_uri(self.output) else Path(self.output)

    @property
    def shown_target(self) -> str:
        """The output's name in messages."""
        return "standard output" if self.output is None else self.output


@dataclass(frozen=True)
class Jobs(Sequence[Job]):
    """All files to score.

    Attributes:
        jobs: The jobs, in order.
        directory: The output directory, from ``--output DIRECTORY/`` or ``DIRECTORY.scored``: a resolved path
            or a URI. None without one: a single file's output, outputs next to their inputs, standard output.
        storage: The storage of that directory, or else of the first output.
        snapshots: The snapshot of each table, by table id.
        are_far: Whether some inputs are remote, so that several are requested at a time.
        can_resume: Whether the inputs can be read again, and all outputs are files, or all are objects.
    """

    jobs: Sequence[Job]
    directory: str | None
    storage: Storage
    snapshots: Mapping[str, int] = field(default_factory=dict)
    are_far: bool = False
    can_resume: bool = False

    @overload
    def __getitem__(self, index: int) -> Job: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Job]: ...
    def __getitem__(self, index: int | slice) -> Job | Sequence[Job]:
        return self.jobs[index]

    def __len__(self) -> int:
        return len(self.jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs)


@contextlib.contextmanager
def find_jobs(
    inputs: Sequence[str],
    output: str | None,
    *,
    overwrite: bool,
    format: Format | None = None,
    output_format: Format | None = None,
    options: Mapping[str, str] | None = None,
    warn: Callable[[str], None] = lambda line: None,
    keep: Callable[[Collection[str]], Container[str]] | None = None,
    tables: TableOptions = ANY_TABLE,
    from_list: bool = False,
    is_file: Callable[[str], bool] = lambda output: False,
) -> Iterator[Jobs]:
    """Pair every input file with its output; nothing is written.

    Standard input is streamed, or, in a format that is read from its end, spooled to a temporary file that
    exists as long as the context.

    Args:
        inputs: Files, globs, directories or URIs; or ``-`` alone.
        output: A file, a directory, a URI, ``-``, or None for outputs next to the inputs. The outputs of a
            directory, glob or list go to a directory, even for a single file, unless the name has a file's
            suffix: ``out.parquet``.
        overwrite: Whether outputs may already exist.
        format: The format of the inputs; None detects it for each.
        output_format: The format of the outputs; None uses each file name's suffix, or the input's format.
        options: Settings of object stores.
        warn: Called with one line about files in the directories that are not read.
        keep: Given the folders of all inputs, returns those whose files to keep; the outputs of others may
            exist. By default all.
        tables: Which directories are tables, and which of their snapshots to read.
        from_list: Whether the inputs come from a list, which may have a single entry.
        is_file: Returns whether an apparent output directory is known to be a single file's output.

    Raises:
        InputNotFoundError: A name does not exist, or a glob or directory has no files to read.
        UsageError: Several inputs for one output, or output to a terminal.
        OutputError: Two inputs have the same output; an output is an input, already exists, or is not
            writable.
        StorageError: An object store does not answer, or rejects the credentials.
        MissingExtraError: The package that reads or writes a URI is not installed.
    """
    output = output and without_file_scheme(output)
    storage = LocalStorage() if output is None else open_storage(output, options)
    if is_standard_input(inputs):
        with _explaining(output):  # before reading, which may take long
            target, directory = _one_target(output or STANDARD, "stdin", storage)
            _check([(STANDARD_INPUT, target, storage)], overwrite)
        stream, kind = standard_input(format)
        name = renamed("stdin", kind)
        if directory is not None:
            with _explaining(output):
                target, directory = _one_target(output or STANDARD, _renamed(name, output_format), storage)
                _check([(STANDARD_INPUT, target, storage)], overwrite)
        with contextlib.nullcontext(stream) if kind in STREAMED else spooled(stream) as file:
            at_once = target is None or _is_stream(target)
            job = Job(file, name, target, storage, format, output_format, is_stream=at_once)
            yield Jobs((job,), directory, storage)
        return
    with _explaining(output):
        below = output if output is None or is_uri(output) else str(Path(output).resolve())
    found = find_inputs(inputs, below, options, format, tables)
    jobs = _paired(found.files, output, storage, overwrite, format, output_format, keep, from_list, is_file)
    for line in found.left_out:
        warn(line)
    jobs = replace(jobs, snapshots=found.snapshots)
    del found  # or it would live as long as the context
    yield jobs


def _paired(
    found: Sequence[Found],
    output: str | None,
    storage: Storage,
    overwrite: bool,
    format: Format | None,
    output_format: Format | None,
    keep: Callable[[Collection[str]], Container[str]] | None,
    from_list: bool,
    is_file: Callable[[str], bool],
) -> Jobs:
    """Pair the inputs with their outputs, and check all of them."""
    survey = Survey(found)
    with _explaining(output):
        one = _is_one(found, output, storage, from_list, is_file)
        target_of, relative_of, directory = _targets(found, output, storage, output_format, one, survey)

        any_remote = False
        hashes, folders = array("q"), dict[str, None]()

        def pair(item: Found) -> Job:
            nonlocal any_remote
            any_remote = any_remote or (not isinstance(item.file, LocalFile) and item.file.size >= 0)
            relative = relative_of(item)
            target = target_of(item, relative)
            where = item.storage if output is None else storage
            at_once = target is None or _is_stream(target)
            job = Job(item.file, relative, target, where, format, output_format, item.view, at_once)
            hashes.append(hash(target))
            folders[folder_of(job.placed)] = None
            return job

        jobs = Packed(map(pair, found))
        outputs = Values(jobs, _output, hashes)
        if keep is not None:
            kept = keep(folders)
            if not all(folder in kept for folder in folders):
                jobs = Packed(job for job in jobs if folder_of(job.placed) in kept)
                outputs = Values(jobs, _output)
        checked = ((job.name, job.output, job.storage) for job in jobs)
        can_resume = _check(checked, overwrite, outputs.repeated(), survey.identities)
    where = found[0].storage if output is None else storage
    return Jobs(jobs, directory, where, are_far=any_remote, can_resume=can_resume)


def _output(job: Job) -> str | None:
    return job.output


def name_below(storage: Storage, directory: str, name: str) -> str:
    """Return a file's path relative to a directory, separated by ``/``; its full name if it is outside."""
    above = storage.join(directory, "")
    return name.removeprefix(above).lstrip("/\\").replace(os.sep, "/")


def is_standard_input(inputs: Sequence[str]) -> bool:
    """Return whether ``-`` was given.

    Raises:
        UsageError: It was given together with other inputs.
    """
    if STANDARD in inputs and len(inputs) > 1:
        raise UsageError("standard input cannot be combined with other inputs", hint="give - alone")
    return STANDARD in inputs


@contextlib.contextmanager
def _explaining(output: str | None) -> Iterator[None]:
    """Turn the error for a path that the system cannot look up into one that names it."""
    try:
        yield
    except OSError as error:
        where = "the output" if output is None else output
        raise OutputWriteError(f"{where} cannot be written: {error.strerror or error}") from error


def is_special(path: str | Path) -> bool:
    """Return whether a path is something other than a file or directory, such as a pipe."""
    return _is_neither(_stat(path))


def _is_stream(target: str) -> bool:
    """Return whether an output is written directly."""
    return not is_uri(target) and is_special(target)


def _is_neither(status: os.stat_result | None) -> bool:
    """Return whether something exists that is neither a file nor a directory."""
    return status is not None and not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode))


def _is_one(
    found: Sequence[Found],
    output: str | None,
    storage: Storage,
    from_list: bool,
    is_file: Callable[[str], bool],
) -> bool:
    """Return whether the output is a single file: not if the given input could be several files.

    Raises:
        OutputExistsError: A file exists where a directory is needed.
    """
    if output is None or len(found) > 1 or "/" in found[0].relative:
        return False
    if output == STANDARD or layout_of_name(output) is not None or (found[0].named and not from_list):
        return True
    if output.endswith(("/", os.sep)) or storage.is_directory(output):
        return False
    if is_file(output) or (not is_uri(output) and is_special(output)):
        return True
    if storage.find(output) is not None:
        raise OutputExistsError(
            f"{output} is a file, but the outputs of a directory, glob or list need a directory",
            hint="choose another --output, or remove the file",
        )
    return False


def _targets(
    found: Sequence[Found],
    output: str | None,
    storage: Storage,
    format: Format | None,
    one: bool,
    survey: Survey,
) -> tuple[Callable[[Found, str], str | None], Callable[[Found], str], str | None]:
    """Return a function for an input's output, given its relative path; one for that path; the directory."""
    if output is None:
        if any(item.default is None for item in found):
            raise UsageError("no default output for the root directory", hint="give --output")
        directories = {item.directory for item in found}
        directory = directories.pop() if len(directories) == 1 else None
        resolve = _resolver()
        return (
            lambda item, relative: item.default and resolve(_renamed(item.default, format)),
            survey.relatives(),
            directory,
        )
    if one:
        target, directory = _one_target(output, _renamed(found[0].relative, format), storage)
        return lambda item, relative: target, lambda item: item.relative, directory
    if output == STANDARD or (layout_of_name(output) is not None and not storage.is_directory(output)):
        raise UsageError(
            f"{counted(len(found), 'input')} for one output, {output}",
            hint="give a directory: --output scored/",
        )
    directory, resolve = _resolve(output), _resolver()
    return (
        lambda item, relative: resolve(storage.join(output, _renamed(relative, format))),
        survey.relatives(),
        directory,
    )


def _renamed(path: str, format: Format | None) -> str:
    """Return a path, URI or relative path with the suffix of another format; None keeps it."""
    if format is None:
        return path
    name = path[max(path.rfind("/"), path.rfind(os.sep)) + 1 :]
    return path.removesuffix(name) + renamed(name, format)


def _one_target(output: str, name: str, storage: Storage) -> tuple[str | None, str | None]:
    """Return the output of a single input, and its directory if a directory was given."""
    if output == STANDARD:
        return None, None
    if output.endswith(("/", os.sep)) or storage.is_directory(output):
        return _resolve(storage.join(output, name)), _resolve(output)
    return _resolve(output), None


def _resolve(name: str) -> str:
    """Resolve links, so that they are written through, not replaced; pipes and devices keep their path."""
    if is_uri(name):
        return name
    return os.path.abspath(name) if is_special(name) else os.path.realpath(name)


def _resolver() -> Callable[[str], str]:
    """Return ``_resolve`` for many names; it resolves each directory only once."""
    directories: dict[str, str] = {}

    def resolve(name: str) -> str:
        directory, base = os.path.split(name)
        if is_uri(name) or base in ("", os.curdir, os.pardir) or _leads_elsewhere(name):
            return _resolve(name)
        if directory not in directories:
            directories[directory] = os.path.realpath(directory)
        return os.path.join(directories[directory], base)

    return resolve


def _leads_elsewhere(name: str) -> bool:
    """Return whether something exists that is not a file or directory itself: a link, a pipe, a device."""
    try:
        return _is_neither(os.lstat(name))
    except (OSError, ValueError):  # as ``os.path.lexists``
        return False


def _check(
    outputs: Iterable[tuple[str, str | None, Storage]],
    overwrite: bool,
    repeated: Collection[str | None] = (),
    sources: Container[Identity] = (),
) -> bool:
    """Check the outputs as far as possible before anything is written.

    Args:
        outputs: Each input's name, with its output and the output's storage.
        overwrite: Whether outputs may already exist.
        repeated: The outputs that occur more than once.
        sources: The identities of the inputs.

    Returns:
        Whether all outputs are kept, and in one kind of storage.
    """
    taken: dict[str, str] = {}
    kinds: set[str] = set()
    writable: set[str] = set()
    for name, target, storage in outputs:
        if target is None:
            _check_standard_output()
            kinds.add("stream")
            continue
        if target in taken:
            raise OutputExistsError(
                f"{taken[target]} and {name} have the same output, {target}",
                hint="give --output DIRECTORY/, or another directory",
            )
        if target in repeated:
            taken[target] = name
        if is_uri(target):
            kinds.add("object")
            _check_not_input(target, target, sources)
            storage.check_writable(target, overwrite=overwrite)
            continue
        status = _stat(target)
        if _is_neither(status):
            kinds.add("stream")
            continue
        kinds.add("file")
        if status is not None:
            _check_not_input(target, (status.st_dev, status.st_ino), sources)
        # The rest is the same for all outputs in a directory.
        directory = os.path.dirname(target)
        may_be_written = status is None or (overwrite and stat.S_ISREG(status.st_mode))
        if not may_be_written or directory not in writable:
            storage.check_writable(target, overwrite=overwrite)
            writable.add(directory)
    return len(kinds) == 1 and "stream" not in kinds


def _check_not_input(target: str, identity: Identity, sources: Container[Identity]) -> None:
    if identity in sources:
        raise OutputExistsError(f"the output {target} is an input", hint="choose another --output")


def _check_standard_output() -> None:
    """Check that rows can go to standard output, as far as possible without writing any."""
    if sys.stdout is not None and sys.stdout.isatty():
        raise UsageError(
            "scored rows are not written to a terminal", hint="give --output FILE, or pipe them to a program"
        )
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        with contextlib.suppress(io.UnsupportedOperation):  # replaced by an object that is not a file
            os.write(sys.stdout.fileno(), b"")
    except OSError as error:
        problem = (
            "is closed" if error.errno == errno.EBADF else f"cannot be written: {error.strerror or error}"
        )
        raise OutputWriteError(f"standard output {problem}", hint="give --output FILE") from error


def _stat(path: str | Path) -> os.stat_result | None:
    """Return the stat of a path; None if nothing exists there."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def standard_input(format: Format | None = None) -> tuple[Stream, Format]:
    """Return standard input as a stream, and its format.

    Args:
        format: Its format; None detects it.

    Raises:
        UsageError: It is a terminal or closed.
        InputError: It cannot be read, or its format is not supported.
    """
    if sys.stdin is None or sys.stdin.isatty():
        state = "closed" if sys.stdin is None else "a terminal"
        raise UsageError(f"standard input is {state}", hint="pipe a file in")
    stream = Stream(sys.stdin.buffer, STANDARD_INPUT)
    return stream, layout_of(stream, format).format


@contextlib.contextmanager
def spooled(stream: Stream) -> Iterator[LocalFile]:
    """Copy a stream to a temporary file that exists as long as the context.

    Raises:
        InputError: The stream cannot be read.
        OutputWriteError: There is no room for a copy.
    """
    with tempfile.TemporaryDirectory(prefix=".sentstream-") as folder:
        path = Path(folder, "stdin")
        try:
            with path.open("wb") as file, stream.open() as source:
                while block := source.read(1 << 20):
                    file.write(block)
        except OSError as error:
            raise OutputWriteError(
                f"{stream.name} cannot be copied to {folder}: {error.strerror or error}",
                hint="set TMPDIR to a directory with enough space",
            ) from error
        yield local_file(path, stream.name)
